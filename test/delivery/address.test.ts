/** Addresses that a message may be sent to. */
import { createSocket } from "node:dgram";
import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { createConnector, createResolve, isAllowedAddress, refusalOf } from "../../server/delivery/address.ts";
import type { Message } from "../../server/delivery/message.ts";
import { createSender } from "../../server/delivery/receiver.ts";

const inProduction = { allowsLoopback: false };
const inDevelopment = { allowsLoopback: true };

const message: Message = {
  id: "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318.0.3",
  type: "order.succeeded",
  occurredAt: new Date(0),
  epoch: 0,
  version: 3,
  body: "{}",
};

describe("address", () => {
  it.each([
    ["this machine", ["127.0.0.1", "127.8.9.10", "::1", "0.0.0.0", "::", "0.1.2.3"]],
    [
      "a private network",
      ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "fc00::1", "fd12:3456::1"],
    ],
    ["the link", ["169.254.169.254", "169.254.1.1", "fe80::1"]],
    [
      "groups and reserved ranges",
      ["224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1", "ff02::1", "2001:db8::1"],
    ],
    [
      "IPv4 within IPv6",
      [
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:7f00:1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:0:a00:1::",
        "::7f00:1",
        "64:ff9b:1::1",
      ],
    ],
    [
      "a cloud's services for its machines",
      // Azure, also as IPv4 within IPv6; Alibaba; Oracle; AWS and Google over IPv6.
      ["168.63.129.16", "::ffff:168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"],
    ],
    [
      "special-purpose IPv4 addresses of IANA",
      [
        ...[
          "0.0.0.1",
          "10.255.255.255",
          "100.127.255.255",
          "127.255.255.255",
          "169.254.0.1",
          "172.16.0.0",
          "192.0.0.9",
        ],
        ...[
          "192.0.2.255",
          "192.31.196.1",
          "192.52.193.1",
          "192.88.99.1",
          "192.168.255.255",
          "192.175.48.1",
          "198.19.255.255",
        ],
        ...["198.51.100.1", "203.0.113.1", "239.255.255.255", "250.1.2.3", "255.255.255.255"],
      ],
    ],
    [
      "special-purpose IPv6 addresses of IANA",
      [
        ...[
          "::",
          "::1",
          "::ffff:0:8.8.8.8",
          "64:ff9b::808:808",
          "64:ff9b:1:ffff::1",
          "100::1",
          "100:0:0:1::1",
          "2001::1",
        ],
        ...[
          "2001:1::1",
          "2001:1::3",
          "2001:2::1",
          "2001:3::1",
          "2001:4:112::1",
          "2001:10::1",
          "2001:20::1",
          "2001:30::1",
        ],
        ...[
          "2001:1ff:ffff::1",
          "2001:db8:ffff::1",
          "2002:808:808::1",
          "2620:4f:8000::1",
          "3fff::1",
          "3fff:fff:ffff::1",
        ],
        ...["5f00::1", "fc00::1", "fdff:ffff::1", "fe80::1", "fec0::1", "ff0e::1"],
      ],
    ],
    ["no address at all", ["", "localhost", "127.1", "0x7f000001", "10.0.0.256"]],
  ])("refuses %s", (_what, addresses) => {
    expect(addresses.filter((address) => isAllowedAddress(address, inProduction))).toEqual([]);
  });

  it("accepts public addresses, also as IPv4 within IPv6", () => {
    const addresses = ["8.8.8.8", "196.201.214.200", "2606:4700::1111", "::ffff:8.8.8.8"];
    expect(addresses.filter((address) => !isAllowedAddress(address, inProduction))).toEqual([]);
  });

  it("accepts this machine outside production, and still no private network", () => {
    expect(["127.0.0.1", "::1", "::ffff:127.0.0.1"].every((one) => isAllowedAddress(one, inDevelopment))).toBe(true);
    expect(["10.0.0.1", "169.254.169.254", "0.0.0.0"].some((one) => isAllowedAddress(one, inDevelopment))).toBe(false);
  });
});

