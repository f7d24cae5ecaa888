/**
 * Counts within time windows, and the limits built on them: requests per key, and open connections per address.
 *
 * Guarantees (G12): a limit lets at most `max` requests per key through in a window, on all nodes that share the counter.
 * While Redis is away each node counts on its own, so the limit then holds per node.
 * Does not guarantee: that a node uses all of its share. A limit counted in batches may let a few requests fewer through.
 * Concurrency: any number of `take` calls may run at the same time.
 */
import { isIPv4 } from "node:net";
import { setImmediate as nextTick } from "node:timers/promises";
import ipaddr from "ipaddr.js";
import { HubError } from "./errors.ts";

/** The count of a key in its window, and the time until the window ends. */
export interface Count {
  current: number;
  remainingMs: number;
}

export interface Counter {
  /** Adds `times` to the key's count. The key's first count starts its window. */
  count(key: string, times: number, windowMs: number): Promise<Count>;
}

/** Beyond this number of keys, the oldest window is dropped. */
const keysMax = 100_000;

/** Counts in this process. `nowMs` is a monotonic clock. */
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
      dropOldest(windows);
      return { current: window.current, remainingMs: window.endsAtMs - now };
    },
  };
}

/** A failed counter is skipped for 2 s because each attempt may delay its caller by half a second. */
const skipMs = 2_000;

/** Counts with the first counter, and with the second while the first fails. */
export function createFallbackCounter(
  first: Counter,
  second: Counter,
  nowMs: () => number = () => performance.now(),
): Counter {
  let skippedUntilMs = Number.NEGATIVE_INFINITY;
  return {
    async count(...given) {
      if (nowMs() < skippedUntilMs) return second.count(...given);
      return first.count(...given).catch(() => {
        skippedUntilMs = nowMs() + skipMs;
        return second.count(...given);
      });
    },
  };
}

export interface Limit {
  /** Counts one request. Throws `rate_limited` with the seconds to wait when the key is over its limit. */
  take(key: string): Promise<void>;
}

/** One node's share of a key's window. */
interface Window {
  /** Requests that are counted and not used yet. */
  permits: number;
  /** The count that the counter returned last. */
  current: number;
  endsAtMs: number;
  isRefilling: boolean;
}

/** Permits counted ahead in one call. */
const batchSize = 5;

/** Smaller limits count each request, because the unused batch of one node would be a noticeable share of them. */
const batchedFrom = 100;

/** The next batch is counted at two permits left, because a request would otherwise wait for it. */
const lowMark = 2;

export interface LimitOptions {
  /** Names the limit in the error text and in the counter's key. */
  subject: string;
  /** Requests per key and window, on all nodes that share the counter. */
  max: number;
  windowMs: number;
}

/**
 * Limits the requests per key. Each request uses a permit that was counted before.
 *
 * Below half of the limit a node counts permits in batches ahead of need, so that most requests do not wait for Redis. Each
 * further node may leave up to one batch unused. A counter that fails lets every request through.
 */
export function createLimit(counter: Counter, { subject, max, windowMs }: LimitOptions): Limit {
  const windows = new Map<string, Window>();

  /** Counts `times` and updates the key's window. Undefined when the counter failed. */
  const count = async (key: string, times: number): Promise<Count | undefined> => {
    // The window starts before the call, so that no permit outlives the counter's own window.
    const startedMs = performance.now();
    const counted = await counter.count(`${subject}:${key}`, times, windowMs).catch(() => undefined);
    if (!counted) return undefined;
    const window = windowOf(windows, key);
    const endsAtMs = startedMs + counted.remainingMs;
    window.endsAtMs = Number.isFinite(window.endsAtMs) ? Math.min(window.endsAtMs, endsAtMs) : endsAtMs;
    window.current = Math.max(window.current, counted.current);
    return counted;
  };

  const refill = async (key: string): Promise<void> => {
    // The request goes first, because a call to Redis takes as long as all the work before a request is read.
    await nextTick();
    const counted = await count(key, batchSize);
    const window = windowOf(windows, key);
    window.isRefilling = false;
    if (counted) window.permits += Math.max(0, batchSize - Math.max(0, counted.current - max));
  };

  const refillIfLow = (key: string, window: Window): void => {
    const isBatched = max >= batchedFrom && window.current + batchSize <= max / 2;
    if (!isBatched || window.isRefilling || window.permits > lowMark) return;
    window.isRefilling = true;
    void refill(key);
  };

  return {
    async take(key) {
      const window = windowOf(windows, key);
      if (window.permits > 0) {
        window.permits -= 1;
        return refillIfLow(key, window);
      }
      const counted = await count(key, 1);
      if (counted && counted.current > max) {
        const { remainingMs } = counted;
        throw limited(limitDetail(`requests for this ${subject}`, { max, windowMs, remainingMs }), remainingMs);
      }
      refillIfLow(key, windowOf(windows, key));
    },
  };
}

