/** Watchers that read slowly or not at all, against a separate process. They do not delay other watchers. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Redis } from "ioredis";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { administer, createDatabase } from "../support/database.ts";
import { createCleanups, openPushLog, openRedis, unlimited } from "../support/deployment.ts";
import { pay } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { startReconnectingWatch } from "../support/reconnecting-watch.ts";

// 120 s, because detecting a fault takes longer on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let node: NodeProcess;
let redis: Redis;
let databaseUrl: string;

beforeAll(async () => {
  const cleanups = createCleanups();
  const database = await createDatabase();
  cleanups.add(database.drop);
  databaseUrl = database.url;
  const pushLog = await openPushLog(cleanups);
  const redisUrl = await openRedis(cleanups);
  node = await startProcess({
    DATABASE_URL: database.url,
    REDIS_URL: redisUrl,
    ...unlimited,
    LOG_LEVEL: "info",
    ...pushLog.env,
  });
  cleanups.add(node.close);
  redis = new Redis(redisUrl);
  cleanups.add(() => redis.disconnect());
  return cleanups.runAll;
});

/** Requests an event stream or a WebSocket on a bare socket that the test reads. */
function ask(path: string, headers: readonly string[] = []): Socket {
  const { hostname, port } = new URL(node.url);
  const socket = connect(Number(port), hostname);
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => undefined);
  socket.write([`GET ${path} HTTP/1.1`, "Host: x", ...headers, "", ""].join("\r\n"));
  return socket;
}

const upgrade = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/** Publishes a state as another node would, with 32 KiB of padding so that slow readers fall behind after few states. */
const publish = (order: StatusEvent, version: number): Promise<number> =>
  redis.publish(`tukio:order:${order.id}`, JSON.stringify({ ...order, version, padding: "x".repeat(32_768) }));

describe("watchers that read nothing", () => {
  it("are disconnected, while a reading watcher gets every state at once (G12)", async () => {
    const { order, watchToken: token } = await pay(node);
    const path = `/v1/orders/${order.orderId}`;
    const stuck = Array.from({ length: 3 }, () => [
      ask(`${path}/events?token=${token}`),
      ask(`${path}/socket?token=${token}`, upgrade),
    ]).flat();
    await Promise.all(stuck.map((socket) => once(socket, "readable")));
    const reader = startReconnectingWatch("WebSocket", { url: node.url, orderId: order.orderId, token });
    onTestFinished(reader.close);
    await reader.until(() => true);
    // More than the kernel buffers per connection, about 4 MiB.
    for (let version = 1_000; version < 1_200; version += 1) {
      await publish(order, version);
      // At the speed of the reading watcher.
      await reader.until((event) => event.version >= version);
    }
    // Each connection ends after the bytes that were already sent.
    await Promise.all(
      stuck.map(async (socket) => {
        socket.resume();
        if (!socket.closed) await once(socket, "close");
      }),
    );
  });
});

describe("a slow watcher", () => {
  it("may miss states, but gets the newest and never a lower version (G5)", async () => {
    const { order, watchToken: token } = await pay(node);
    const target = { url: node.url, orderId: order.orderId, token };
    const reader = startReconnectingWatch("WebSocket", target);
    onTestFinished(reader.close);
    await reader.until(() => true);
    const socket = ask(`/v1/orders/${order.orderId}/events?token=${token}`);
    await once(socket, "readable");
    for (let version = 2_000; version < 2_020; version += 1) {
      await publish(order, version);
      await reader.until((event) => event.version >= version);
    }
    let text = "";
    // 16 KiB at a time.
    const read = (): boolean => {
      const chunk: Buffer | null = socket.read(16_384) ?? socket.read();
      text += chunk?.toString().replaceAll(/x+/g, "") ?? "";
      return text.includes("id: 2019\n") || socket.closed;
    };
    await vi.waitUntil(read, { interval: 1 });
    const versions = [...text.matchAll(/^id: (\d+)$/gm)].map(([, version]) => Number(version));
    expect(versions).toEqual(versions.toSorted((one, other) => one - other));
    // Disconnected or not, a reconnecting watcher gets the newest state, which the database must have by then.
    await administer(databaseUrl, `update "order" set version = 2019 where id = '${order.id}'`);
    const again = startReconnectingWatch("server-sent events", target);
    onTestFinished(again.close);
    await again.until(({ version }) => version === 2_019);
  });
});
