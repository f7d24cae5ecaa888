/** Requests that one node forwards to another one, which holds the sandboxes' state. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type RequestOptions, request } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { text } from "node:stream/consumers";
import pg from "pg";
import { describe, expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { call, startNode } from "../support/node.ts";
import { startProcess } from "../support/process.ts";

async function startTwo(env: Record<string, string> = {}) {
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const host = await startNode({ databaseUrl, env });
  const forwarder = await startNode({ databaseUrl, env });
  return { host, forwarder };
}

async function open(url: string, options: RequestOptions = {}): Promise<IncomingMessage> {
  const sent = request(url, { agent: false, ...options }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  onTestFinished(() => void response.destroy());
  return response;
}

describe("a forwarded request", () => {
  it("may have the absolute form", async () => {
    const { forwarder } = await startTwo();
    const socket = connect(Number(new URL(forwarder.url).port), "127.0.0.1");
    socket.write(
      "GET http://elsewhere.example/sandbox/phone/0712345600/prompts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 [\s\S]*"prompts":\[\]/);
  });

  it("counts towards the limit of requests of its client only", async () => {
    const { forwarder } = await startTwo({ LIMIT_IP: "1" });
    const statusOf = async (localAddress: string) =>
      (await open(`${forwarder.url}/sandbox/phone/0712345600/prompts`, { localAddress })).statusCode;
    const statuses = async (localAddress: string, count: number) =>
      Promise.all(Array.from({ length: count }, () => statusOf(localAddress)));
    // The phone allows ten times as many requests.
    expect(await statuses("127.0.0.2", 10)).toEqual(Array(10).fill(200));
    expect(await statuses("127.0.0.3", 10)).toEqual(Array(10).fill(200));
    expect(await statusOf("127.0.0.3")).toBe(429);
  });

  it("does not show its proofs to the client", async () => {
    const { forwarder, host } = await startTwo();
    for (const { url } of [forwarder, host]) {
      const { headers, status } = await call(`${url}/sandbox/phone/0712345600/prompts`);
      expect([status, [...headers.keys()].filter((name) => name.startsWith("x-tukio"))]).toEqual([200, []]);
    }
  });
});

describe("a server that is no node, at the address of the host", () => {
  it("is not taken for the host", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const stranger = createServer(({ headers }, response) => {
      response.writeHead(200, { "x-tukio-sandbox-proof": headers["x-tukio-sandbox-proof"] ?? "" }).end("here");
    }).listen(0, "127.0.0.1");
    await once(stranger, "listening");
    onTestFinished(() => void stranger.close());
    const { port } = stranger.address() as AddressInfo;
    const holder = new pg.Client({ connectionString: url, application_name: `tukio 01234567 127.0.0.1:${port}` });
    await holder.connect();
    onTestFinished(() => holder.end());
    // The key of a lock is the sandboxes of its holder, one bit for each.
    await holder.query("select pg_advisory_lock(7458002, 1)");
    const started = startProcess({ DATABASE_URL: url, SANDBOX: "daraja" });
    await expect(started).rejects.toThrow(`cannot be reached (no host answers at http://127.0.0.1:${port})`);
  });
});
