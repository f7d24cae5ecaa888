/**
 * Counting within windows of time, to limit what a stranger can make us do. Counts are shared by all
 * nodes where there is a Redis, and are this node's own while it is gone: a limit is then per node, never off.
 */
import { isIPv4 } from "node:net";
import { setImmediate as nextTick } from "node:timers/promises";
import ipaddr from "ipaddr.js";
import { HubError } from "./errors.ts";

/** How often a key was counted in its window, and when the window ends. */
export interface Count {
  current: number;
  remainingMs: number;
}

export interface Counter {
  /** Counts so many more of the key in a window that began with its first one. */
  count(key: string, times: number, windowMs: number): Promise<Count>;
}

/** Forgets the windows that began first when there are more keys than this. */
const keysMax = 100_000;

/** Counts in this process, by a clock that only moves forward. */
export function createMemoryCounter(nowMs: () => number = () => performance.now()): Counter {
  const windows = new Map<string, { current: number; endsAtMs: number }>();

  return {
    async count(key, times, windowMs) {
      const now = nowMs();
      const known = windows.get(key);
      const window = known && known.endsAtMs > now ? known : { current: 0, endsAtMs: now + windowMs };
      if (window !== known) windows.delete(key);
      windows.set(key, window);
      window.current += times;
      forgetOldest(windows);
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
}

/** What was last heard of a key's window, how many more are being counted, and how many are yet to be. */
interface Known {
  current: number;
  endsAtMs: number;
  underWay: number;
  uncounted: number;
}

/** So many of a key are let in at once before their count is known. */
const aheadMax = 10;

/** And are counted in lots of so many; what is left of a lot counts with whoever comes next, if only in the next window. */
const lot = 5;

/**
 * At most `max` per key in `windowMs`. `what` names the limit to whoever reaches it. Up to half of the limit, as far as
 * this node knows, a key is let in before it is counted, so that whoever is far from it does not wait for Redis. One
 * node never exceeds the limit; each further one may let in `aheadMax` more. A counter that fails lets everybody in.
 */
export function createLimit(
  counter: Counter,
  { what, max, windowMs }: { what: string; max: number; windowMs: number },
): Limit {
  const knowns = new Map<string, Known>();

  const knownOf = (key: string): Known => {
    const known = knowns.get(key) ?? { current: 0, endsAtMs: Number.NEGATIVE_INFINITY, underWay: 0, uncounted: 0 };
    // Last of all: who has not come for longest is forgotten first.
    knowns.delete(key);
    knowns.set(key, known);
    forgetOldest(knowns);
    known.uncounted += 1;
    return known;
  };

  const count = async (key: string, known: Known): Promise<Count | undefined> => {
    const times = known.uncounted;
    known.uncounted = 0;
    known.underWay += times;
    // Asking Redis takes as long as all else that is done before a request is read: those who do not wait go first.
    await nextTick();
    try {
      const counted = await counter.count(`${what}:${key}`, times, windowMs);
      const now = performance.now();
      // Answers may overtake each other.
      known.current = now < known.endsAtMs ? Math.max(known.current, counted.current) : counted.current;
      known.endsAtMs = now + counted.remainingMs;
      return counted;
    } catch {
      return undefined;
    } finally {
      known.underWay -= times;
    }
  };

  return {
    async take(key) {
      const known = knownOf(key);
      const isIn = isFarFrom(max, known);
      if (isIn && known.uncounted < lot) return;
      const counting = count(key, known);
      if (isIn) return;
      const counted = await counting;
      if (counted && counted.current > max) throw limited(`Too many requests for this ${what}`, counted.remainingMs);
    },
  };
}

function isFarFrom(max: number, { current, underWay, uncounted, endsAtMs }: Known): boolean {
  const ahead = underWay + uncounted;
  return ahead <= aheadMax && current + ahead <= max / 2 && performance.now() < endsAtMs;
}

function forgetOldest(windows: Map<string, unknown>): void {
  const [oldest] = windows.keys();
  if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
}

/**
 * Whom an address stands for: an IPv4 address, or the first half of an IPv6 address, for whoever has one has 2^64.
 * A port behind it, which some proxies add, says nothing.
 */
export function addressKey(address: string): string {
  if (isIPv4(address)) return address;
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
