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

/** A node's share of a key's window: permits that are counted and unused, and the counter's last answer. */
interface Window {
  permits: number;
  current: number;
  endsAtMs: number;
  isRefilling: boolean;
}

/** Permits that are counted ahead at a time. */
const batch = 5;

/** Smaller limits are counted one by one, because a node that keeps up to a batch unused would take a noticeable share of them. */
const batchedFrom = 100;

/** With so few permits left, the next batch is asked for, so that requests do not wait for it. */
const lowMark = 2;

/**
 * At most `max` per key in `windowMs`, for all nodes that share the counter. `what` names the limit in the error.
 * A request is let in only by a permit that was counted before. Up to half of the limit a node counts permits in batches,
 * ahead of need, so that most requests do not wait for Redis; each further node may leave up to a batch unused. A counter
 * that fails lets everybody in.
 */
export function createLimit(
  counter: Counter,
  { what, max, windowMs }: { what: string; max: number; windowMs: number },
): Limit {
  const windows = new Map<string, Window>();

  const windowOf = (key: string): Window => {
    const known = windows.get(key);
    const isOver = known === undefined || known.endsAtMs <= performance.now();
    const isRefilling = known?.isRefilling ?? false;
    const window = isOver ? { permits: 0, current: 0, endsAtMs: Number.NEGATIVE_INFINITY, isRefilling } : known;
    // Last of all: the key that was used least recently is forgotten first.
    windows.delete(key);
    windows.set(key, window);
    forgetOldest(windows);
    return window;
  };

  /** Undefined when the counter failed. */
  const count = async (key: string, times: number): Promise<Count | undefined> => {
    // A window's end counts from the question, so that no permit is used after the counter's own window has ended.
    const askedMs = performance.now();
    const counted = await counter.count(`${what}:${key}`, times, windowMs).catch(() => undefined);
    if (!counted) return undefined;
    const window = windowOf(key);
    const endsAtMs = askedMs + counted.remainingMs;
    window.endsAtMs = Number.isFinite(window.endsAtMs) ? Math.min(window.endsAtMs, endsAtMs) : endsAtMs;
    window.current = Math.max(window.current, counted.current);
    return counted;
  };

  const refill = async (key: string): Promise<void> => {
    // Asking Redis takes as long as all else that is done before a request is read: the request goes first.
    await nextTick();
    const counted = await count(key, batch);
    const window = windowOf(key);
    window.isRefilling = false;
    if (counted) window.permits += Math.max(0, batch - Math.max(0, counted.current - max));
  };

  const refillIfLow = (key: string, window: Window): void => {
    const isFar = max >= batchedFrom && window.current + batch <= max / 2;
    if (!isFar || window.isRefilling || window.permits > lowMark) return;
    window.isRefilling = true;
    void refill(key);
  };

  return {
    async take(key) {
      const window = windowOf(key);
      if (window.permits > 0) {
        window.permits -= 1;
        return refillIfLow(key, window);
      }
      const counted = await count(key, 1);
      if (counted && counted.current > max) throw limited(`Too many requests for this ${what}`, counted.remainingMs);
      refillIfLow(key, windowOf(key));
    },
  };
}

function forgetOldest(windows: Map<string, unknown>): void {
  const [oldest] = windows.keys();
  if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
}

/** The longest IPv6 address in text, with a zone. */
const addressLengthMax = 64;

/**
 * Whom an address stands for: an IPv4 address, or the first half of an IPv6 address, for whoever has one has 2^64.
 * A port behind it, which some proxies add, says nothing. `undefined`: the connection is closed.
 */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return "gone";
  if (isIPv4(address)) return address;
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(address)?.[1] ?? /^(\d+(?:\.\d+){3}):\d+$/.exec(address)?.[1] ?? address;
  // A proxy may pass on any text: it is kept as a key.
  if (!ipaddr.isValid(bare)) return bare.slice(0, addressLengthMax);
  const parsed = ipaddr.process(bare);
  if (parsed.kind() === "ipv4") return parsed.toString();
  return `${parsed.toNormalizedString().split(":").slice(0, 4).join(":")}::/64`;
}

/** `rate_limited`, to be tried again after so many milliseconds. */
export const limited = (detail: string, remainingMs: number): HubError =>
  new HubError("rate_limited", detail, { retryAfterS: Math.max(1, Math.ceil(remainingMs / 1_000)) });

/** How many of something are open at once. */
export interface ConnectionLimit {
  /** Lets one in. Throws `rate_limited` when there is no room for the address. */
  enter(address: string): void;
  /** Lets one out who was let in. */
  leave(address: string): void;
  /** Throws likewise, and lets nobody in. */
  check(address: string): void;
}

/** At most `max` open at once per address, on this node. */
export function createConnectionLimit(max: number): ConnectionLimit {
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
