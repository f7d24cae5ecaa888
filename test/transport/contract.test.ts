/**
 * The contract of every transport (docs/api.md), for all four, then what is specific to each. Not covered here: events
 * between nodes (test/journey), and races between states (test/status/hub.test.ts).
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { connect } from "node:net";
import { SignJWT } from "jose";
import pg from "pg";
import { io, type Socket } from "socket.io-client";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { deriveTokenKeys } from "../../server/auth/keys.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja } from "../support/scripted-daraja.ts";
import { type TransportName, transportNames, watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let daraja: ScriptedDaraja;
let node: TestNode;
beforeEach(async () => {
  daraja = await startScriptedDaraja();
  node = await startNode({ databaseUrl, env: daraja.env });
});

interface Started {
  order: StatusEvent;
  orderId: string;
  token: string;
  push: HeldPush;
}

/** Starts a payment that its provider has accepted: version 2. */
async function startPayment(): Promise<Started> {
  const { order, watchToken: token } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.version === 2);
  return { order, orderId, token, push };
}

const tokenFor = (order: StatusEvent, expiresAtS: number, secret = testSecret): Promise<string> =>
  new SignJWT({ order: order.orderId })
    .setProtectedHeader({ alg: "HS256" })
    .setSubject(order.id)
    .setAudience("tukio:watch")
    .setExpirationTime(expiresAtS)
    .sign(deriveTokenKeys([secret])[0] ?? Buffer.alloc(0));

const inS = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds;

const versions = ({ seen }: { seen: StatusEvent[] }): number[] => seen.map(({ version }) => version);

/** How a transport refuses: an HTTP status and code, a close code and reason, or a connect_error. */
async function refusalOf(transport: TransportName, orderId: string, token: string | undefined): Promise<unknown> {
  const query = token === undefined ? "" : `?token=${encodeURIComponent(token)}`;
  if (transport === "Socket.IO") {
    const auth = token === apiKey ? { token, orderId } : { token };
    const socket = openSocketIo(token === undefined ? {} : auth);
    return new Promise((resolve) =>
      socket.once("connect_error", (error) => resolve((error as { data?: { code: string } }).data?.code)),
    );
  }
  if (transport === "WebSocket") {
    const [code, reason] = await once(openWebSocket(`/v1/orders/${orderId}/socket${query}`), "close");
    return `${code} ${reason}`;
  }
  const path = transport === "long poll" ? "wait" : "events";
  const { status, body } = await call(`${node.url}/v1/orders/${orderId}/${path}${query}`);
  return `${status} ${body.code}`;
}

function openWebSocket(path: string, options: { headers?: Record<string, string> } = {}): WebSocket {
  const socket = new WebSocket(node.url.replace("http", "ws") + path, options);
  socket.on("error", () => undefined);
  onTestFinished(() => socket.terminate());
  return socket;
}

