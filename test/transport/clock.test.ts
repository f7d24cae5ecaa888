/** `clock`: the server's time, which every transport sends to a client that asks for it, and to no other client. */
import { once } from "node:events";
import { io, type Socket } from "socket.io-client";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
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

const stateOf = async (orderId: string): Promise<StatusEvent> =>
  (await asMerchant(node, `/v1/orders/${orderId}`)).body.order;

/** Starts a payment that its provider has accepted: version 2. */
async function startPayment(): Promise<{ order: StatusEvent; orderId: string; token: string; push: HeldPush }> {
  const { order, watchToken: token } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  return { order: await vi.waitUntil(() => atVersion2(orderId)), orderId, token, push };
}

async function atVersion2(orderId: string): Promise<StatusEvent | undefined> {
  const order = await stateOf(orderId);
  return order.version === 2 ? order : undefined;
}

function openSocketIo(auth: object): Socket {
  const socket = io(node.url, { auth, transports: ["websocket"], forceNew: true });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

const onceEvent = (socket: Socket, event: string): Promise<unknown> =>
  new Promise((resolve) => socket.once(event, (value: unknown) => resolve(value)));

/** The state without the server's time, which it must have. */
function withoutTime(event: StatusEvent): StatusEvent {
  const { sentAt, ...state } = event;
  expect(sentAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(Date.parse(sentAt ?? "")).toBeGreaterThanOrEqual(Date.parse(event.occurredAt));
  return state;
}

const wrong = { code: "body_invalid", errors: [{ path: "clock", message: "must be true or false" }] };

/** The problem with which a transport refuses this `clock`. */
async function problemOf(transport: TransportName, orderId: string, token: string, clock: string): Promise<unknown> {
  if (transport === "Socket.IO") {
    const error = (await onceEvent(openSocketIo({ token, clock }), "connect_error")) as { data?: unknown };
    return error.data;
  }
  const channel = { WebSocket: "socket", "server-sent events": "events", "long poll": "wait" }[transport];
  const path = `/v1/orders/${orderId}/${channel}?token=${token}&clock=${clock}`;
  if (transport !== "WebSocket") return (await call(node.url + path)).body;
  const socket = new WebSocket(node.url.replace("http", "ws") + path);
  socket.on("error", () => undefined);
  const [, response] = await once(socket, "unexpected-response");
  const parts: Buffer[] = [];
  for await (const part of response) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

describe.each(transportNames)("%s", (transport) => {
  it.each([undefined, false])("sends every state exactly as GET returns it with clock %s", async (clock) => {
    const { order, orderId, token, push } = await startPayment();
    const watching = watch(transport, { node, orderId, token, ...(clock !== undefined && { clock }) });
    expect(await watching.until(() => true)).toStrictEqual(order);
    // The node reads the order for another client, which asks for the time.
    const asking = watch("WebSocket", { node, orderId, token, clock: true });
    await asking.until(() => true);
    await push.webhook();
    const end = await watching.until(({ version }) => version === 3);
    expect(end).toStrictEqual(await stateOf(orderId));
  });

  it("sends the server's time with the first state, and the same state otherwise, with clock true", async () => {
    const { order, orderId, token } = await startPayment();
    const watching = watch(transport, { node, orderId, token, clock: true });
    expect(withoutTime(await watching.until(() => true))).toStrictEqual(order);
  });

  it("refuses another value, and names the parameter", async () => {
    const { orderId, token } = await startPayment();
    for (const clock of ["yes", "1", "TRUE"])
      expect(await problemOf(transport, orderId, token, clock)).toMatchObject(wrong);
  });
});

describe("Socket.IO's watch", () => {
  it("has the server's time in its answer and its state if the request asks for it, and only then", async () => {
    const { order, orderId, token } = await startPayment();
    const socket = openSocketIo({ token: apiKey });
    const request = { token: apiKey, orderId };
    for (const clock of [undefined, null, false, "false"]) {
      const state = onceEvent(socket, "status");
      expect(await socket.emitWithAck("watch", { ...request, clock })).toStrictEqual({ ok: true, order });
      expect(await state).toStrictEqual(order);
    }
    for (const clock of [true, "true"]) {
      const state = onceEvent(socket, "status");
      const answer = await socket.emitWithAck("watch", { token, clock });
      expect(withoutTime(answer.order)).toStrictEqual(order);
      expect(await state).toStrictEqual(answer.order);
    }
  });

  it("refuses another value, and names the field", async () => {
    const { token } = await startPayment();
    const socket = openSocketIo({ token });
    for (const clock of ["yes", "", 1, {}, []])
      expect(await socket.emitWithAck("watch", { token, clock })).toMatchObject({ ok: false, error: wrong });
  });
});

describe("the long poll", () => {
  it("sends no time with a state that waited for the timeout, because it was read before", async () => {
    const { order, orderId, token } = await startPayment();
    const { body } = await call(`${node.url}/v1/orders/${orderId}/wait?token=${token}&after=2&timeout=1&clock=true`);
    expect(body).toStrictEqual(order);
  });
});
