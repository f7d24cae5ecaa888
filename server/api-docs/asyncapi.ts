/**
 * The AsyncAPI 3 document of Socket.IO, WebSocket frames and server-sent events. Actions are the server's: a client receives what
 * the server `send`s. AsyncAPI has no terms for close codes, which are in an `x-` field, nor for Socket.IO's handshake and
 * acknowledgements, which are messages and replies.
 */
import type { z } from "zod";
import { closeCode } from "../../client-sdk/close-code.ts";
import { HubError, toProblem } from "../errors.ts";
import { orderIdForm } from "../order-id.ts";
import { problem, statusEvent, unwatchAnswer, watchAnswer, watchEnded } from "../schema/answer.ts";
import { orderId, processing, succeeded, watchToken } from "../schema/example.ts";
import { unwatchRequest, watchRequest } from "../transport/socketio-message.ts";
import { createSchemaCollector, type Json, type SchemaCollector } from "./json-schema.ts";

export interface AsyncApiOptions {
  /** Base URL for clients. */
  publicUrl: string;
  version: string;
}

const refused = toProblem(new HubError("token_expired"));
const request = { token: watchToken.watchToken, after: 2 };

export function asyncApi({ publicUrl, version }: AsyncApiOptions): Json {
  const schemas = createSchemaCollector("draft-07");
  const messages = messagesOf(schemas);
  const name = (key: string): string => ref("components", "messages", key);
  return {
    asyncapi: "3.0.0",
    info: { title: "Tukio", version, description: about, license: { name: "MIT" } },
    defaultContentType: "application/json",
    servers: serversOf(new URL(publicUrl)),
    channels: {
      socketio: {
        address: "/socket.io/",
        title: "Socket.IO",
        description:
          'Namespace `/`. `io(url, { auth })` with `connect` as `auth` watches its order at once; an API key may watch later. `watch` and `unwatch` are emitted with an acknowledgement. With tokens alone a socket may send 256 packets at once and 10 a second after that, with an API key 4,096 and 500; the server closes a socket that sends more. Use `transports: ["websocket"]` unless there is one node or sessions are sticky.',
        servers: [{ $ref: ref("servers", "socketio") }],
        messages: pick(name, [
          "connect",
          "connect_error",
          "status",
          "expired",
          "watch",
          "watchAnswer",
          "unwatch",
          "unwatchAnswer",
        ]),
      },
      websocket: {
        address: "/v1/orders/{orderId}/socket",
        title: "WebSocket",
        description: "One `StatusEvent` per text frame. What a client sends is ignored.",
        servers: [{ $ref: ref("servers", "websocket") }],
        parameters,
        messages: pick(name, ["status"]),
        bindings: { ws: { method: "GET", query: queryOf(schemas), bindingVersion: "0.1.0" } },
        "x-close-codes": closeCodes,
      },
      events: {
        address: "/v1/orders/{orderId}/events",
        title: "Server-sent events",
        description:
          "`?token=`, `?after=` and `?clock=` as for the WebSocket; `Last-Event-ID` takes precedence over `after`. The server sends a comment every 15 s.",
        servers: [{ $ref: ref("servers", "http") }],
        parameters,
        messages: pick(name, ["statusField"]),
      },
    },
    operations: {
      "socketio.connect": act("receive", "socketio", ["connect"], "The handshake of a client.", ["connect_error"]),
      "socketio.watch": act("receive", "socketio", ["watch"], "Watches another order on this socket.", ["watchAnswer"]),
      "socketio.unwatch": act("receive", "socketio", ["unwatch"], "Stops watching an order.", ["unwatchAnswer"]),
      "socketio.status": act("send", "socketio", ["status"], "The current state, then each newer state."),
      "socketio.expired": act("send", "socketio", ["expired"], "A token has expired; the socket stays open."),
      "websocket.status": act("send", "websocket", ["status"], "The current state, then each newer state."),
      "events.status": act("send", "events", ["statusField"], "The current state, then each newer state."),
    },
    components: { messages, schemas: schemas.components },
  };
}