function openSocketIo(auth: object, options: Parameters<typeof io>[1] = {}): Socket {
  const socket = io(node.url, { auth, transports: ["websocket"], forceNew: true, ...options });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

describe.each(transportNames)("%s", (transport) => {
  it("sends the current state first, then newer ones", async () => {
    const { orderId, token, push } = await startPayment();
    const watching = watch(transport, { node, orderId, token });
    await watching.until(({ version }) => version === 2);
    await push.webhook();
    const end = await watching.until(({ version }) => version === 3);
    expect(versions(watching)).toEqual([2, 3]);
    expect(end).toEqual((await asMerchant(node, `/v1/orders/${orderId}`)).body.order);
  });

  it("skips the version that the client has, and sends the current one to a client with a higher version", async () => {
    const { orderId, token, push } = await startPayment();
    const known = watch(transport, { node, orderId, token, after: 2 });
    const future = watch(transport, { node, orderId, token, after: 99 });
    await future.until(({ version }) => version === 2);
    await push.webhook();
    await Promise.all([known, future].map((one) => one.until(({ version }) => version === 3)));
    expect(versions(known)).toEqual([3]);
    expect(versions(future)).toEqual([2, 3]);
  });

  it("sends the results of a paid order, and a change of them", async () => {
    const { orderId, token, push } = await startPayment();
    await push.webhook();
    const result = { id: "seat-A1", kind: "ticket", title: "Seat A1", code: "TUK-7F3A" } as const;
    const put = (title: string) => asMerchant(node, `/v1/orders/${orderId}/results`, { ...result, title });
    await put("Seat A1");
    const watching = watch(transport, { node, orderId, token });
    await watching.until(({ version }) => version === 4);
    const { body } = await put("Seat A1, row 2");
    expect(await watching.until(({ version }) => version === 5)).toEqual(body.order);
    expect(watching.seen.map(({ status, results }) => [status, results])).toEqual([
      ["succeeded", [result]],
      ["succeeded", [{ ...result, title: "Seat A1, row 2" }]],
    ]);
  });

  it("accepts an API key", async () => {
    const { orderId } = await startPayment();
    const options = transport === "Socket.IO" ? { orderId } : {};
    if (transport === "Socket.IO") {
      const [event] = await onceEvent(openSocketIo({ token: apiKey, ...options }), "status");
      expect(event).toMatchObject({ orderId, version: 2 });
    } else {
      await watch(transport, { node, orderId, token: apiKey }).until(({ version }) => version === 2);
    }
  });

  it("refuses a missing, foreign, tampered or expired token with its code (G11)", async () => {
    const { order, orderId, token } = await startPayment();
    const codes = {
      "Socket.IO": { invalid: "token_invalid", expired: "token_expired" },
      WebSocket: { invalid: "4401 token_invalid", expired: "4410 token_expired" },
      "server-sent events": { invalid: "401 token_invalid", expired: "401 token_expired" },
      "long poll": { invalid: "401 token_invalid", expired: "401 token_expired" },
    }[transport];
    const foreign = await tokenFor(order, inS(60), "a secret of another merchant, long enough");
    for (const wrong of [undefined, "nonsense", `${token}x`, foreign]) {
      expect(await refusalOf(transport, orderId, wrong)).toBe(codes.invalid);
    }
    expect(await refusalOf(transport, orderId, await tokenFor(order, inS(-1)))).toBe(codes.expired);
  });

  it("refuses an unknown order", async () => {
    const codes = {
      "Socket.IO": "order_unknown",
      WebSocket: "4404 order_unknown",
      "server-sent events": "404 order_unknown",
      "long poll": "404 order_unknown",
    }[transport];
    expect(await refusalOf(transport, "ORD-nowhere", apiKey)).toBe(codes);
  });

  it("opens no other order with a token (G11)", async () => {
    const one = await startPayment();
    const other = await startPayment();
    if (transport === "Socket.IO") {
      // The token names its order, so another order id beside it is a contradiction.
      const socket = openSocketIo({ token: one.token, orderId: other.orderId });
      const [error] = await onceEvent(socket, "connect_error");
      expect(error).toMatchObject({ data: { code: "token_invalid" } });
    } else {
      expect(await refusalOf(transport, other.orderId, one.token)).toMatch(/token_invalid/);
    }
  });

  it("accepts browsers from allowed origins only, and every other client", async () => {
    const { orderId, token } = await startPayment();
    const strict = await startNode({ databaseUrl, env: { ...daraja.env, ALLOWED_ORIGINS: "https://shop.example" } });
    const statusFrom = async (origin?: string): Promise<number> => {
      const headers = { ...(origin !== undefined && { origin }), ...(transport === "WebSocket" && upgradeHeaders) };
      const path = {
        "Socket.IO": "/socket.io/?EIO=4&transport=polling",
        WebSocket: `/v1/orders/${orderId}/socket?token=${token}`,
        "server-sent events": `/v1/orders/${orderId}/events?token=${token}`,
        "long poll": `/v1/orders/${orderId}/wait?token=${token}&after=0`,
      }[transport];
      return (await rawStatus(strict.url + path, headers)).statusCode ?? 0;
    };
    const ok = transport === "WebSocket" ? 101 : 200;
    expect(await statusFrom()).toBe(ok);
    expect(await statusFrom("https://shop.example")).toBe(ok);
    for (const origin of ["https://shop.example.evil", "http://shop.example", "https://sub.shop.example", "null"]) {
      expect(await statusFrom(origin)).toBe(403);
    }
  });

  it("releases everything when its clients leave", async () => {
    const { orderId, token } = await startPayment();
    const watches = Array.from({ length: 5 }, () => watch(transport, { node, orderId, token, after: 1 }));
    await Promise.all(watches.map((one) => one.until(({ version }) => version === 2)));
    await vi.waitUntil(() => node.watchedOrders() === 1);
    for (const one of watches) one.close();
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });

  it("releases the places of clients that leave during the handshake (G12)", async () => {
    const { order, orderId, token } = await startPayment();
    const crowded = await startNode({ databaseUrl, env: { ...daraja.env, LIMIT_CONNECTIONS: "3" } });
    const unknown = await tokenFor({ ...order, id: randomUUID() }, Math.floor(Date.now() / 1_000) + 60);
    for (const path of ["events", "events", "wait", "wait"]) {
      expect((await call(`${crowded.url}/v1/orders/${orderId}/${path}?token=${unknown}`)).status).toBe(404);
    }
    const threeWatches = () => Array.from({ length: 3 }, () => watch(transport, { node: crowded, orderId, token }));
    const database = new pg.Client(databaseUrl);
    await database.connect();
    onTestFinished(() => database.end());
    await database.query('begin; lock table "order"');
    const early = threeWatches();
    const isReading = async () =>
      (await database.query("select from pg_locks where not granted and relation = '\"order\"'::regclass")).rowCount !==
      0;
    await vi.waitUntil(isReading);
    for (const one of early) one.close();
    // The node has processed the closed connections when it answers this later request.
    await call(`${crowded.url}/livez`);
    await database.query("commit");
    await vi.waitUntil(() => crowded.watchedOrders() === 0);
    const watches = threeWatches();
    await Promise.all(watches.map((one) => one.until(({ version }) => version === 2)));
    for (const one of watches) one.close();
    await vi.waitUntil(() => crowded.watchedOrders() === 0);
    const again = threeWatches();
    await Promise.all(again.map((one) => one.until(({ version }) => version === 2)));
  });

  it("closes with the node, and another node has the state", async () => {
    const { orderId, token, push } = await startPayment();
    const watching = watch(transport, { node, orderId, token });
    await watching.until(({ version }) => version === 2);
    const other = await startNode({ databaseUrl, env: daraja.env });
    await node.close();
    const again = watch(transport, { node: other, orderId, token, after: 2 });
    const { pathname } = new URL(push.callbackUrl);
    await fetch(other.url + pathname, { method: "POST", body: JSON.stringify(cancelledBody(push)) });
    expect((await again.until(({ version }) => version === 3)).reason).toBe("cancelled");
  });
});

const cancelledBody = ({ reference }: HeldPush): object => ({
  Body: { stkCallback: { CheckoutRequestID: reference, ResultCode: 1032 } },
});

const upgradeHeaders = {
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
};

/** The response to a raw request, which may be an upgrade. The connection is destroyed at once. */
async function rawStatus(url: string, headers: Record<string, string>): Promise<IncomingMessage> {
  const request = httpRequest(url, { headers });
  const answered = new Promise<IncomingMessage>((resolve, reject) => {
    request.once("response", resolve).once("upgrade", resolve).once("error", reject);
  });
  request.end();
  const response = await answered;
  response.destroy();
  request.destroy();
  return response;
}

/** Resolves with the arguments of a Socket.IO client's next event. */
const onceEvent = (socket: Socket, event: string): Promise<unknown[]> =>
  new Promise((resolve) => socket.once(event, (...args: unknown[]) => resolve(args)));

describe("Socket.IO, specifically", () => {
  it("watches several orders on one socket, and answers with the state of each", async () => {
    const one = await startPayment();
    const two = await startPayment();
    const socket = openSocketIo({ token: one.token });
    const seen: StatusEvent[] = [];
    socket.on("status", (event: StatusEvent) => seen.push(event));
    const answer = await socket.emitWithAck("watch", { token: two.token, after: 2 });
    expect(answer).toEqual({ ok: true, order: expect.objectContaining({ orderId: two.orderId, version: 2 }) });
    await two.push.webhook();
    await vi.waitUntil(() => seen.some(({ orderId, version }) => orderId === two.orderId && version === 3));
    expect(seen.filter(({ orderId }) => orderId === two.orderId).map(({ version }) => version)).toEqual([3]);
  });

  it("accepts an API key with an order id, also after a handshake without one", async () => {
    const { orderId } = await startPayment();
    const socket = openSocketIo({ token: apiKey });
    expect(await socket.emitWithAck("watch", { token: apiKey, orderId })).toMatchObject({
      ok: true,
      order: { orderId },
    });
    expect(await socket.emitWithAck("watch", { token: apiKey, orderId: "ORD-nowhere" })).toMatchObject({
      ok: false,
      error: { code: "order_unknown" },
    });
  });

  it("refuses an invalid watch request, and stays connected", async () => {
    const { token } = await startPayment();
    const socket = openSocketIo({ token });
    for (const [request, code] of [
      [{ token: "nonsense" }, "token_invalid"],
      [{}, "token_invalid"],
      [{ token, after: -1 }, "body_invalid"],
      [{ token, after: "x" }, "body_invalid"],
      [{ token: { $ne: 1 } }, "body_invalid"],
      ["text", "body_invalid"],
      [null, "body_invalid"],
    ] as const) {
      expect(await socket.emitWithAck("watch", request)).toMatchObject({ ok: false, error: { code } });
    }
    socket.emit("watch", "no acknowledgement wanted");
    socket.emit("watch", { token }, "not a function");
    socket.emit("unwatch");
    expect(await socket.emitWithAck("watch", { token })).toMatchObject({ ok: true });
    expect(socket.connected).toBe(true);
  });

  it("runs requests in their order: an unwatch undoes the watch before it", async () => {
    const { orderId, token } = await startPayment();
    const socket = openSocketIo({ token: apiKey });
    const watched = socket.emitWithAck("watch", { token });
    const unwatched = socket.emitWithAck("unwatch", { orderId });
    expect(await watched).toMatchObject({ ok: true });
    expect(await unwatched).toEqual({ ok: true });
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });

  it("watches many orders requested at once, and does not exhaust the database connections", async () => {
    const { order, orderId, token } = await startPayment();
    const socket = openSocketIo({ token: apiKey });
    const answers = await Promise.all(
      Array.from({ length: 1_500 }, (_, index) =>
        socket.emitWithAck("watch", index % 2 === 0 ? { token } : { token: apiKey, orderId }),
      ),
    );
    expect(answers.filter((answer) => !answer.ok)).toEqual([]);
    expect(answers.at(-1)).toMatchObject({ order: { id: order.id } });
  });

  it.each([["websocket"], ["polling"]])(
    "watches a page of orders with a token each, requested at once over %s",
    async (way) => {
      const { token } = await startPayment();
      const socket = openSocketIo({ token }, { transports: [way] });
      const answers = await Promise.all(
        Array.from({ length: 40 }, () => socket.timeout(20_000).emitWithAck("watch", { token })),
      );
      expect(answers.filter((answer) => !answer.ok)).toEqual([]);
    },
  );

  it("sends nothing of an order after unwatch", async () => {
    const { orderId, token, push } = await startPayment();
    const socket = openSocketIo({ token });
    const seen: StatusEvent[] = [];
    socket.on("status", (event: StatusEvent) => seen.push(event));
    await vi.waitUntil(() => seen.length === 1);
    expect(await socket.emitWithAck("unwatch", { orderId })).toEqual({ ok: true });
    await vi.waitUntil(() => node.watchedOrders() === 0);
    await push.webhook();
    expect(await socket.emitWithAck("unwatch", { orderId })).toEqual({ ok: false });
    expect(seen).toHaveLength(1);
  });

  it("sends expired when a token expires, stops watching that order, and stays connected", async () => {
    const one = await startPayment();
    const two = await startPayment();
    const socket = openSocketIo({ token: await tokenFor(one.order, inS(2)) });
    const expired = onceEvent(socket, "expired");
    await socket.emitWithAck("watch", { token: two.token });
    expect(await expired).toEqual([{ orderId: one.orderId }]);
    await vi.waitUntil(() => node.watchedOrders() === 1);
    expect(socket.connected).toBe(true);
  });

  it("continues without a break when the client renews a token before it expires", async () => {
    const { order, orderId, token, push } = await startPayment();
    const socket = openSocketIo({ token: await tokenFor(order, inS(2)) });
    const seen: StatusEvent[] = [];
    const expired = vi.fn();
    socket.on("status", (event: StatusEvent) => seen.push(event)).on("expired", expired);
    expect(await socket.emitWithAck("watch", { token, after: 2 })).toMatchObject({ ok: true, order: { orderId } });
    // The other order's token expires later than the first one would have.
    const other = await startPayment();
    const later = openSocketIo({ token: await tokenFor(other.order, inS(3)) });
    await onceEvent(later, "expired");
    await push.webhook();
    await vi.waitUntil(() => seen.some(({ version }) => version === 3));
    expect(expired).not.toHaveBeenCalled();
  });

  it("logs nothing for a client that leaves during the handshake", async () => {
    const { token } = await startPayment();
    for (let index = 0; index < 100; index += 1) {
      const socket = openWebSocket("/socket.io/?EIO=4&transport=websocket");
      await once(socket, "open");
      socket.send(
        `40${JSON.stringify({ token })}`,
        () => void (socket as unknown as { _socket: { resetAndDestroy(): void } })._socket.resetAndDestroy(),
      );
      await once(socket, "close");
    }
    await vi.waitUntil(() => node.watchedOrders() === 0);
    expect(node.log.filter((line) => line.includes('"event":"socketio.connection.closed"'))).toEqual([]);
  });

  it("works over HTTP polling", async () => {
    const { token, push } = await startPayment();
    const socket = openSocketIo({ token }, { transports: ["polling"] });
    const seen: StatusEvent[] = [];
    socket.on("status", (event: StatusEvent) => seen.push(event));
    await vi.waitUntil(() => seen.length === 1);
    await push.webhook();
    await vi.waitUntil(() => seen.length === 2);
    expect(seen.map(({ version }) => version)).toEqual([2, 3]);
  });

  it("drains many watchers at shutdown with a close that lets them reconnect", async () => {
    const { token } = await startPayment();
    const sockets = Array.from({ length: 180 }, () => openSocketIo({ token }, { reconnection: false }));
    await Promise.all(sockets.map((socket) => onceEvent(socket, "status")));
    const gone = sockets.map(async (socket) => (await onceEvent(socket, "disconnect"))[0]);
    await node.close();
    expect(new Set(await Promise.all(gone))).toEqual(new Set(["transport close"]));
  });

  it("reconnects after the node restarts", async () => {
    const { token, push } = await startPayment();
    const { port } = new URL(node.url);
    const socket = openSocketIo({ token }, { reconnectionDelay: 20, reconnectionDelayMax: 50 });
    await onceEvent(socket, "status");
    const gone = onceEvent(socket, "disconnect");
    await node.close();
    expect((await gone)[0]).not.toBe("io server disconnect");
    const again = onceEvent(socket, "status");
    const restarted = await startNode({ databaseUrl, env: { ...daraja.env, PORT: port } });
    expect((await again)[0]).toMatchObject({ version: 2 });
    const next = onceEvent(socket, "status");
    const { pathname } = new URL(push.callbackUrl);
    await fetch(restarted.url + pathname, { method: "POST", body: JSON.stringify(cancelledBody(push)) });
    expect((await next)[0]).toMatchObject({ version: 3 });
  });
});

describe("WebSocket, specifically", () => {
  it("closes with 4410 when the token expires", async () => {
    const { order, orderId } = await startPayment();
    const socket = openWebSocket(`/v1/orders/${orderId}/socket?token=${await tokenFor(order, inS(2))}`);
    await once(socket, "message");
    expect((await once(socket, "close"))[0]).toBe(4410);
  });

  it("accepts the token in a header", async () => {
    const { orderId, token } = await startPayment();
    const socket = openWebSocket(`/v1/orders/${orderId}/socket`, { headers: { authorization: `Bearer ${token}` } });
    expect(JSON.parse(String((await once(socket, "message"))[0]))).toMatchObject({ orderId });
  });

  it("closes with 1012 when the node restarts", async () => {
    const { orderId, token } = await startPayment();
    const socket = openWebSocket(`/v1/orders/${orderId}/socket?token=${token}`);
    await once(socket, "message");
    const closed = once(socket, "close");
    await node.close();
    expect((await closed)[0]).toBe(1012);
  });

  it("drains many watchers at shutdown, each with 1012", async () => {
    const { orderId, token } = await startPayment();
    const sockets = Array.from({ length: 180 }, () => openWebSocket(`/v1/orders/${orderId}/socket?token=${token}`));
    await Promise.all(sockets.map((socket) => once(socket, "message")));
    const closed = sockets.map(async (socket) => (await once(socket, "close"))[0]);
    await node.close();
    expect(new Set(await Promise.all(closed))).toEqual(new Set([1012]));
  });

  it("ignores frames from the client, and closes on one that is too large (G12)", async () => {
    const { orderId, token, push } = await startPayment();
    const socket = openWebSocket(`/v1/orders/${orderId}/socket?token=${token}`);
    await once(socket, "message");
    socket.send('{"status":"succeeded"}');
    const next = once(socket, "message");
    await push.webhook();
    expect(JSON.parse(String((await next)[0]))).toMatchObject({ version: 3 });
    const closed = once(socket, "close");
    socket.send("x".repeat(5_000));
    expect((await closed)[0]).toBe(1009);
  });

  it("answers a bad position with a problem, before the upgrade", async () => {
    const { orderId, token } = await startPayment();
    const url = `${node.url}/v1/orders/${orderId}/socket?token=${token}&after=x`;
    expect((await rawStatus(url, upgradeHeaders)).statusCode).toBe(400);
  });
});

describe("server-sent events, specifically", () => {
  it("release everything when their client leaves, also streams queued behind another answer", async () => {
    const { orderId, token } = await startPayment();
    const narrow = await startNode({ databaseUrl, env: { ...daraja.env, LIMIT_CONNECTIONS: "3" } });
    const request = `GET /v1/orders/${orderId}/events?token=${token} HTTP/1.1\r\nHost: x\r\n\r\n`;
    const socket = connect(Number(new URL(narrow.url).port), "127.0.0.1");
    socket.on("error", () => undefined).write(request.repeat(3));
    await vi.waitUntil(() => narrow.watchedOrders() === 1);
    await once(socket, "data");
    socket.destroy();
    await vi.waitUntil(() => narrow.watchedOrders() === 0);
    // Their places of the address are free again.
    const isFree = async () => (await fetch(`${narrow.url}/v1/orders/${orderId}/wait?timeout=1&token=${token}`)).ok;
    expect(await Promise.all([isFree(), isFree(), isFree()])).toEqual([true, true, true]);
  });

  const open = async (orderId: string, token: string, headers: Record<string, string> = {}) => {
    const stopped = new AbortController();
    onTestFinished(() => stopped.abort());
    const url = `${node.url}/v1/orders/${orderId}/events`;
    const response = await fetch(url, {
      headers: { authorization: `Bearer ${token}`, ...headers },
      signal: stopped.signal,
    });
    let all = "";
    const reading = (async () => {
      for await (const chunk of response.body ?? []) all += Buffer.from(chunk).toString();
    })().catch(() => undefined);
    /** The text without heartbeats, which may arrive at any time. */
    const text = (): string => all.replaceAll(": still here\n\n", "");
    return { response, ended: reading, has: (part: string) => vi.waitUntil(() => text().includes(part)), text };
  };

  it("number each state, and prefer Last-Event-ID to after", async () => {
    const { orderId, token, push } = await startPayment();
    const { response, has, text } = await open(orderId, token, {
      "last-event-id": "2",
      origin: "https://shop.example",
    });
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(response.headers.get("cache-control")).toContain("no-store");
    expect(response.headers.get("access-control-allow-origin")).toBe("https://shop.example");
    await push.webhook();
    await has("\n\n");
    expect(text()).toMatch(/^id: 3\nevent: status\ndata: \{.*"version":3.*\}\n\n$/);
  });

  it("end when the token expires, so that the client's next request gets the reason", async () => {
    const { order, orderId } = await startPayment();
    const { ended, text } = await open(orderId, await tokenFor(order, inS(2)));
    await ended;
    expect(text()).toContain('"version":2');
  });
});

describe("long poll, specifically", () => {
  it("waits until the order is settled when after is absent", async () => {
    const { orderId, token, push } = await startPayment();
    const waiting = call(`${node.url}/v1/orders/${orderId}/wait?token=${token}`);
    await vi.waitUntil(() => node.watchedOrders() === 1);
    await push.webhook();
    expect(await waiting).toMatchObject({ status: 200, body: { status: "succeeded", settled: true } });
    expect(await call(`${node.url}/v1/orders/${orderId}/wait?token=${token}`)).toMatchObject({ body: { version: 3 } });
  });

  it("answers with the current state after its timeout", async () => {
    const { orderId, token } = await startPayment();
    const answer = await call(`${node.url}/v1/orders/${orderId}/wait?token=${token}&after=2&timeout=1`);
    expect(answer).toMatchObject({ status: 200, body: { version: 2, status: "processing" } });
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  it("answers with the current state when the token expires, so that the client's next request gets the reason", async () => {
    const { order, orderId } = await startPayment();
    const token = await tokenFor(order, inS(2));
    const startedMs = performance.now();
    const answer = await call(`${node.url}/v1/orders/${orderId}/wait?token=${token}&after=2&timeout=60`);
    expect(answer).toMatchObject({ status: 200, body: { version: 2 } });
    expect(performance.now() - startedMs).toBeLessThan(30_000);
  });

  it("answers with the current state when the node closes", async () => {
    const { orderId, token } = await startPayment();
    const waiting = call(`${node.url}/v1/orders/${orderId}/wait?token=${token}&after=2&timeout=60`);
    await vi.waitUntil(() => node.watchedOrders() === 1);
    await node.close();
    expect(await waiting).toMatchObject({ status: 200, body: { version: 2 } });
  });
});

describe("a node that does not have the newest state yet", () => {
  it.each(transportNames)("sends no older state to a watcher that moves to it over %s (G5)", async (transport) => {
    const { orderId, token, push } = await startPayment();
    // Its bus is its own, so it finds the other node's events only by its resync passes.
    const behind = await startNode({ databaseUrl, env: daraja.env });
    await watch("WebSocket", { node: behind, orderId, token }).until(({ version }) => version === 2);
    await push.webhook({ ResultCode: 1032 });
    const moved = watch(transport, { node: behind, orderId, token, after: 3 });
    await push.webhook();
    await moved.until(({ version }) => version === 4);
    expect(versions(moved)).toEqual([4]);
  });
});

describe("a client that does not read", () => {
  /** Publishes states of one order, of 32 KiB each, until `isOver`. */
  const flood = async (order: StatusEvent, isOver: () => boolean): Promise<void> => {
    for (let version = 1_000; !isOver() && version < 3_000; version += 1) {
      node.publish({ ...order, version, orderId: order.orderId.padEnd(32_768, "x") });
      await new Promise((resolve) => setImmediate(resolve));
    }
  };

  const rawRequest = (path: string, headers: Record<string, string> = {}) => {
    const { hostname, port } = new URL(node.url);
    const socket = connect(Number(port), hostname);
    onTestFinished(() => void socket.destroy());
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: ${hostname}\r\n${lines.join("")}\r\n`);
    return socket;
  };

  it.each(["WebSocket", "server-sent events"] as const)(
    "is closed over %s, so that it reconnects (G12)",
    async (transport) => {
      const { order, orderId, token } = await startPayment();
      const path = transport === "WebSocket" ? "socket" : "events";
      rawRequest(
        `/v1/orders/${orderId}/${path}?token=${token}`,
        transport === "WebSocket" ? upgradeHeaders : {},
      ).pause();
      await vi.waitUntil(() => node.watchedOrders() === 1);
      await flood(order, () => node.watchedOrders() === 0);
      await vi.waitUntil(() => node.watchedOrders() === 0);
    },
  );

  it("is closed over Socket.IO, so that it reconnects (G12)", async () => {
    const { order, token } = await startPayment();
    const socket = openSocketIo({ token }, { reconnection: false });
    await onceEvent(socket, "status");
    const { engine } = socket.io;
    const transport = engine.transport as unknown as { ws: { _socket?: { pause(): void }; pause?(): void } };
    const { ws } = transport;
    if (ws.pause) ws.pause();
    else ws._socket?.pause();
    await flood(order, () => node.watchedOrders() === 0);
    await vi.waitUntil(() => node.watchedOrders() === 0);
  });
});

describe("a Socket.IO connection that sends no token", () => {
  it("is closed after 5 s (G12)", async () => {
    const socket = new WebSocket(`${node.url.replace("http", "ws")}/socket.io/?EIO=4&transport=websocket`);
    onTestFinished(() => socket.terminate());
    await once(socket, "close");
  });
});

describe("an address with too many open connections", () => {
  it("refuses a further one over every transport until one of them closes (G12)", async () => {
    const full = await startNode({ databaseUrl, env: { ...daraja.env, LIMIT_CONNECTIONS: "1" } });
    const { order, watchToken: token } = await pay(full);
    const { orderId } = order;
    const first = watch("server-sent events", { node: full, orderId, token });
    await first.until(() => true);
    for (const path of ["wait?after=9", "events?"]) {
      const { status, headers, body } = await call(`${full.url}/v1/orders/${orderId}/${path}&token=${token}`);
      expect({ status, code: body.code, retryAfter: headers.get("retry-after") }).toEqual({
        status: 429,
        code: "rate_limited",
        retryAfter: "10",
      });
    }
    const asEventSource = { headers: { accept: "text/event-stream" } };
    const stream = await fetch(`${full.url}/v1/orders/${orderId}/events?token=${token}`, asEventSource);
    expect([stream.status, stream.headers.get("content-type")]).toEqual([200, "text/event-stream; charset=utf-8"]);
    expect(await stream.text()).toMatch(/^retry: 1\d{3}\n\n$/);
    const unknown = await fetch(`${full.url}/v1/orders/ORD-nowhere/events?token=${apiKey}`, asEventSource);
    expect(unknown.status).toBe(404);
    const socket = new WebSocket(`${full.url.replace("http", "ws")}/v1/orders/${orderId}/socket?token=${token}`);
    expect((await once(socket, "close"))[0]).toBe(1013);
    const refused = io(full.url, {
      auth: { token },
      transports: ["websocket"],
      forceNew: true,
      reconnectionDelay: 20,
      reconnectionDelayMax: 50,
    });
    onTestFinished(() => void refused.disconnect());
    await new Promise((resolve) => refused.io.once("reconnect_attempt", resolve));
    const connected = new Promise((resolve) => refused.once("status", resolve));
    first.close();
    expect(await connected).toMatchObject({ orderId });
  });
});
