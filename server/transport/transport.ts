/** What all transports share: the request for an order, and the limits of a connection. */
import { setTimeout as wait } from "node:timers/promises";
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { HubError } from "../errors.ts";
import { afterText, parseInput } from "../input.ts";
import type { Gate } from "../limit.ts";
import { startLoop } from "../loop.ts";
import { type Access, credentialOf, type Watched } from "../order/access.ts";
import { follow, type Hub, type Watcher } from "../status/hub.ts";

export interface TransportOptions {
  hub: Hub;
  access: Access;
  /** Bounds the open connections of each address. */
  gate: Gate;
}

export interface OrderRequest {
  Params: { orderId: string };
}

/** A reader that leaves more than this unread is closed to come back. */
export const unreadBytesMax = 65_536;

/** Who may watch the order of this request. Throws the problem of its token. */
export const watched = (access: Access, request: FastifyRequest<OrderRequest>): Promise<Watched> =>
  access.watch(credentialOf(request), request.params.orderId);

/** Where a watcher is. */
export const positionQuery = z.object({ after: afterText.optional() });

/** The last version seen, from `?after=`; undefined when not given. */
export const afterOf = (request: FastifyRequest): number | undefined => parseInput(positionQuery, request.query).after;

const sliceMin = 50;
const slicesMax = 20;
const betweenSlicesMs = 100;

/** How a transport takes leave of its watchers. */
export interface Leave {
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
export async function takeLeave(transports: readonly Leave[]): Promise<void> {
  const all = transports.flatMap((transport) => transport.begin());
  const size = Math.max(sliceMin, Math.ceil(all.length / slicesMax));
  for (let start = 0; start < all.length; start += size) {
    if (start > 0) await wait(betweenSlicesMs);
    for (const sendAway of all.slice(start, start + size)) sendAway();
  }
  await Promise.all(transports.map((transport) => transport.end()));
}

/** A heart that beats for each connection once an interval. */
export interface Heartbeat<T> {
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
export function startHeartbeat<T>(
  intervalMs: number,
  { beat, onError }: { beat: (connection: T) => void; onError: (error: unknown) => void },
): Heartbeat<T> {
  const slots = Array.from({ length: heartbeatSlots }, () => new Set<T>());
  const slotOf = new Map<T, Set<T>>();
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
      const slot = slots[filled] ?? new Set();
      filled = (filled + 1) % heartbeatSlots;
      slot.add(connection);
      slotOf.set(connection, slot);
    },
    delete(connection) {
      slotOf.get(connection)?.delete(connection);
      slotOf.delete(connection);
    },
    connections: () => [...slotOf.keys()],
    close: loop.close,
  };
}

interface Second {
  timer: NodeJS.Timeout;
  expired: Set<() => void>;
}

const seconds = new Map<number, Second>();

/**
 * Calls back when a token runs out, if it does. Returns the way to cancel. Tokens run out at whole seconds: all that do so
 * together share a timer.
 */
export function onExpiry(expiresAt: Date | undefined, expired: () => void): () => void {
  if (!expiresAt) return () => undefined;
  const at = Math.ceil(expiresAt.getTime() / 1_000);
  const second = seconds.get(at) ?? startSecond(at);
  second.expired.add(expired);
  return () => {
    second.expired.delete(expired);
    if (second.expired.size === 0) endSecond(at, second);
  };
}

function startSecond(at: number): Second {
  const second: Second = {
    expired: new Set(),
    timer: setTimeout(
      () => {
        endSecond(at, second);
        for (const expired of second.expired) expired();
      },
      Math.max(0, at * 1_000 - Date.now()),
    ),
  };
  seconds.set(at, second);
  return second;
}

function endSecond(at: number, second: Second): void {
  clearTimeout(second.timer);
  if (seconds.get(at) === second) seconds.delete(at);
}

/** Follows an order and returns the way to stop; takes the way out where it cannot. Throws `order_unknown`. */
export async function followOrLeave(
  hub: Hub,
  { leave, ...position }: { id: string; after: number; atLeast?: number; leave: () => void },
  send: Watcher,
): Promise<() => void> {
  try {
    const stop = await follow(hub, position, send);
    if (!stop) throw new HubError("order_unknown");
    return stop;
  } catch (error) {
    leave();
    throw error;
  }
}
