/** What the transports share: the request for an order, draining, heartbeats and the expiry of tokens. */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { type Access, credentialOf, type WatchGrant } from "../auth/access.ts";
import { type ApiKey, holdWith, release } from "../auth/api-key.ts";
import { startLoop } from "../loop.ts";
import type { ConnectionLimit } from "../rate-limit.ts";
import type { Hub } from "../status/hub.ts";
import { afterText, clockText, parseInput } from "../validation.ts";

export interface TransportOptions {
  hub: Hub;
  access: Access;
  /** Limits the open connections of each address. */
  connectionLimit: ConnectionLimit;
}

export interface OrderRequest {
  Params: { orderId: string };
}

/** The order that the request's credential may watch. Throws `token_invalid`, `token_expired`, `order_unknown` or `body_invalid`. */
export const authorizeWatcher = (access: Access, request: FastifyRequest<OrderRequest>): Promise<WatchGrant> =>
  access.watch(credentialOf(request), request.params.orderId);

/** The query parameters of every watcher: the last state that the client has, and whether it asks for the server's time. */
export const watchQuery = z.object({ after: afterText.optional(), clock: clockText.optional() });

/** Throws `body_invalid`. */
export const readWatchQuery = (request: FastifyRequest): z.infer<typeof watchQuery> =>
  parseInput(watchQuery, request.query);

const sliceMin = 50;
const slicesMax = 20;
const betweenSlicesMs = 100;

/** A transport whose watchers can be drained. */
export interface Drainable {
  /** Closes new connections from now on. Returns a function per open connection that closes it, so that its client reconnects. */
  startDrain(): (() => void)[];
  /** Call it when every open connection has been closed. */
  close(): Promise<void>;
}

/**
 * Closes the watchers' connections in slices, in 2 s at most, because clients that all reconnect at once would overload the
 * other nodes.
 *
 * The transports are drained together and not one after another: this node listens until the last watcher is gone, so some
 * clients reconnect to it in vain.
 */
export async function drain(transports: readonly Drainable[]): Promise<void> {
  const closers = transports.flatMap((transport) => transport.startDrain());
  const size = Math.max(sliceMin, Math.ceil(closers.length / slicesMax));
  for (let start = 0; start < closers.length; start += size) {
    if (start > 0) await wait(betweenSlicesMs);
    for (const closeConnection of closers.slice(start, start + size)) closeConnection();
  }
  await Promise.all(transports.map((transport) => transport.close()));
}

/** A connection with a heartbeat, which keeps its slot there. */
export interface Beating {
  slot?: number | undefined;
}

/** Calls `beat` for each connection once per interval. */
export interface Heartbeat<T extends Beating> {
  add(connection: T): void;
  delete(connection: T): void;
  connections(): T[];
  close(): Promise<void>;
}

const heartbeatSlots = 100;

/**
 * Spreads the connections over 100 slots of the interval, because 10,000 beats at once would delay an event by a tenth of a
 * second.
 */
export function startHeartbeat<T extends Beating>(
  intervalMs: number,
  { beat, onError }: { beat: (connection: T) => void; onError: (error: unknown) => void },
): Heartbeat<T> {
  const slots = Array.from({ length: heartbeatSlots }, () => new Set<T>());
  let nextToBeat = 0;
  let nextToFill = 0;
  const loop = startLoop({
    task: async () => {
      const slot = slots[nextToBeat] ?? [];
      nextToBeat = (nextToBeat + 1) % heartbeatSlots;
      for (const connection of slot) beat(connection);
    },
    delayMs: () => intervalMs / heartbeatSlots,
    onError,
  });
  return {
    add(connection) {
      connection.slot = nextToFill;
      slots[nextToFill]?.add(connection);
      nextToFill = (nextToFill + 1) % heartbeatSlots;
    },
    delete(connection) {
      slots[connection.slot ?? -1]?.delete(connection);
    },
    connections: () => slots.flatMap((slot) => [...slot]),
    close: loop.close,
  };
}

/** Something that ends when its token expires, or with its API key. */
export interface Expiring {
  /** Seconds since 1970. Undefined: it does not expire. */
  expiresAtS?: number | undefined;
  /** The API key that it ends with. */
  key?: ApiKey | undefined;
  expire(): void;
}

interface Second {
  timer: NodeJS.Timeout;
  expiring: Set<Expiring>;
}

const seconds = new Map<number, Second>();

/** Calls `expire` at `expiresAtS`, rounded up, and when the key ends. All that expire in one second share a timer, to save memory. */
export function startExpiry(expiring: Expiring): void {
  holdWith(expiring.key, expiring);
  if (expiring.expiresAtS === undefined) return;
  const atS = Math.ceil(expiring.expiresAtS);
  const second = seconds.get(atS) ?? startSecond(atS);
  second.expiring.add(expiring);
}

/** Cancels `startExpiry`. */
export function cancelExpiry(expiring: Expiring): void {
  release(expiring.key, expiring);
  const atS = Math.ceil(expiring.expiresAtS ?? 0);
  const second = seconds.get(atS);
  if (second?.expiring.delete(expiring) && second.expiring.size === 0) endSecond(atS, second);
}

function startSecond(atS: number): Second {
  const second: Second = {
    expiring: new Set(),
    timer: setTimeout(
      () => {
        endSecond(atS, second);
        for (const one of second.expiring) one.expire();
      },
      Math.max(0, atS * 1_000 - Date.now()),
    ),
  };
  seconds.set(atS, second);
  return second;
}

function endSecond(atS: number, second: Second): void {
  clearTimeout(second.timer);
  seconds.delete(atS);
}
