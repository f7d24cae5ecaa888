/** Nodes behind nginx with the configuration of `deploy/`, over a Redis Cluster: transports and client addresses. */
import { once } from "node:events";
import { request as send } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request as sendTls } from "node:https";
import { io } from "socket.io-client";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { startNginx } from "../support/nginx.ts";
import { apiKey, call, nodeAt, pay } from "../support/node.ts";
import { startTestProcess } from "../support/process.ts";
import { freePort, startRedisCluster, type TestCluster } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";
import { startScriptedDaraja } from "../support/scripted-daraja.ts";
import { transportNames, watch } from "../support/watch.ts";

// Because several processes, nginx and a cluster start slowly on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

let databaseUrl: string;
let cluster: TestCluster;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  cluster = await startRedisCluster();
  return async () => {
    await cluster.stop();
    await database.drop();
  };
});

/** Starts nodes behind nginx. Requests, watchers and webhooks all go through nginx. */
async function start(count: number, env: Record<string, string> = {}, secrets: readonly string[] = []) {
  const daraja = await startScriptedDaraja();
  const port = await freePort();
  const given = {
    DATABASE_URL: databaseUrl,
    REDIS_URL: cluster.url,
    PUBLIC_URL: `http://127.0.0.1:${port}`,
    TRUSTED_PROXIES: "127.0.0.1",
    ...daraja.env,
    ...env,
  };
  const nodes = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      startTestProcess({ ...given, ...(secrets[index] !== undefined && { TUKIO_SECRET: secrets[index] }) }),
    ),
  );
  const isUp = async ({ url }: { url: string }) =>
    ((await call(`${url}/readyz`)).body as unknown as { bus: string }).bus === "up";
  await vi.waitUntil(async () => (await Promise.all(nodes.map(isUp))).every(Boolean));
  const nginx = await startNginx({ port, nodes });
  const at = nodeAt(nginx.url);
  const payOne = async () => {
    const { order, watchToken: token } = await pay(at);
    const push = await daraja.nextPush();
    push.accept();
    return { orderId: order.orderId, token, push };
  };
  return { nodes, nginx, at, payOne };
}

/** Opens a Socket.IO client with default options, which begins by polling. Closes it with the test. */
function pollingFirst(url: string, token: string, transports: string[]): () => StatusEvent[] {
  const seen: StatusEvent[] = [];
  const socket = io(url, { auth: { token }, transports, forceNew: true });
  socket.on("status", (event: StatusEvent) => seen.push(event));
  onTestFinished(() => void socket.disconnect());
  return () => seen;
}

describe.each([1, 2, 4])("%d nodes behind nginx", (count) => {
  it("deliver a payment's states to watchers on every transport, on any process", async () => {
    const { nodes, nginx, at, payOne } = await start(count);
    const { orderId, token, push } = await payOne();
    const names = Array.from({ length: 2 * count }, () => transportNames).flat();
    const watches = names.map((name) => watch(name, { node: at, orderId, token }));
    const others = [["polling", "websocket"], ["polling"]].map((kinds) => pollingFirst(nginx.url, token, kinds));
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    await vi.waitUntil(() => others.every((seen) => seen().some(({ status }) => status === "processing")));
    // From the processes' metrics, because nginx logs a watcher's request only when it ends.
    for (const node of nodes) expect((await scrape(node)).value("tukio_watchers")).toBeGreaterThan(0);
    expect(push.callbackUrl).toMatch(nginx.url);
    const response = await push.webhook();
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ ResultCode: 0, ResultDesc: "Accepted" });
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "succeeded")));
    await vi.waitUntil(() => others.every((seen) => seen().some(({ status }) => status === "succeeded")));
  });
});

