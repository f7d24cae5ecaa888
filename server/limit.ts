/**
 * Counting within windows of time, to limit what a stranger can make us or a payer's phone do. Counts are shared by all
 * nodes where there is a Redis, and are this node's own while it is gone: a limit is then per node, never off.
 */
import { HubError } from "./errors.ts";

/** How often a key was counted in its window, and when the window ends. */
export interface Count {
  current: number;
  remainingMs: number;
}

export interface Counter {
  /** Adds `by` (0 only looks) to the key's count in a window that began with its first one. */
  count(key: string, windowMs: number, by: 0 | 1): Promise<Count>;
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
      if (by > 0) {
        if (window !== known) windows.delete(key);
        windows.set(key, window);
        window.current += by;
        const [oldest] = windows.keys();
        if (oldest !== undefined && windows.size > keysMax) windows.delete(oldest);
      }
      return { current: window.current, remainingMs: window.endsAtMs - now };
    },
  };
}

/** Counts with the first counter, and with the second while the first fails. */
export function createFallbackCounter(first: Counter, second: Counter): Counter {
  return {
    count: (key, windowMs, by) => first.count(key, windowMs, by).catch(() => second.count(key, windowMs, by)),
  };
}

export interface Limit {
  /** Throws `rate_limited`, with the seconds to wait, when the key has used up its window. Does not count. */
  check(key: string): Promise<void>;
  /** Counts one. */
  add(key: string): Promise<void>;
}

/** At most `max` per key in `windowMs`. `what` names the limit to whoever reaches it. */
export function createLimit(
  counter: Counter,
  { what, max, windowMs }: { what: string; max: number; windowMs: number },
): Limit {
  const name = (key: string): string => `${what}:${key}`;
  return {
    async check(key) {
      const { current, remainingMs } = await counter.count(name(key), windowMs, 0);
      if (current >= max) throw limited(`Too many requests for this ${what}`, remainingMs);
    },
    async add(key) {
      await counter.count(name(key), windowMs, 1);
    },
  };
}

/** `rate_limited`, to be tried again after so many milliseconds. */
export const limited = (detail: string, remainingMs: number): HubError =>
  new HubError("rate_limited", detail, { retryAfterS: Math.max(1, Math.ceil(remainingMs / 1_000)) });

/** How many of something are open at once. */
export interface Gate {
  /** Lets one in and returns the way out, to be taken once. Throws `rate_limited` when the key's room is full. */
  enter(key: string): () => void;
}

/** At most `max` open at once per key, on this node. */
export function createGate(max: number): Gate {
  const open = new Map<string, number>();
  return {
    enter(key) {
      const inside = open.get(key) ?? 0;
      if (inside >= max) throw limited("Too many open connections from this address", fullRetryMs);
      open.set(key, inside + 1);
      return () => {
        const left = (open.get(key) ?? 1) - 1;
        if (left > 0) open.set(key, left);
        else open.delete(key);
      };
    },
  };
}

/** Nobody knows when a connection will close; this spreads those who come back. */
const fullRetryMs = 10_000;
