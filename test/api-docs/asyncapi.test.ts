/**
 * Compares the AsyncAPI document with recorded frames of every channel, and with AsyncAPI's official JSON Schema. The schema checks
 * less than @asyncapi/parser, which has 137 packages, so this test checks the references.
 */
import { once } from "node:events";
import asyncApiSchema from "@asyncapi/specs/schemas/3.0.0-without-$id.json" with { type: "json" };
import { Ajv } from "ajv";
import formats from "ajv-formats";
import { io, type Socket } from "socket.io-client";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { WebSocket } from "ws";
import { closeCode } from "../../client-sdk/close-code.ts";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createWatchTokens } from "../../server/auth/watch-token.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { closed } from "../support/openapi.ts";
import { type ScriptedDaraja, startScriptedDaraja } from "../support/scripted-daraja.ts";

interface AsyncApiDocument {
  servers: Record<string, { host: string }>;
  channels: Record<string, { messages: Record<string, unknown>; "x-close-codes"?: Record<string, string> }>;
  operations: Record<string, { action: string }>;
  components: { messages: Record<string, { payload: object; examples: { payload: unknown }[] }> };
}

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

let daraja: ScriptedDaraja;
let node: TestNode;
let document: AsyncApiDocument;
beforeEach(async () => {
  daraja = await startScriptedDaraja();
  node = await startNode({ databaseUrl, env: daraja.env });
  document = (await call(`${node.url}/asyncapi.json`)).body as unknown as AsyncApiDocument;
});

