/**
 * The client address that limits count for. Only a trusted proxy's `X-Forwarded-For` counts. Covers HTTP, Socket.IO's
 * polling and both kinds of WebSocket; does not cover IPv6 addresses.
 */
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { WebSocket } from "ws";
import { createDatabase } from "../support/database.ts";
import { call, pay, startNode, type TestNode } from "../support/node.ts";
import { startProxy } from "../support/proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const trusting = { TRUSTED_PROXIES: "127.0.0.0/8" };

/** The header of a client that forges its address. */
const spoofed = { "x-forwarded-for": "198.51.100.7" };

type Headers = Record<string, string>;

/** Opens a WebSocket and closes it with the test. */
function open(url: string, path: string, headers: Headers): WebSocket {
  const socket = new WebSocket(url.replace("http", "ws") + path, { headers });
  onTestFinished(() => socket.terminate());
  return socket.on("error", () => undefined);
}

/** The HTTP status of an upgrade, or the error's message when there is no answer. */
const upgrade = (url: string, path: string, headers: Headers): Promise<number | string | undefined> =>
  new Promise((resolve) => {
    const socket = open(url, path, headers);
    socket.once("upgrade", ({ statusCode }) => resolve(statusCode));
    socket.once("unexpected-response", (_request, { statusCode }) => resolve(statusCode));
    socket.once("error", ({ message }) => resolve(message));
  });

/** Sends one request by each way and returns the statuses. */
async function tryAll({ url }: { url: string }, headers: Headers = {}): Promise<(number | string | undefined)[]> {
  return [
    (await call(`${url}/v1/orders?limit=1`, { headers })).status,
    (await call(`${url}/socket.io/?EIO=4&transport=polling`, { headers })).status,
    await upgrade(url, "/socket.io/?EIO=4&transport=websocket", headers),
    await upgrade(url, "/v1/orders/ORD-nowhere/socket", headers),
  ];
}

// All requests are unauthenticated, because authenticated ones do not count for an address.
const allowed = [401, 200, 101, 101];
// Socket.IO closes a refused upgrade without an answer.
const refused = [429, 429, "socket hang up", 429];

describe("the requests of an address", () => {
  const budget = { LIMIT_IP: String(allowed.length) };

  it("count for the address that a trusted proxy reports, whatever its client sends", async () => {
    const node = await startNode({ databaseUrl, env: { ...budget, ...trusting } });
    const one = await startProxy(node, "203.0.113.1");
    const other = await startProxy(node, "203.0.113.2");
    expect(await tryAll(one)).toEqual(allowed);
    expect(await tryAll(one)).toEqual(refused);
    expect(await tryAll(one, spoofed)).toEqual(refused);
    expect(await tryAll(other, spoofed)).toEqual(allowed);
    expect(await tryAll(other)).toEqual(refused);
    // The proxy's own address has a separate budget.
    expect(await tryAll(node)).toEqual(allowed);
  });

  it.each<[string, Headers]>([
    ["without a trusted proxy", {}],
    ["behind a proxy that is not the trusted one", { TRUSTED_PROXIES: "10.0.0.0/8,127.0.0.9" }],
  ])("count for the connecting address, %s", async (_where, env) => {
    const node = await startNode({ databaseUrl, env: { ...budget, ...env } });
    const one = await startProxy(node, "203.0.113.1");
    const other = await startProxy(node, "203.0.113.2");
    expect(await tryAll(one)).toEqual(allowed);
    for (const way of [one, other, node]) {
      expect(await tryAll(way)).toEqual(refused);
      expect(await tryAll(way, spoofed)).toEqual(refused);
    }
  });
});

interface Target {
  url: string;
  orderId: string;
  token: string;
}

/** Resolves with `in` at the first state, or `full` when the node closes the connection. */
function watchWith(path: string, { url, hello }: Pick<Target, "url"> & { hello?: string }): Promise<"in" | "full"> {
  const { promise, resolve } = Promise.withResolvers<"in" | "full">();
  const socket = open(url, path, {});
  socket.on("message", (data) => {
    const text = String(data);
    if (hello !== undefined && text.startsWith("0")) socket.send(hello);
    if (text.includes('"version"')) resolve("in");
  });
  socket.once("close", () => resolve("full"));
  return promise;
}

async function ask({ url, orderId, token }: Target, path: string): Promise<"in" | "full" | number> {
  const left = new AbortController();
  onTestFinished(() => left.abort());
  const headers = { authorization: `Bearer ${token}`, ...spoofed };
  const { status } = await fetch(`${url}/v1/orders/${orderId}/${path}`, { headers, signal: left.signal });
  return status === 200 ? "in" : status === 429 ? "full" : status;
}

const watchers: Record<string, (target: Target) => Promise<unknown>> = {
  WebSocket: (target) => watchWith(`/v1/orders/${target.orderId}/socket?token=${target.token}`, target),
  "Socket.IO": ({ url, token }) =>
    watchWith("/socket.io/?EIO=4&transport=websocket", { url, hello: `40${JSON.stringify({ token })}` }),
  "server-sent events": (target) => ask(target, "events"),
  "long poll": (target) => ask(target, "wait?after=0"),
};

describe("the open connections of an address", () => {
  const start = async (env: Headers): Promise<{ node: TestNode; at(url: string): Target }> => {
    const node = await startNode({ databaseUrl, env: { LIMIT_CONNECTIONS: "1", ...env } });
    const { order, watchToken: token } = await pay(node);
    return { node, at: (url) => ({ url, orderId: order.orderId, token }) };
  };

  it.each(Object.entries(watchers))("count for the address that a trusted proxy reports: %s", async (_name, watch) => {
    const { node, at } = await start(trusting);
    const one = await startProxy(node, "203.0.113.1");
    const other = await startProxy(node, "203.0.113.2");
    expect(await watchers.WebSocket?.(at(one.url))).toBe("in");
    expect(await watch(at(one.url))).toBe("full");
    expect(await watch(at(other.url))).toBe("in");
  });

  it.each(Object.entries(watchers))(
    "count for the connecting address, without a trusted proxy: %s",
    async (_name, watch) => {
      const { node, at } = await start({});
      const one = await startProxy(node, "203.0.113.1");
      const other = await startProxy(node, "203.0.113.2");
      expect(await watchers.WebSocket?.(at(one.url))).toBe("in");
      for (const { url } of [one, other, node]) expect(await watch(at(url))).toBe("full");
    },
  );
});
