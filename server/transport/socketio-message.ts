/** The messages of Socket.IO: what clients and server send each other. */
import type { Server, Socket } from "socket.io";
import { z } from "zod";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { WatchGrant } from "../auth/access.ts";
import type { Problem } from "../errors.ts";
import { nowhere, type Position } from "../order/order.ts";
import { orderIdText } from "../order-id.ts";
import { afterForm, afterText, clockValue } from "../validation.ts";

/** The acknowledgement of `watch`. */
export type WatchAnswer = { ok: true; order: StatusEvent } | { ok: false; error: Problem };

/** The acknowledgement of `unwatch`: whether the socket watched the order. */
export type UnwatchAnswer = { ok: boolean };

/** Messages from the server. */
export interface ServerEvents {
  status(event: StatusEvent): void;
  /** The token of this order has expired, and the socket does not watch it. */
  expired(order: { orderId: string }): void;
}

/** Messages from the client. */
export interface ClientEvents {
  watch(request: unknown, answer?: (answer: WatchAnswer) => void): void;
  unwatch(request: unknown, answer?: (answer: UnwatchAnswer) => void): void;
}

/** The state of a socket's session (socketio-session.ts). */
export interface SocketData {
  /** The orders that the socket watches, by the merchant's order id. The function stops watching one. */
  orders: Map<string, () => void>;
  /** Settles when every request so far is done. */
  queue: Promise<unknown>;
  /** Requests that are not done. */
  queued: number;
  /** The order that the handshake asks to watch. */
  first?: Watch;
}

/** An order to watch, the last state that the client has, and whether it asks for the server's time. */
export type Watch = WatchGrant & { after: Position; clock: boolean };

export type Io = Server<ClientEvents, ServerEvents, Record<string, never>, SocketData>;
export type OrderSocket = Socket<ClientEvents, ServerEvents, Record<string, never>, SocketData>;

/** Clients may also send the version as a number. */
const versionNumber = z
  .int()
  .min(0)
  .max(2_147_483_647)
  .transform((version) => ({ version }));

/** The `auth` of a handshake, and the request of `watch`. */
export const watchRequest = z.object({
  token: z.string().max(4_096).optional(),
  orderId: orderIdText.optional(),
  after: z
    .union([versionNumber, z.literal("").transform(() => nowhere), afterText], afterForm)
    .nullish()
    .transform((after) => after ?? nowhere),
  clock: clockValue,
});

/** The request of `unwatch`. */
export const unwatchRequest = z.object({ orderId: orderIdText });

const roomPrefix = "order:";

/** The room of an order, by its uuid. */
export const roomOf = (id: string): string => roomPrefix + id;

/** The uuid of a room's order. Undefined for a room of another kind: each socket has one of its own. */
export const idOf = (room: string): string | undefined =>
  room.startsWith(roomPrefix) ? room.slice(roomPrefix.length) : undefined;