const about = `Every message is the whole current state of one order, numbered by \`epoch\` and \`version\`: keep the newer one, drop the others.
A slow client may miss states, but it never receives them in another order. The token is an order's watch token, or the API key.
Requests and answers are described in openapi.json.`;

/** The meanings of close codes, and whether to reconnect. */
const closeCodes: Record<number, string> = {
  [closeCode.restarting]: "The node restarts: reconnect",
  [closeCode.tryAgainLater]: "The node failed: reconnect later",
  [closeCode.tokenRefused]: "The token is not valid for this order: do not reconnect",
  [closeCode.orderUnknown]: "There is no such order: do not reconnect",
  [closeCode.tooSlow]: "The client left more than 64 KiB unread: reconnect",
  [closeCode.tokenExpired]: "The token has expired: reconnect with a new one",
};

const parameters = { orderId: { description: `Your name for the order. ${orderIdForm}`, examples: [orderId] } };

function serversOf({ host, protocol, pathname }: URL): Json {
  const isSecure = protocol === "https:";
  const at = { host, ...(pathname !== "/" && { pathname }) };
  return {
    socketio: { ...at, protocol: "socketio", protocolVersion: "5", description: "A Socket.IO 4 client." },
    websocket: { ...at, protocol: isSecure ? "wss" : "ws" },
    http: { ...at, protocol: isSecure ? "https" : "http" },
  };
}

function messagesOf(schemas: SchemaCollector): Json {
  const message = (shape: z.ZodType, summary: string, ...examples: unknown[]): Json => ({
    summary,
    payload: schemas.add(shape),
    examples: examples.map((payload) => ({ payload })),
  });
  const status = message(statusEvent, "The whole current state of one order.", processing, succeeded);
  return {
    status: { name: "status", ...status },
    statusField: {
      name: "status",
      ...status,
      summary: "`data` is the whole current state of one order; the other fields are headers here.",
      headers: {
        type: "object",
        required: ["event", "id"],
        properties: {
          event: { type: "string", const: "status" },
          id: { type: "string", pattern: "^[1-9]\\d*$", description: "The version." },
        },
      },
    },
    expired: { name: "expired", ...message(watchEnded, "The token of this order has expired.", { orderId }) },
    connect: { name: "connect", ...message(watchRequest, "`auth` of the handshake.", request) },
    connect_error: { name: "connect_error", ...message(problem, "`data` of a refused handshake.", refused) },
    watch: {
      name: "watch",
      ...message(watchRequest, "The token of the order; with an API key, `orderId` too.", request),
    },
    watchAnswer: message(
      watchAnswer,
      "The acknowledgement of `watch`.",
      { ok: true, order: processing },
      { ok: false, error: refused },
    ),
    unwatch: { name: "unwatch", ...message(unwatchRequest, "Stops watching an order.", { orderId }) },
    unwatchAnswer: message(unwatchAnswer, "`ok` is false if the order was not watched.", { ok: true }),
  };
}

function queryOf(schemas: SchemaCollector): Json {
  const { properties } = schemas.add(watchRequest) as { properties: Json };
  const { token, after, clock } = properties;
  return { type: "object", properties: { token, after, clock } };
}

const ref = (...path: string[]): string => `#/${path.map((part) => part.replaceAll("/", "~1")).join("/")}`;

const pick = (name: (key: string) => string, keys: readonly string[]): Json =>
  Object.fromEntries(keys.map((key) => [key, { $ref: name(key) }]));

/** `answers`: the messages of the same channel that reply. */
function act(
  action: "send" | "receive",
  channel: string,
  messages: string[],
  summary: string,
  answers?: string[],
): Json {
  const channelRef = { $ref: ref("channels", channel) };
  const refs = (keys: string[]): Json[] => keys.map((key) => ({ $ref: ref("channels", channel, "messages", key) }));
  return {
    action,
    channel: channelRef,
    summary,
    messages: refs(messages),
    ...(answers && { reply: { channel: channelRef, messages: refs(answers) } }),
  };
}
