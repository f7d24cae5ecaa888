/**
 * Floods from unauthenticated clients and payers while a merchant takes payments (G12): over HTTP and both kinds of
 * WebSocket, directly and through nginx. Payment latency, event loop delay and memory are compared with the same node
 * before the attack.
 */
import { connect, type Socket } from "node:net";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { createDatabase } from "../support/database.ts";
import { startNginx } from "../support/nginx.ts";
import { call, pay } from "../support/node.ts";
import { startProcess } from "../support/process.ts";
import { freePort } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/**
 * Under attack a payment may take ten times as long, measured from at least 400 ms because test machines are noisy. The
 * process may grow to twice its memory, or by 200 MiB.
 */
const slowdownMax = 10;
const baselineMinMs = 400;
const growthMax = 2;
const growthMiB = 200;

const upgradeTo = (path: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

const chunkedTo = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;

/** A client's frame with a mask of zeros, which leaves the text as it is. */
function frame(opcode: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const mask = Buffer.alloc(4);
  if (payload.length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length]), mask, payload]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.length);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 126]), length, mask, payload]);
}

/** Repeats `one` up to this size. */
const many = (one: Buffer | string, bytes = 1_000_000): Buffer => {
  const piece = Buffer.from(one);
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / piece.length) }, () => piece));
};

interface Attack {
  /** Connections at a time. */
  connections: number;
  /** The first request of each connection. The attack waits for the answer. */
  hello?: (order: { orderId: string; watchToken: string }) => string;
  /** The first message of each connection after `hello`. The attack waits for the answer. */
  greeting?: (order: { watchToken: string }) => Buffer;
  /** Sent repeatedly. */
  flood: Buffer;
  isReading: boolean;
  /** Whether the node answers and closes, and does not cut the connection off. */
  isAnswered?: boolean;
  /** Whether nginx prevents the attack, because it buffers the whole body first. */
  isDirectOnly?: boolean;
}

const socketIo = "/socket.io/?EIO=4&transport=websocket";

const attacks: Record<string, Attack> = {
  "pings to Socket.IO, without reading the pongs": {
    connections: 1,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x9, "x".repeat(125))),
    isReading: false,
  },
  "pings to Socket.IO with a token, without reading the pongs": {
    connections: 4,
    hello: () => upgradeTo(socketIo),
    greeting: ({ watchToken }) => frame(0x1, `40${JSON.stringify({ token: watchToken })}`),
    flood: many(frame(0x9, "x".repeat(125))),
    isReading: false,
  },
  "Socket.IO CONNECTs to unknown namespaces": {
    connections: 1,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x1, "40/nowhere,")),
    isReading: false,
  },
  "frames of seven bytes, over Socket.IO": {
    connections: 20,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x1, "3")),
    isReading: true,
  },
  "frames of seven bytes, over a WebSocket with a token": {
    connections: 20,
    hello: ({ orderId, watchToken }) => upgradeTo(`/v1/orders/${orderId}/socket?token=${watchToken}`),
    flood: many(frame(0x1, "3")),
    isReading: true,
  },
  "pipelined requests for the largest document": {
    connections: 4,
    flood: many("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 20_000),
    isReading: false,
  },
  "bodies in chunks of one byte": {
    connections: 10,
    flood: many(`${chunkedTo("/webhooks/daraja")}${"1\r\na\r\n".repeat(60_000)}`, 1),
    isReading: true,
    isDirectOnly: true,
  },
  "an endless body after its answer": {
    connections: 4,
    hello: () => chunkedTo("/livez"),
    flood: many("1\r\na\r\n"),
    isReading: true,
    isAnswered: true,
    isDirectOnly: true,
  },
  "pipelined requests for an unknown path": {
    connections: 20,
    flood: many("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 20_000),
    isReading: true,
  },
};

const firstData = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once("data", resolve));

