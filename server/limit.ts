/**
 * Counting within windows of time, to limit what a stranger can make us or a payer's phone do. Counts are shared by all
 * nodes where there is a Redis, and are this node's own while it is gone: a limit is then per node, never off.
 */
import ipaddr from "ipaddr.js";
import { HubError } from "./errors.ts";

/** How often a key was counted in its window, and when the window ends. */
export interface Count {
  current: number;
  remainingMs: number;
}

export interface Counter {
  /** Adds `by` (-1 takes one back) to the key's count in a window that began with its first one. */
  count(key: string, windowMs: number, by: 1 | -1): Promise<Count>;
}

/** Forgets the windows that began first when there are more keys than this. */
const keysMax = 100_000;

/** Counts in this process, by a clock that only moves forward. */
export function createMemoryCounter(nowMs: () => number = () => performance.now()): Counter {
  const windows = new Map<string, { current: number; endsAtMs: number }>();

  return {
    async count(key, windowMs, by) {
      const now = nowMs();
      const known = windows.get(key);
      const window = known && known.endsAtMs > now ? known : { current: 0, endsAtMs: now + windowMs };
      if (window !== known) windows.delete(key);
      windows.set(key, window);
      window.current = Math.max(0, window.current + by);
      const [oldest] = windows.keys();
      if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
      return { current: window.current, remainingMs: window.endsAtMs - now };
    },
  };
}

/** A counter that failed is left alone for so long: each try may cost its caller half a second. */
const restMs = 2_000;

/** Counts with the first counter, and with the second while the first fails. */
export function createFallbackCounter(
  first: Counter,
  second: Counter,
  nowMs: () => number = () => performance.now(),
): Counter {
  let restsUntilMs = Number.NEGATIVE_INFINITY;
  return {
    async count(...given) {
      if (nowMs() < restsUntilMs) return second.count(...given);
      return first.count(...given).catch(() => {
        restsUntilMs = nowMs() + restMs;
        return second.count(...given);
      });
    },
  };
}

export interface Limit {
  /** Counts one, whoever else counts at the same time. Throws `rate_limited`, with the seconds to wait, beyond the limit. */
  take(key: string): Promise<void>;
  /** Takes back one that was counted. */
  giveBack(key: string): Promise<void>;
}

/** At most `max` per key in `windowMs`. `what` names the limit to whoever reaches it. */
export function createLimit(
  counter: Counter,
  { what, max, windowMs }: { what: string; max: number; windowMs: number },
): Limit {
  const name = (key: string): string => `${what}:${key}`;
  return {
    async take(key) {
      const { current, remainingMs } = await counter.count(name(key), windowMs, 1);
      if (current > max) throw limited(`Too many requests for this ${what}`, remainingMs);
    },
    async giveBack(key) {
      await counter.count(name(key), windowMs, -1);
    },
  };
}

/** Takes one of each limit, or none. Returns how to give them back. */
export async function takeAll(wanted: readonly (readonly [Limit, string])[]): Promise<() => Promise<void>> {
  const giveBack = async (): Promise<void> => {
    await Promise.all(wanted.map(([limit, key]) => limit.giveBack(key)));
  };
  const taken = await Promise.allSettled(wanted.map(([limit, key]) => limit.take(key)));
  const refused = taken.find((one) => one.status === "rejected");
  if (!refused) return giveBack;
  await giveBack();
  throw refused.reason;
}

/**
 * Whom an address stands for: an IPv4 address, or the first half of an IPv6 address, for whoever has one has 2^64.
 * A port behind it, which some proxies add, says nothing.
 */
export function addressKey(address: string): string {
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(address)?.[1] ?? /^(\d+(?:\.\d+){3}):\d+$/.exec(address)?.[1] ?? address;
  if (!ipaddr.isValid(bare)) return bare;
  const parsed = ipaddr.process(bare);
  if (parsed.kind() === "ipv4") return parsed.toString();
  return `${parsed.toNormalizedString().split(":").slice(0, 4).join(":")}::/64`;
}

/** `rate_limited`, to be tried again after so many milliseconds. */
export const limited = (detail: string, remainingMs: number): HubError =>
  new HubError("rate_limited", detail, { retryAfterS: Math.max(1, Math.ceil(remainingMs / 1_000)) });

/** How many of something are open at once. */
export interface Gate {
  /** Lets one in. Throws `rate_limited` when there is no room for the address. */
  enter(address: string): void;
  /** Lets one out who was let in. */
  leave(address: string): void;
  /** Throws likewise, and lets nobody in. */
  check(address: string): void;
}

/** At most `max` open at once per address, on this node. */
export function createGate(max: number): Gate {
  const open = new Map<string, number>();
  const check = (address: string): void => {
    const inside = open.get(addressKey(address)) ?? 0;
    if (inside >= max) throw limited("Too many open connections from this address", fullRetryMs);
  };
  return {
    check,
    enter(address) {
      check(address);
      const key = addressKey(address);
      open.set(key, (open.get(key) ?? 0) + 1);
    },
    leave(address) {
      const key = addressKey(address);
      const left = (open.get(key) ?? 1) - 1;
      if (left > 0) open.set(key, left);
      else open.delete(key);
    },
  };
}

/** Nobody knows when a connection will close; this spreads those who come back. */
const fullRetryMs = 10_000;
