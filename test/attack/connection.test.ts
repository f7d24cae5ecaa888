/**
 * What strangers make a node hold and do, while a merchant goes on taking payments: over plain HTTP, over both kinds of
 * WebSocket, straight and through nginx. What the merchant and the process notice of it is compared with the same node
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
 * What the stated factors are: a payment under attack takes ten times as long as without, counted from a fifth of a second
 * at least, for machines are noisy; and the process grows to twice its memory, or by 200 MiB.
 */
const slowdownMax = 10;
const littleMs = 400;
const growthMax = 2;
const growthMiB = 200;

const upgradeTo = (path: string): string =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;

const chunkedTo = (path: string): string => `POST ${path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`;

/** A client's frame with a mask of zeros, so that its text stays what it is. */
function frame(opcode: number, text: string): Buffer {
  const payload = Buffer.from(text);
  const mask = Buffer.alloc(4);
  if (payload.length < 126) return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length]), mask, payload]);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(payload.length);
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | 126]), length, mask, payload]);
}

const many = (one: Buffer | string, bytes = 1_000_000): Buffer => {
  const piece = Buffer.from(one);
  return Buffer.concat(Array.from({ length: Math.ceil(bytes / piece.length) }, () => piece));
};

interface Attack {
  /** How many connections do it at a time. */
  connections: number;
  /** What each begins with, answered before it goes on. */
  hello?: (order: { orderId: string; watchToken: string }) => string;
  /** What each says once it is let in. */
  greeting?: (order: { watchToken: string }) => Buffer;
  /** What each sends over and over. */
  flood: Buffer;
  isReading: boolean;
  /** The node answers and closes, and cuts nobody off. */
  isAnswered?: boolean;
  /** nginx takes a body in whole before the hub hears of it. */
  isStraightOnly?: boolean;
}

const socketIo = "/socket.io/?EIO=4&transport=websocket";

const attacks: Record<string, Attack> = {
  "pings to Socket.IO that read no pong": {
    connections: 1,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x9, "x".repeat(125))),
    isReading: false,
  },
  "pings to Socket.IO with a token, that read no pong": {
    connections: 4,
    hello: () => upgradeTo(socketIo),
    greeting: ({ watchToken }) => frame(0x1, `40${JSON.stringify({ token: watchToken })}`),
    flood: many(frame(0x9, "x".repeat(125))),
    isReading: false,
  },
  "Socket.IO's CONNECT to namespaces that there are not": {
    connections: 1,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x1, "40/nowhere,")),
    isReading: false,
  },
  "seven bytes at a time, over Socket.IO": {
    connections: 20,
    hello: () => upgradeTo(socketIo),
    flood: many(frame(0x1, "3")),
    isReading: true,
  },
  "seven bytes at a time, over a WebSocket with a token": {
    connections: 20,
    hello: ({ orderId, watchToken }) => upgradeTo(`/v1/orders/${orderId}/socket?token=${watchToken}`),
    flood: many(frame(0x1, "3")),
    isReading: true,
  },
  "requests for the largest documents, all in one write": {
    connections: 4,
    flood: many("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 20_000),
    isReading: false,
  },
  "bodies of one byte at a time": {
    connections: 10,
    flood: many(`${chunkedTo("/webhooks/daraja")}${"1\r\na\r\n".repeat(60_000)}`, 1),
    isReading: true,
    isStraightOnly: true,
  },
  "a body without end, after its request was answered": {
    connections: 4,
    hello: () => chunkedTo("/livez"),
    flood: many("1\r\na\r\n"),
    isReading: true,
    isAnswered: true,
    isStraightOnly: true,
  },
  "requests for what is not there, all in one write": {
    connections: 20,
    flood: many("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 20_000),
    isReading: true,
  },
};

const firstData = (socket: Socket): Promise<unknown> => new Promise((resolve) => socket.once("data", resolve));

/** Sends as fast as it is taken, over a new connection whenever one is closed. Returns how to stop. */
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

interface Seen {
  /** What most of several payments took at most, each with the process's health beside it. */
  paymentMs: number;
  /** The longest that the process did nothing else. */
  lagMs: number;
  residentMiB: number;
}

const residentMiB = async (node: Parameters<typeof scrape>[0]): Promise<number> =>
  ((await scrape(node)).value("process_resident_memory_bytes") ?? Number.NaN) / 2 ** 20;

/** Takes payments one after another, and says what was noticed of anything else. */
async function takePayments(node: Awaited<ReturnType<typeof startProcess>>): Promise<Seen> {
  // A scrape begins the lag anew.
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

describe.each(["straight", "through nginx"])("%s", (way) => {
  it("whatever strangers do, payments go on and memory stays", async () => {
    // No limit of an address helps: attackers have many.
    const limits = { LIMIT_IP: "100000000", LIMIT_PHONE: "100000", LIMIT_ORDER: "100000" };
    const node = await startProcess({ DATABASE_URL: databaseUrl, LOG_LEVEL: "info", ...limits });
    onTestFinished(node.close);
    const target = way === "straight" ? node : await startNginx({ port: await freePort(), hubs: [node] });
    await takePayments(node);
    const before = await takePayments(node);
    const allowed = (ms: number): number => slowdownMax * Math.max(ms, littleMs);
    const { order, watchToken } = await pay(node);
    const cuts = async (): Promise<number> => (await scrape(node)).value("tukio_connections_cut_total") ?? 0;
    for (const [name, attack] of Object.entries(attacks)) {
      if (attack.isStraightOnly && way !== "straight") continue;
      const launchOne = () => launch(target.url, attack, { orderId: order.orderId, watchToken });
      // What the attacks before have left is garbage, which goes when memory is needed.
      const beforeMiB = await residentMiB(node);
      const cutsBefore = await cuts();
      const stops = Array.from({ length: attack.connections }, launchOne);
      const during = await takePayments(node);
      await Promise.all(stops.map((stop) => stop()));
      // nginx hands on one request after another, and nothing of a client that does not read.
      if (way === "straight" && !attack.isAnswered)
        expect.soft(await cuts(), `${name}: cut off`).toBeGreaterThan(cutsBefore);
      expect.soft(during.paymentMs, `${name}: a payment`).toBeLessThan(allowed(before.paymentMs));
      expect.soft(during.lagMs, `${name}: the longest pause`).toBeLessThan(allowed(before.lagMs));
      const memoryMax = Math.max(growthMax * beforeMiB, beforeMiB + growthMiB);
      expect.soft(during.residentMiB, `${name}: memory`).toBeLessThan(memoryMax);
    }
  }, 300_000);
});