/** Sends as fast as the node reads, and reconnects when it is cut off. Returns a function that stops the attack. */
function launch(
  url: string,
  { hello, greeting, flood, isReading }: Attack,
  order: Parameters<NonNullable<Attack["hello"]>>[0],
) {
  const { port, hostname } = new URL(url);
  let socket: Socket | undefined;
  let isOver = false;
  const run = async (): Promise<void> => {
    while (!isOver) {
      const opened = connect(Number(port), hostname).on("error", () => undefined);
      socket = opened;
      const closed = new Promise((resolve) => opened.once("close", resolve));
      if (hello) {
        opened.write(hello(order));
        await Promise.race([firstData(opened), closed]);
      }
      if (greeting) {
        opened.write(greeting(order));
        await Promise.race([firstData(opened), closed]);
      }
      if (isReading) opened.resume();
      else opened.pause();
      while (!isOver && opened.writable) {
        await Promise.race([new Promise((resolve) => opened.write(flood, resolve)), closed]);
      }
      opened.destroy();
      await closed;
    }
  };
  const over = run();
  return async () => {
    isOver = true;
    socket?.destroy();
    await over;
  };
}

interface Measurement {
  /** The sixth of eight durations of a payment, each beside a health check. */
  paymentMs: number;
  /** The longest delay of the event loop. */
  lagMs: number;
  residentMiB: number;
}

const residentMiB = async (node: Parameters<typeof scrape>[0]): Promise<number> =>
  ((await scrape(node)).value("process_resident_memory_bytes") ?? Number.NaN) / 2 ** 20;

/** Takes payments one after another and measures them and the process. */
async function takePayments(node: Awaited<ReturnType<typeof startProcess>>): Promise<Measurement> {
  // A scrape resets the maximum of the event loop delay.
  await scrape(node);
  const tookMs: number[] = [];
  for (let payments = 0; payments < 8; payments += 1) {
    const startedMs = performance.now();
    const [, { status }] = await Promise.all([pay(node), call(`${node.url}/livez`)]);
    expect(status).toBe(200);
    tookMs.push(performance.now() - startedMs);
  }
  const after = await scrape(node);
  return {
    paymentMs: tookMs.toSorted((a, b) => a - b)[5] ?? Number.NaN,
    lagMs: (after.value("nodejs_eventloop_lag_max_seconds") ?? Number.NaN) * 1_000,
    residentMiB: await residentMiB(node),
  };
}

describe.each(["directly", "through nginx"])("a node attacked %s", (way) => {
  it("takes payments and keeps its memory bounded (G12)", async () => {
    // The limits per address are off, because attackers have many addresses.
    const limits = { LIMIT_IP: "100000000", LIMIT_PHONE: "100000", LIMIT_ORDER: "100000" };
    const node = await startProcess({ DATABASE_URL: databaseUrl, LOG_LEVEL: "info", ...limits });
    onTestFinished(node.close);
    const target = way === "directly" ? node : await startNginx({ port: await freePort(), nodes: [node] });
    await takePayments(node);
    const before = await takePayments(node);
    const allowed = (ms: number): number => slowdownMax * Math.max(ms, baselineMinMs);
    const { order, watchToken } = await pay(node);
    const cuts = async (): Promise<number> => (await scrape(node)).value("tukio_connections_cut_total") ?? 0;
    for (const [name, attack] of Object.entries(attacks)) {
      if (attack.isDirectOnly && way !== "directly") continue;
      const launchOne = () => launch(target.url, attack, { orderId: order.orderId, watchToken });
      // Measured before each attack, because earlier attacks leave garbage until memory is needed.
      const beforeMiB = await residentMiB(node);
      const cutsBefore = await cuts();
      const stops = Array.from({ length: attack.connections }, launchOne);
      const during = await takePayments(node);
      await Promise.all(stops.map((stop) => stop()));
      // nginx passes on one request at a time, and none of a client that does not read.
      if (way === "directly" && !attack.isAnswered)
        expect.soft(await cuts(), `${name}: cut off`).toBeGreaterThan(cutsBefore);
      expect.soft(during.paymentMs, `${name}: a payment`).toBeLessThan(allowed(before.paymentMs));
      expect.soft(during.lagMs, `${name}: the longest pause`).toBeLessThan(allowed(before.lagMs));
      const memoryMax = Math.max(growthMax * beforeMiB, beforeMiB + growthMiB);
      expect.soft(during.residentMiB, `${name}: memory`).toBeLessThan(memoryMax);
    }
  }, 300_000);
});