/** Fails unless the value fits the schema at the pointer and has no other fields. */
function check(pointer: string, value: unknown): void {
  const ajv = new Ajv({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(closed(document), "asyncapi.json");
  ajv.validate({ $ref: `asyncapi.json#/${pointer}` }, value);
  expect(ajv.errors ?? [], `${pointer}: ${JSON.stringify(value)}`).toEqual([]);
}

/** Checks a message of a channel. */
function checkMessage(channel: string, message: string, payload: unknown): void {
  expect(Object.keys(document.channels[channel]?.messages ?? {})).toContain(message);
  check(`components/messages/${message}/payload`, payload);
}

/** Starts a payment that the provider accepts, and returns a function that pays it. */
async function open(): Promise<{ order: StatusEvent; token: string; paid: () => Promise<unknown> }> {
  const { order, watchToken: token } = await pay(node);
  const push = await daraja.nextPush();
  push.accept();
  const { orderId } = order;
  await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.version === 2);
  return { order, token, paid: () => push.webhook() };
}

const tokenOf = async ({ id, orderId }: StatusEvent, ttlS: number): Promise<string> =>
  createWatchTokens([testSecret], ttlS).issue({ id, orderId }).watchToken;

function connect(auth: object): Socket {
  const socket = io(node.url, { auth, transports: ["websocket"], forceNew: true });
  onTestFinished(() => void socket.disconnect());
  return socket;
}

const nextEvent = (socket: Socket, event: string): Promise<unknown> =>
  new Promise((resolve) => socket.once(event, (payload: unknown) => resolve(payload)));

function openWebSocket(orderId: string, token: string): WebSocket {
  const socket = new WebSocket(`${node.url.replace("http", "ws")}/v1/orders/${orderId}/socket?token=${token}`);
  onTestFinished(() => socket.terminate());
  return socket;
}

describe("the AsyncAPI document", () => {
  it("is valid AsyncAPI 3 according to the official schema", () => {
    const ajv = new Ajv({ strict: false, allErrors: true });
    formats.default(ajv);
    ajv.validate(asyncApiSchema, document);
    expect(ajv.errors ?? []).toEqual([]);
  });

  it("has no dangling reference, and names this node as its server", () => {
    const text = JSON.stringify(document);
    const references = [...text.matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
    expect(references.length).toBeGreaterThan(20);
    for (const path of references) {
      const target = path
        .split("/")
        .reduce<unknown>((value, key) => (value as Record<string, unknown> | undefined)?.[key], document);
      expect(target, path).toBeDefined();
    }
    const { port } = new URL(node.url);
    expect(Object.values(document.servers).map(({ host }) => host)).toEqual(Array(3).fill(`localhost:${port}`));
  });

  it("has an example of every message that fits its schema", () => {
    for (const [name, { examples }] of Object.entries(document.components.messages)) {
      expect(examples.length).toBeGreaterThan(0);
      for (const { payload } of examples) check(`components/messages/${name}/payload`, payload);
    }
  });

  it("lists the close codes of the protocol", () => {
    const codes = Object.keys(document.channels.websocket?.["x-close-codes"] ?? {}).map(Number);
    expect(codes.toSorted()).toEqual(Object.values(closeCode).toSorted());
  });
});

describe("the frames", () => {
  it("of Socket.IO fit the document: states, acknowledgements, refusals and the expiry of a token", async () => {
    const { order, token, paid } = await open();
    const { orderId } = order;
    const auth = { token, after: 0, clock: true };
    checkMessage("socketio", "connect", auth);
    const socket = connect(auth);
    checkMessage("socketio", "status", await nextEvent(socket, "status"));
    const next = nextEvent(socket, "status");
    await paid();
    checkMessage("socketio", "status", await next);

    const merchant = connect({ token: apiKey });
    await nextEvent(merchant, "connect");
    const request = { token: apiKey, orderId };
    checkMessage("socketio", "watch", request);
    for (const [asked, ok] of [
      [request, true],
      [{ token: "nonsense" }, false],
      [{ token: 1 }, false],
    ] as const) {
      const answer = await merchant.emitWithAck("watch", asked);
      expect(answer).toMatchObject({ ok });
      checkMessage("socketio", "watchAnswer", answer);
    }
    checkMessage("socketio", "unwatch", { orderId });
    for (const ok of [true, false]) {
      const answer = await merchant.emitWithAck("unwatch", { orderId });
      expect(answer).toEqual({ ok });
      checkMessage("socketio", "unwatchAnswer", answer);
    }

    const refusal = (await nextEvent(connect({ token: "nonsense" }), "connect_error")) as { data: unknown };
    checkMessage("socketio", "connect_error", refusal.data);
    const short = connect({ token: await tokenOf(order, 2) });
    checkMessage("socketio", "expired", await nextEvent(short, "expired"));
  });

  it("of the WebSocket fit the document, and so does each close", async () => {
    const { order, token, paid } = await open();
    const socket = openWebSocket(order.orderId, token);
    const [first] = await once(socket, "message");
    checkMessage("websocket", "status", JSON.parse(String(first)));
    const next = once(socket, "message");
    await paid();
    checkMessage("websocket", "status", JSON.parse(String((await next)[0])));

    const codes = document.channels.websocket?.["x-close-codes"] ?? {};
    const closes = [
      [order.orderId, "nonsense", closeCode.tokenRefused],
      [order.orderId, await tokenOf(order, -60), closeCode.tokenExpired],
      ["ORD-nowhere", apiKey, closeCode.orderUnknown],
    ] as const;
    for (const [orderId, token, code] of closes) {
      expect((await once(openWebSocket(orderId, token), "close"))[0]).toBe(code);
      expect(codes).toHaveProperty(String(code));
    }
  });

  it("of server-sent events fit the document in every field", async () => {
    const { order, token, paid } = await open();
    const stopped = new AbortController();
    onTestFinished(() => stopped.abort());
    const url = `${node.url}/v1/orders/${order.orderId}/events?token=${token}`;
    const { body } = await fetch(url, { signal: stopped.signal });
    if (!body) throw new Error("no stream");
    let text = "";
    const records: string[] = [];
    let pays: Promise<unknown> | undefined;
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const whole = text.split("\n\n");
      text = whole.pop() ?? "";
      // A line that begins with a colon is a comment, such as the stream's heartbeat.
      records.push(...whole.filter((record) => !record.startsWith(":")));
      if (records.length > 0) pays ??= paid();
      if (records.length >= 2) break;
    }
    await pays;
    expect(records).toHaveLength(2);
    for (const record of records) {
      const fields = record.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.replace(/^\w+: /, "")]);
      const { data, ...headers } = Object.fromEntries(fields) as Record<string, string>;
      check("components/messages/statusField/headers", headers);
      checkMessage("events", "statusField", JSON.parse(String(data)));
    }
  });
});
