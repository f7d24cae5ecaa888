/** Computes the wait before the next attempt, with full jitter, so that clients dropped together do not reconnect together. */

const baseMs = 500;
const maxMs = 15_000;

/** Five minutes, because no rate limit has a longer window. A longer `Retry-After` is cut to this. */
const retryAfterMsMax = 300_000;

/** Draws from 0 to 0.5 s after the first failure; the limit doubles up to 15 s. Adds `retryAfterMs` if the server set it. */
export function delayMs(failures: number, retryAfterMs = 0, random: () => number = Math.random): number {
  const spread = random() * Math.min(maxMs, baseMs * 2 ** Math.max(0, failures - 1));
  return Math.min(retryAfterMs, retryAfterMsMax) + spread;
}

/** Reads a `Retry-After` header, in seconds or as a date, into milliseconds. Undefined if missing or unreadable. */
export function readRetryAfter(header: string | null): number | undefined {
  if (!header) return undefined;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1_000;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