describe("URL of an endpoint", () => {
  it.each([
    ["https://shop.example.com/hooks", undefined],
    ["https://8.8.8.8/hooks", undefined],
    ["http://shop.example.com/hooks", "must be an https URL"],
    ["ftp://shop.example.com/", "must be an https URL"],
    ["https://user:word@shop.example.com/", "must not contain a user or a password"],
    ["https://localhost/", "must be a public address"],
    ["https://127.0.0.1/", "must be a public address"],
    ["https://2130706433/", "must be a public address"],
    ["https://0x7f.1/", "must be a public address"],
    ["https://10.0.0.1/", "must be a public address"],
    ["https://[::1]/", "must be a public address"],
    ["https://[::ffff:169.254.169.254]/", "must be a public address"],
    ["http://127.0.0.1/", "must be an https URL"],
  ])("in production, %s: %s", (url, refusal) => {
    expect(refusalOf(new URL(url), inProduction)).toBe(refusal);
  });

  it("outside production may be http on this machine only", () => {
    for (const url of ["http://127.0.0.1:4000/", "http://localhost:4000/", "http://[::1]:4000/"]) {
      expect(refusalOf(new URL(url), inDevelopment)).toBeUndefined();
    }
    expect(refusalOf(new URL("http://10.0.0.1/"), inDevelopment)).toBe("must be an https URL, or http on this machine");
  });
});

/** Starts an HTTP server on this machine and counts its requests. */
async function startServer(): Promise<{ port: number; requests: () => number }> {
  let requests = 0;
  const server = createServer((_request, response) => {
    requests += 1;
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  return { port: (server.address() as AddressInfo).port, requests: () => requests };
}

/** Sends a message with a resolver that returns the next of these addresses each time. */
async function send(url: string, answers: string[][]) {
  const resolved: string[] = [];
  const resolve = async (name: string) => {
    resolved.push(name);
    const addresses = answers[Math.min(resolved.length, answers.length) - 1] ?? [];
    return addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  };
  const sender = createSender({ ...inProduction, connector: createConnector(inProduction, resolve) });
  onTestFinished(sender.close);
  const reply = await sender.receiver(url, () => ({}))(message, AbortSignal.timeout(10_000));
  return { reply, resolved };
}

describe("connection", () => {
  it.each([
    ["this machine", ["127.0.0.1"]],
    ["a cloud's metadata", ["169.254.169.254"]],
    ["IPv4 within IPv6", ["::ffff:127.0.0.1"]],
    ["a public address beside a private one", ["8.8.8.8", "10.0.0.1"]],
  ])("is refused when the name resolves to %s", async (_what, addresses) => {
    const server = await startServer();
    const { reply, resolved } = await send(`http://rebound.test:${server.port}/`, [addresses]);
    expect(reply).toMatchObject({ isDelivered: false, error: expect.stringContaining("is not public") });
    expect(resolved).toEqual(["rebound.test"]);
    expect(server.requests()).toBe(0);
  });

  it("is made to the checked address, so that a name which changes between check and connection gains nothing", async () => {
    const server = await startServer();
    // A documentation address is reserved: refused at the first resolution. The second would be this machine.
    const { reply, resolved } = await send(`http://rebound.test:${server.port}/`, [["192.0.2.1"], ["127.0.0.1"]]);
    expect(reply.isDelivered).toBe(false);
    expect(resolved).toHaveLength(1);
    expect(server.requests()).toBe(0);
  });

  it("is refused when the URL has the address itself", async () => {
    const server = await startServer();
    for (const host of ["127.0.0.1", "[::ffff:127.0.0.1]", "2130706433", "localhost"]) {
      const { reply } = await send(`http://${host}:${server.port}/`, [["127.0.0.1"]]);
      expect(reply).toMatchObject({ isDelivered: false, error: expect.stringContaining("is not public") });
    }
    expect(server.requests()).toBe(0);
  });

  it("does not let a dead DNS server delay the other lookups of the process", async () => {
    const dead = createSocket("udp4");
    dead.bind(0, "127.0.0.1");
    await once(dead, "listening");
    onTestFinished(() => void dead.close());
    const connector = createConnector(inProduction, createResolve([`127.0.0.1:${dead.address().port}`]));
    const sender = createSender({ ...inProduction, connector });
    onTestFinished(sender.close);
    let ended = 0;
    const attempts = Array.from({ length: 16 }, async (_, nth) => {
      const url = `https://shop-${nth}.example/`;
      const reply = await sender.receiver(url, () => ({}))(message, AbortSignal.timeout(15_000));
      ended += 1;
      return reply;
    });
    await lookup("localhost");
    expect(ended).toBe(0);
    for (const reply of await Promise.all(attempts)) expect(reply.isDelivered).toBe(false);
  });
});
