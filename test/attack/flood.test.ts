/**
 * Floods of requests, bodies, connections and packets: the node refuses the flooding client and serves the others. Loads and
 * limits are small.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect, type Socket as TcpSocket } from "node:net";
import { io, type Socket } from "socket.io-client";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { startProcess } from "../support/process.ts";
import { redisUrl } from "../support/redis.ts";
import { scrape } from "../support/scrape.ts";
import { openTestStore } from "../support/store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

function openTcp(url: string): TcpSocket {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  onTestFinished(() => void socket.destroy());
  return socket.on("error", () => undefined).resume();
}

function openSocketIo(node: TestNode, auth: object, options: Parameters<typeof io>[1] = {}): Socket {
  const socket = io(node.url, { auth, transports: ["websocket"], forceNew: true, reconnection: false, ...options });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

const isAlive = async (node: Pick<TestNode, "url">): Promise<boolean> =>
  (await call(`${node.url}/livez`)).status === 200;

describe("300 slow requests", () => {
  it("do not delay other requests (G12)", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node);
    const slow = Array.from({ length: 300 }, () => openTcp(node.url));
    await Promise.all(slow.map((socket) => once(socket, "connect")));
    for (const socket of slow) socket.write("POST /webhooks/daraja HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{");
    const { status } = await call(`${node.url}/v1/orders/${order.orderId}?token=${watchToken}`, {
      signal: AbortSignal.timeout(5_000),
    });
    expect(status).toBe(200);
  });
});

describe("webhooks whose bodies never end", () => {
  it("are limited per address, and give back their room when they end (G12)", async () => {
    const node = await startNode({ databaseUrl });
    const head = "POST /webhooks/daraja/x HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n";
    const held = Array.from({ length: 256 }, () => openTcp(node.url));
    await Promise.all(held.map((socket) => once(socket, "connect")));
    for (const socket of held) socket.write(`${head}{`);
    const post = () => call(`${node.url}/webhooks/daraja/x`, { method: "POST", body: "{}" });
    await vi.waitUntil(async () => (await post()).status === 429);
    held[0]?.destroy();
    await vi.waitUntil(async () => (await post()).status === 401);
  });
});

describe("requests whose client has disconnected", () => {
  it.each(["/nowhere", "/%zz", "/webhooks/daraja/x"])("log no error: %s", async (path) => {
    const node = await startNode({ databaseUrl });
    for (let round = 0; round < 50; round += 1) {
      const socket = openTcp(node.url);
      await once(socket, "connect");
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`.repeat(8));
      socket.resetAndDestroy();
    }
    await call(`${node.url}/livez`);
    expect(node.log.filter((line) => JSON.parse(line).level >= 50)).toEqual([]);
  });
});

describe("body", () => {
  const posts = [
    "/v1/payments",
    "/v1/orders/ORD-1/resolve",
    "/v1/orders/ORD-1/watch-tokens",
    "/v1/providers/daraja/token",
    "/webhooks/daraja",
    `/webhooks/daraja/${"0".repeat(64)}`,
  ];

  it.each(posts)(
    "over 64 KiB is refused at %s: with a length, chunked, and with a false length (G12)",
    async (path) => {
      const node = await startNode({ databaseUrl });
      const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
      const huge = `"${"x".repeat(70_000)}"`;
      expect(await call(node.url + path, { method: "POST", headers, body: huge })).toMatchObject({
        status: 413,
        body: { code: "body_too_large" },
      });
      const stream = new Blob([huge]).stream();
      const chunked = await fetch(node.url + path, {
        method: "POST",
        headers,
        body: stream,
        duplex: "half",
      } as RequestInit).then(
        ({ status }) => status,
        () => 413, // The node closed the connection during the request.
      );
      expect(chunked).toBe(413);
      const liar = openTcp(node.url);
      let answer = "";
      liar.on("data", (chunk) => (answer += chunk));
      liar.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${apiKey}\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n`,
      );
      await vi.waitUntil(() => answer.includes("\r\n\r\n"));
      expect(answer).toMatch(/^HTTP\/1\.1 413/);
      expect(await isAlive(node)).toBe(true);
    },
  );

  it("with two lengths, or a length and chunks, is refused and its connection closed", async () => {
    const node = await startNode({ databaseUrl });
    for (const lengths of [
      "Content-Length: 2\r\nContent-Length: 40",
      "Content-Length: 2\r\nTransfer-Encoding: chunked",
      "Transfer-Encoding: xchunked",
    ]) {
      const smuggler = openTcp(node.url);
      let answer = "";
      smuggler.on("data", (chunk) => (answer += chunk));
      smuggler.write(
        `POST /webhooks/daraja HTTP/1.1\r\nHost: x\r\n${lengths}\r\n\r\n{}GET /v1/orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${apiKey}\r\n\r\n`,
      );
      await once(smuggler, "close");
      expect(answer).toMatch(/^HTTP\/1\.1 400/);
      expect(answer).not.toContain('"data"');
    }
  });

  it("with extreme nesting takes less than 3 s", async () => {
    const node = await startNode({ databaseUrl });
    for (const path of posts) {
      for (const body of [
        `${"[".repeat(32_000)}${"]".repeat(32_000)}`,
        `${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)}`,
      ]) {
        const { status } = await call(node.url + path, {
          method: "POST",
          headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
          body,
          signal: AbortSignal.timeout(3_000),
        });
        expect([path, status < 500]).toEqual([path, true]);
      }
    }
  });

  it("nested more than 100 deep is refused as unreadable on every route", async () => {
    const node = await startNode({ databaseUrl });
    const body = `${"[".repeat(101)}${"]".repeat(101)}`;
    const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" };
    for (const path of posts.filter((one) => !/webhooks|sandbox\/(?!phone)/.test(one))) {
      const { body: problem } = await call(node.url + path, { method: "POST", headers, body });
      expect([path, problem.code, problem.detail]).toEqual([path, "body_invalid", "body: is nested too deep"]);
    }
    const { body: problem } = await call(`${node.url}/webhooks/bkash`, { method: "POST", body });
    expect(problem.code).toBe("webhook_unreadable");
  });

  it("of an unauthenticated client is refused unread on the merchant's routes (G12)", async () => {
    const node = await startNode({ databaseUrl });
    for (const path of posts.filter((one) => one.startsWith("/v1/"))) {
      const socket = openTcp(node.url);
      await once(socket, "connect");
      socket.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n[`,
      );
      const [answer] = await once(socket, "data");
      expect([path, String(answer).slice(0, 12)]).toEqual([path, "HTTP/1.1 401"]);
    }
  });

  it("that targets slow regular expressions takes less than 3 s", async () => {
    const node = await startNode({ databaseUrl });
    const long = (unit: string): string => unit.repeat(Math.floor(60_000 / unit.length));
    const headers = { prefer: `${", ".repeat(3_000)}wait` };
    const payment = {
      orderId: "ORD-slow",
      amountMinor: 15_000,
      currency: "KES",
      provider: "daraja",
      phone: "+254712345600",
    };
    const traps: object[] = [
      { customer: { email: `${long("a.")}@` } },
      { customer: { email: `a@${long("a-")}` } },
      { returnUrl: `http://${long("a.")}` },
      { returnUrl: `http:${long("/")}\u0000` },
      { phone: `+${long("1-")}` },
      { orderId: `${long("a:")} ` },
      { currency: long("A") },
    ];
    for (const trap of traps) {
      const startedMs = performance.now();
      const { status } = await asMerchant(node, "/v1/payments", { ...payment, ...trap }, headers);
      expect([status, performance.now() - startedMs < 3_000]).toEqual([400, true]);
    }
    for (const path of [`/sandbox/phone/${"1".repeat(7_000)}x/prompts`, `/v1/orders?from=${"2026-".repeat(1_500)}`]) {
      expect((await asMerchant(node, path)).status).toBeLessThan(500);
    }
    const spaces = await call(`${node.url}/v1/orders`, {
      headers: { authorization: `Bearer ${" ".repeat(7_000)}\t x` },
    });
    expect(spaces.status).toBe(401);
  });
});

describe("connections", () => {
  it("are refused beyond the connection limit (G12)", async () => {
    const node = await startNode({ databaseUrl, env: { LIMIT_CONNECTIONS: "10" } });
    const sockets = Array.from({ length: 100 }, () => {
      const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
      onTestFinished(() => socket.terminate());
      return socket.on("error", () => undefined);
    });
    const isSettled = ({ readyState }: WebSocket): boolean =>
      readyState === WebSocket.CLOSED || readyState === WebSocket.OPEN;
    await vi.waitUntil(
      () => sockets.every(isSettled) && sockets.filter(({ readyState }) => readyState === WebSocket.OPEN).length <= 10,
    );
    expect(await isAlive(node)).toBe(true);
    // The node closes connections that send nothing.
    await Promise.all(sockets.map((socket) => socket.readyState !== WebSocket.CLOSED && once(socket, "close")));
    const { watchToken } = await pay(node);
    const socket = openSocketIo(node, { token: watchToken });
    await new Promise((resolve) => socket.once("status", resolve));
  });

  const upgrades = ["/socket.io/?EIO=4&transport=websocket", "/v1/orders/ORD-1/socket?token=x"];

  it.each(upgrades)("that break while they are counted do not stop the node: %s", async (path) => {
    const redis = await startTcpProxy(redisUrl());
    // Such a low limit is counted one by one, so each request waits for Redis.
    const node = await startProcess({ DATABASE_URL: databaseUrl, REDIS_URL: redis.url, LIMIT_IP: "2" });
    onTestFinished(node.close);
    let isCounting = false;
    redis.onRequestBytes((chunk) => (isCounting ||= chunk.includes("address:127.0.0.1")));
    await vi.waitUntil(() => call(`${node.url}/v1/orders`).then(() => isCounting));
    redis.stall("requests");
    const socket = openTcp(node.url);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`);
    socket.write("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    await vi.waitUntil(() => redis.isHolding("address:127.0.0.1"), { interval: 1 });
    socket.resetAndDestroy();
    await once(socket, "close");
    redis.restore();
    expect(await isAlive(node)).toBe(true);
  });

  it("upgrade one Socket.IO session at most once", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node);
    const address = `${node.url}/socket.io/?EIO=4&transport=`;
    const upgrade = (sid: string): WebSocket => {
      const socket = new WebSocket(`${address.replace("http", "ws")}websocket&sid=${sid}`);
      onTestFinished(() => socket.terminate());
      return socket.on("error", () => undefined);
    };
    const isOpened = (socket: WebSocket): Promise<boolean> =>
      new Promise((resolve) => socket.once("open", () => resolve(true)).once("close", () => resolve(false)));
    const { sid } = JSON.parse((await (await fetch(`${address}polling`)).text()).slice(1)) as { sid: string };
    // Both at once, so that the second comes before engine.io has handled the first.
    const both = [upgrade(sid), upgrade(sid)];
    expect((await Promise.all(both.map(isOpened))).toSorted()).toEqual([false, true]);
    expect(await isOpened(upgrade(sid))).toBe(false);
    // An honest client may upgrade, and its session cannot be upgraded again.
    const client = openSocketIo(node, { token: watchToken }, { transports: ["polling", "websocket"] });
    const seen = new Promise((resolve) => client.once("status", resolve));
    await new Promise<void>((resolve) => client.once("connect", resolve));
    const { engine } = client.io;
    if (engine.transport.name !== "websocket") await new Promise((resolve) => engine.once("upgrade", resolve));
    expect(await isOpened(upgrade(engine.id))).toBe(false);
    expect(await seen).toMatchObject({ id: order.id });
    // A session that began with a WebSocket cannot be upgraded either.
    const direct = openSocketIo(node, { token: watchToken });
    await new Promise<void>((resolve) => direct.once("connect", resolve));
    expect(await isOpened(upgrade(direct.io.engine.id))).toBe(false);
    expect([client.connected, direct.connected]).toEqual([true, true]);
  });

  it.each(["polling", "websocket"])("with an overlong Socket.IO URL are refused unread: %s (G12)", async (way) => {
    // The limit of 2 counts only URLs that are read.
    const node = await startNode({ databaseUrl, env: { LIMIT_IP: "2" } });
    const statusOf = async (length: number): Promise<string> => {
      const socket = openTcp(node.url);
      const path = `/socket.io/?EIO=4&transport=${way}&`.padEnd(length, "a=1&");
      const upgrade =
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${way === "websocket" ? upgrade : ""}\r\n`);
      const [chunk] = await once(socket, "data");
      return String(chunk).slice("HTTP/1.1 ".length, "HTTP/1.1 101".length);
    };
    const ok = way === "websocket" ? "101" : "200";
    for (const length of [4_097, 15_000, 4_097]) expect(await statusOf(length)).toBe("414");
    expect(await statusOf(4_096)).toBe(ok);
    expect(await statusOf(100)).toBe(ok);
  });

  it("without a token leave no watcher behind", async () => {
    const node = await startNode({ databaseUrl });
    const { order } = await pay(node);
    const refused = Array.from({ length: 200 }, async (_, index) => {
      const path = index % 2 ? `/v1/orders/${order.orderId}/socket?token=x` : "/socket.io/?EIO=4&transport=websocket";
      const socket = new WebSocket(node.url.replace("http", "ws") + path);
      onTestFinished(() => socket.terminate());
      socket.on("error", () => undefined).on("open", () => index % 2 || socket.send('40{"token":"x"}'));
      // Socket.IO answers with an error and waits for the client to close.
      socket.on("message", (data) => String(data).startsWith("44") && socket.close());
      return once(socket, "close");
    });
    await Promise.all(refused);
    expect(node.watchedOrders()).toBe(0);
  });

  it.each([
    "x-forwarded-for",
    "x-real-ip",
    "forwarded",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-forwarded",
    "client-ip",
    "via",
  ])("do not get another budget by the header %s (G12)", async (header) => {
    const node = await startNode({ databaseUrl, env: { LIMIT_IP: "3" } });
    const statuses: number[] = [];
    for (let index = 0; index < 6; index += 1) {
      const value = header === "forwarded" ? `for=203.0.113.${index}` : `203.0.113.${index}`;
      statuses.push((await call(`${node.url}/v1/orders`, { headers: { [header]: value } })).status);
    }
    expect(statuses).toEqual([401, 401, 401, 429, 429, 429]);
  });
});

describe("socket", () => {
  it("watches up to 1,000 orders, and releases them when it closes (G12)", async () => {
    const { database, close, open } = await openTestStore();
    onTestFinished(close);
    const { event } = await open();
    const copies = `with made as (select n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id from generate_series(1, 1010) n)
      insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
      select made.id, 'MANY-' || n, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at from made, "order" where order_id = $1`;
    await database.pool.query(copies, [event.orderId]);
    const { rows } = await database.pool.query<{ name: string }>("select current_database() as name");
    const node = await startNode({ databaseUrl: databaseUrl.replace(/[^/]+$/, rows[0]?.name ?? "") });
    const socket = openSocketIo(node, { token: apiKey });
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    const answers = await Promise.all(
      Array.from({ length: 1_010 }, (_, index) =>
        socket.emitWithAck("watch", { token: apiKey, orderId: `MANY-${index + 1}` }),
      ),
    );
    expect(answers.filter(({ ok }) => ok)).toHaveLength(1_000);
    for (const { error } of answers.filter(({ ok }) => !ok))
      expect(error).toMatchObject({ code: "rate_limited", retryable: true });
    const second = openSocketIo(node, { token: apiKey });
    expect(await second.emitWithAck("watch", { token: apiKey, orderId: "MANY-1010" })).toMatchObject({ ok: true });
    expect(node.watchedOrders()).toBe(1_001);
    socket.disconnect();
    second.disconnect();
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });

  it.each([["websocket"], ["polling"]])(
    "with a watch token is closed when it sends far more than a page does: %s (G12)",
    async (way) => {
      const node = await startNode({ databaseUrl });
      const { watchToken } = await pay(node);
      const socket = openSocketIo(node, { token: watchToken }, { transports: [way] });
      await new Promise<void>((resolve) => socket.once("connect", resolve));
      const gone = new Promise<string>((resolve) => socket.once("disconnect", () => resolve("gone")));
      let answered = 0;
      // One after another, so that each accepted packet is answered.
      const flood = async (): Promise<string> => {
        while (answered < 1_000) {
          await socket.emitWithAck("unwatch", { orderId: "ORD-nowhere" });
          answered += 1;
        }
        return "answered";
      };
      expect(await Promise.race([gone, flood()])).toBe("gone");
      // An address may have 300 connections, so each may send only few packets.
      expect(answered).toBeLessThan(500);
      expect(answered).toBeGreaterThan(10);
    },
  );

  it("that sends 20,000 requests is closed, and its requests are dropped (G12)", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node);
    const socket = openSocketIo(node, { token: watchToken });
    await new Promise<void>((resolve) => socket.once("connect", resolve));
    const gone = new Promise((resolve) => socket.once("disconnect", resolve));
    for (let index = 0; index < 20_000; index += 1) socket.emit("watch", { token: watchToken, after: index });
    expect(await gone).not.toBe("io server disconnect");
    await vi.waitUntil(() => node.watchedOrders() === 0);
    // Another socket is served.
    const other = openSocketIo(node, { token: watchToken });
    expect(await new Promise((resolve) => other.once("status", resolve))).toMatchObject({ id: order.id });
  });
});

describe("endless pings from a client that reads nothing", () => {
  /** A masked ping with the largest payload of a control frame. */
  const ping = Buffer.concat([Buffer.from([0x89, 0x80 | 125, 1, 2, 3, 4]), Buffer.alloc(125)]);
  const pings = Buffer.concat(Array.from({ length: 250_000 }, () => ping));

  it.each(["Socket.IO without a token", "a WebSocket with one"])("do not fill the memory: %s (G12)", async (kind) => {
    const node = await startProcess({ DATABASE_URL: databaseUrl });
    onTestFinished(node.close);
    const { order, watchToken } = await pay(node);
    const path = kind.startsWith("Socket.IO")
      ? "/socket.io/?EIO=4&transport=websocket"
      : `/v1/orders/${order.orderId}/socket?token=${watchToken}`;
    const residentMiB = async (): Promise<number> =>
      ((await scrape(node)).value("process_resident_memory_bytes") ?? Number.NaN) / 2 ** 20;
    const before = await residentMiB();
    const socket = openTcp(node.url).pause();
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n`);
    socket.write("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    // Either the node takes them all, or it closes the connection.
    await Promise.race([new Promise((resolve) => socket.write(pings, resolve)), closed]);
    expect((await residentMiB()) - before).toBeLessThan(50);
    expect(await isAlive(node)).toBe(true);
  });

  it("are answered by the only installed version of ws", async () => {
    const lock = JSON.parse(await readFile(new URL("../../package-lock.json", import.meta.url), "utf8"));
    const installed = Object.keys(lock.packages).filter((path) => /(^|\/)node_modules\/ws$/.test(path));
    expect(installed).toEqual(["node_modules/ws"]);
  });
});