describe("a deployment behind nginx", () => {
  it("limits each payer's address across all processes, whatever headers the payer sends (G12)", async () => {
    const { nginx } = await start(2, { LIMIT_IP: "6" });
    const statuses = async (from: string, headers: Record<string, string> = {}): Promise<(number | undefined)[]> => {
      const found: (number | undefined)[] = [];
      for (let count = 0; count < 8; count += 1) found.push(await ask(nginx.url, { from, headers }));
      return found;
    };
    const limited = [401, 401, 401, 401, 401, 401, 429, 429];
    expect(await statuses("127.0.0.2")).toEqual(limited);
    expect(await statuses("127.0.0.3", { "x-forwarded-for": "198.51.100.7" })).toEqual(limited);
    expect(await ask(nginx.url, { from: "127.0.0.3", headers: { "x-forwarded-for": "203.0.113.9" } })).toBe(429);
    expect(await ask(nginx.url, { from: "127.0.0.4" })).toBe(401);
  });

  it("takes every webhook, although one process has another secret and is not ready", async () => {
    const secrets = ["a secret of one of the two processes", "a secret of the other of the two processes"];
    // A database of its own, because killed processes with other secrets count for 15 s.
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const { nginx, payOne } = await start(2, { DATABASE_URL: url }, secrets);
    const ready = async () => (await call(`${nginx.url}/readyz`)).status;
    expect(new Set([await ready(), await ready()])).toEqual(new Set([200, 503]));
    for (let count = 0; count < 4; count += 1) {
      const { push } = await payOne();
      expect((await push.webhook()).status).toBe(200);
    }
    expect(await nginx.logs()).toMatch(/POST \/webhooks\/daraja\/- 200 .* 503, 200$/m);
  });

  it("serves requests and reconnecting watchers from the other processes when one dies", async () => {
    const { nodes, nginx, at, payOne } = await start(2);
    const { orderId, token, push } = await payOne();
    const watches = (["Socket.IO", "server-sent events"] as const).flatMap((name) =>
      [1, 2, 3].map(() => watch(name, { node: at, orderId, token })),
    );
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    const [dying] = nodes;
    const exited = dying && once(dying.process, "exit");
    dying?.process.kill("SIGKILL");
    await exited;
    for (let count = 0; count < 10; count += 1) {
      expect((await call(`${nginx.url}/v1/orders/${orderId}?token=${token}`)).status).toBe(200);
    }
    expect((await push.webhook()).status).toBe(200);
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "succeeded")));
  });

  it("logs no token and no secret, with and without a live process", async () => {
    const { nodes, nginx, at, payOne } = await start(1);
    const { orderId, token, push } = await payOne();
    const secret = new URL(push.callbackUrl).pathname.split("/").at(-1) ?? "";
    const tryAll = async () => {
      await call(`${nginx.url}/v1/orders/${orderId}?token=${token}`);
      await call(`${nginx.url}/return/${secret}`);
      await push.webhook();
    };
    await watch("WebSocket", { node: at, orderId, token }).until(() => true);
    await tryAll();
    const [node] = nodes;
    const exited = node && once(node.process, "exit");
    node?.process.kill("SIGKILL");
    await exited;
    await tryAll();
    const logs = await nginx.logs();
    expect(logs).toMatch(/POST \/webhooks\/daraja\/- 200 /);
    expect(logs).toMatch(/POST \/webhooks\/daraja\/- 502 /);
    expect(logs).toContain("GET /return/- ");
    for (const hidden of [token, secret, "token="]) expect(logs).not.toContain(hidden);
  });

  it("requires the API key for metrics", async () => {
    const { nginx } = await start(1);
    expect((await call(`${nginx.url}/metrics`)).status).toBe(401);
    expect((await call(`${nginx.url}/metrics`, { headers: { authorization: `Bearer ${apiKey}` } })).status).toBe(200);
  });

  it("serves TLS and HTTP/2 without buffering streams, and redirects plain HTTP to TLS", async () => {
    const { nginx, payOne } = await start(1);
    const { orderId, token, push } = await payOne();
    const { port, ca } = nginx.tls;
    const options = { port, ca, servername: "pay.example.com", path: "/readyz" };
    const status = await new Promise((resolve, reject) => {
      const request = sendTls(options, (answer) => resolve(answer.resume().statusCode));
      request.on("error", reject).end();
    });
    expect(status).toBe(200);

    const session = connectHttp2(`https://localhost:${port}`, { ca, servername: "pay.example.com" });
    onTestFinished(() => session.destroy());
    const stream = session.request({ ":path": `/v1/orders/${orderId}/events?token=${token}` });
    let text = "";
    stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await vi.waitUntil(() => text.includes('"processing"'), 10_000);
    await push.webhook();
    await vi.waitUntil(() => text.includes('"succeeded"'), 10_000);

    const redirect = await fetch(`http://127.0.0.1:${nginx.plainPort}/x?y`, { redirect: "manual" });
    expect([redirect.status, redirect.headers.get("location")]).toEqual([301, "https://127.0.0.1/x?y"]);
  });
});

/** Requests the order list from one of this machine's loopback addresses, and returns the status. */
const ask = (
  url: string,
  { from, headers = {} }: { from: string; headers?: Record<string, string> },
): Promise<number | undefined> =>
  new Promise((resolve, reject) => {
    const options = { localAddress: from, headers, agent: false };
    const request = send(`${url}/v1/orders`, options, (answer) => resolve(answer.resume().statusCode));
    request.on("error", reject).end();
  });
