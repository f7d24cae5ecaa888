/** How long to wait before the next try: full jitter, so that those who were sent away together come back apart. */

const baseMs = 500;
const maxMs = 15_000;

/** Longer than any limit's window; whoever asks for more is asked again then. */
const retryAfterMsMax = 300_000;

/** Between 0 and 0.5 s after the first failure, doubling up to 15 s; after `retryAfterMs` where the server named it. */
export function delayMs(failures: number, retryAfterMs = 0, random: () => number = Math.random): number {
  const spread = random() * Math.min(maxMs, baseMs * 2 ** Math.max(0, failures - 1));
  return Math.min(retryAfterMs, retryAfterMsMax) + spread;
}

/** The milliseconds of a `Retry-After`: seconds or a date. Undefined when there is none that can be read. */
export function readRetryAfter(header: string | null): number | undefined {
  if (!header) return undefined;
  const seconds = Number(header);
  const ms = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1_000;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}