/** The key's current window, or a new one. Makes it the newest of all, so that the least recently used is dropped first. */
function windowOf(windows: Map<string, Window>, key: string): Window {
  const known = windows.get(key);
  const isOver = known === undefined || known.endsAtMs <= performance.now();
  const isRefilling = known?.isRefilling ?? false;
  const window = isOver ? { permits: 0, current: 0, endsAtMs: Number.NEGATIVE_INFINITY, isRefilling } : known;
  windows.delete(key);
  windows.set(key, window);
  dropOldest(windows);
  return window;
}

function dropOldest(windows: Map<string, unknown>): void {
  const [oldest] = windows.keys();
  if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
}

/** The length of the longest IPv6 address in text, with a zone. */
const addressLengthMax = 64;

/**
 * The key that an address is counted under: an IPv4 address, or the first half of an IPv6 address, because one subscriber
 * has 2^64 of them. Ignores the port that some proxies append. `undefined` means that the connection is closed.
 */
export function addressKey(address: string | undefined): string {
  if (address === undefined) return "gone";
  if (isIPv4(address)) return address;
  const bare = /^\[([^\]]+)\](?::\d+)?$/.exec(address)?.[1] ?? /^(\d+(?:\.\d+){3}):\d+$/.exec(address)?.[1] ?? address;
  // A proxy may forward any text. The key is cut because it stays in memory.
  if (!ipaddr.isValid(bare)) return bare.slice(0, addressLengthMax);
  const parsed = ipaddr.process(bare);
  if (parsed.kind() === "ipv4") return parsed.toString();
  return `${parsed.toNormalizedString().split(":").slice(0, 4).join(":")}::/64`;
}

/** The detail of a reached limit: the limit and the wait, as in "Too many payments for this phone: at most 10 in 10 min. Try again in 42 s". */
export const limitDetail = (
  what: string,
  { max, windowMs, remainingMs }: { max: number; windowMs: number; remainingMs: number },
): string => `Too many ${what}: at most ${max} in ${durationText(windowMs)}. Try again in ${durationText(remainingMs)}`;

/** Up to two minutes in seconds, else in minutes, both rounded up. */
function durationText(ms: number): string {
  const seconds = Math.max(1, Math.ceil(ms / 1_000));
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

/** The error `rate_limited`. `remainingMs` is the time after which the client may retry. */
export const limited = (detail: string, remainingMs: number): HubError =>
  new HubError("rate_limited", detail, { retryAfterS: Math.max(1, Math.ceil(remainingMs / 1_000)) });

/** Limits how many connections an address may have open at once. */
export interface ConnectionLimit {
  /** Counts a connection. Throws `rate_limited` when the address has `max` open. */
  acquire(address: string): void;
  /** Ends the count of a connection that `acquire` let in. */
  release(address: string): void;
  /** Throws as `acquire` does, and counts nothing. */
  check(address: string): void;
}

/** Allows `max` open connections per address on this node (G12). */
export function createConnectionLimit(max: number): ConnectionLimit {
  const openByAddress = new Map<string, number>();
  const check = (address: string): void => {
    const open = openByAddress.get(addressKey(address)) ?? 0;
    if (open >= max) throw limited("Too many open connections from this address", fullRetryMs);
  };
  return {
    check,
    acquire(address) {
      check(address);
      const key = addressKey(address);
      openByAddress.set(key, (openByAddress.get(key) ?? 0) + 1);
    },
    release(address) {
      const key = addressKey(address);
      const left = (openByAddress.get(key) ?? 1) - 1;
      if (left > 0) openByAddress.set(key, left);
      else openByAddress.delete(key);
    },
  };
}

/** 10 s because it is unknown when a connection closes, and clients that retry must spread out. */
const fullRetryMs = 10_000;
