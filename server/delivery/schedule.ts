/** When an attempt follows a failed one. */

/** Seconds from one attempt to the next: the example schedule of Standard Webhooks, three days in all. */
export const delaysS = [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400] as const;

/** Attempts of one version. */
export const attemptsMax = delaysS.length;

/** A day, because a receiver that asks for more has a fault. */
const retryAfterSMax = 86_400;

/** Up to 10 % sooner or later, so that the messages of an outage do not return all at once. */
const spread = 0.1;

/**
 * Milliseconds from failed attempt number `attempt` (from 1) to the next; undefined after the last. A receiver's `Retry-After` is
 * waited for in any case. `random` is from 0 to 1.
 */
export function delayMsAfter(attempt: number, retryAfterS = 0, random = Math.random()): number | undefined {
  const delayS = delaysS[attempt];
  if (delayS === undefined) return undefined;
  const spreadMs = delayS * 1_000 * (1 - spread + 2 * spread * random);
  return Math.round(Math.max(spreadMs, Math.min(retryAfterS, retryAfterSMax) * 1_000));
}
