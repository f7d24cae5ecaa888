/** What all transports share: the request for an order, and the limits of a connection. */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { type Access, credentialOf, type WatchGrant } from "../auth/access.ts";
import { startLoop } from "../loop.ts";
import type { ConnectionLimit } from "../rate-limit.ts";
import type { Hub } from "../status/hub.ts";
import { afterText, parseInput } from "../validation.ts";

export interface TransportOptions {
  hub: Hub;
  access: Access;
  /** Bounds the open connections of each address. */
  connectionLimit: ConnectionLimit;
}

export interface OrderRequest {
  Params: { orderId: string };
}

/** Who may watch the order of this request. Throws the problem of its token. */
export const authorizeWatcher = (access: Access, request: FastifyRequest<OrderRequest>): Promise<WatchGrant> =>
  access.watch(credentialOf(request), request.params.orderId);

/** Where a watcher is. */
export const positionQuery = z.object({ after: afterText.optional() });

/** The last version seen, from `?after=`; undefined when not given. */
export const afterOf = (request: FastifyRequest): number | undefined => parseInput(positionQuery, request.query).after;

const sliceMin = 50;
const slicesMax = 20;
const betweenSlicesMs = 100;

/** How a transport is drained: its watchers are sent away. */
export interface Drainable {
  /** From now on whoever comes is sent away. Returns how to send each of those away who are here. */
  begin(): (() => void)[];
  /** Nobody is left. */
  end(): Promise<void>;
}

/**
 * Sends the watchers of all transports away, a few at a time, over 2 s at most, so that they do not all come back at
 * once; and not one transport after the other, for until the last of them is gone this node listens, and some come back
 * to it in vain.
 */
export async function drain(transports: readonly Drainable[]): Promise<void> {
  const all = transports.flatMap((transport) => transport.begin());
  const size = Math.max(sliceMin, Math.ceil(all.length / slicesMax));
  for (let start = 0; start < all.length; start += size) {
    if (start > 0) await wait(betweenSlicesMs);
    for (const sendAway of all.slice(start, start + size)) sendAway();
  }
  await Promise.all(transports.map((transport) => transport.end()));
}

/** What a heart beats for; it keeps its moment there. */
export interface Beating {
  slot?: number | undefined;
}

/** A heart that beats for each connection once an interval. */
export interface Heartbeat<T extends Beating> {
  add(connection: T): void;
  delete(connection: T): void;
  connections(): T[];
  close(): Promise<void>;
}

const heartbeatSlots = 100;

/**
 * Each connection has its own moment within the interval: 10,000 beats at once would stand for a tenth of a second in the
 * way of whatever event comes then.
 */
export function startHeartbeat<T extends Beating>(
  intervalMs: number,
  { beat, onError }: { beat: (connection: T) => void; onError: (error: unknown) => void },
): Heartbeat<T> {
  const slots = Array.from({ length: heartbeatSlots }, () => new Set<T>());
  let next = 0;
  let filled = 0;
  const loop = startLoop({
    task: async () => {
      const slot = slots[next] ?? [];
      next = (next + 1) % heartbeatSlots;
      for (const connection of slot) beat(connection);
    },
    delayMs: () => intervalMs / heartbeatSlots,
    onError,
  });
  return {
    add(connection) {
      connection.slot = filled;
      slots[filled]?.add(connection);
      filled = (filled + 1) % heartbeatSlots;
    },
    delete(connection) {
      slots[connection.slot ?? -1]?.delete(connection);
    },
    connections: () => slots.flatMap((slot) => [...slot]),
    close: loop.close,
  };
}

/** What a token keeps open, until when in seconds since 1970; for ever where that is absent. */
export interface Expiring {
  expiresAtS?: number | undefined;
  expire(): void;
}

interface Second {
  timer: NodeJS.Timeout;
  expiring: Set<Expiring>;
}

const seconds = new Map<number, Second>();

/** Has what a token keeps open expire in time. All that do so within a second share a timer. */
export function startExpiry(expiring: Expiring): void {
  if (expiring.expiresAtS === undefined) return;
  const at = Math.ceil(expiring.expiresAtS);
  const second = seconds.get(at) ?? startSecond(at);
  second.expiring.add(expiring);
}

/** It does not expire any more. */
export function cancelExpiry(expiring: Expiring): void {
  const at = Math.ceil(expiring.expiresAtS ?? 0);
  const second = seconds.get(at);
  if (second?.expiring.delete(expiring) && second.expiring.size === 0) endSecond(at, second);
}

function startSecond(at: number): Second {
  const second: Second = {
    expiring: new Set(),
    timer: setTimeout(
      () => {
        endSecond(at, second);
        for (const one of second.expiring) one.expire();
      },
      Math.max(0, at * 1_000 - Date.now()),
    ),
  };
  seconds.set(at, second);
  return second;
}

function endSecond(at: number, second: Second): void {
  clearTimeout(second.timer);
  seconds.delete(at);
}
