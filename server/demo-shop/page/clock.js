/**
 * Measures the offset between this page's clock and the database's clock, which sets the events' timestamps. The server
 * reads its clock between the request and the answer, so the estimate is the middle, with half the round trip as error.
 * The fastest of a few round trips gives the best estimate.
 */

/** @typedef {{ offsetMs: number, errorMs: number }} Measured */

const samples = 6;

/** Half a millisecond, because timestamps are whole milliseconds. */
const roundingMs = 0.5;

/** 100 ms, because a larger error makes a delay in milliseconds meaningless. */
const errorMsMax = 100;

/** A monotonic clock in milliseconds since the epoch. */
export const nowMs = () => performance.timeOrigin + performance.now();

/**
 * Returns undefined if the error is too large.
 * @param {() => Promise<{ at: string }>} readClock
 * @returns {Promise<Measured | undefined>}
 */
export async function measureClock(readClock) {
  /** @type {Measured | undefined} */
  let best;
  for (let count = 0; count < samples; count += 1) {
    const sentMs = nowMs();
    const answer = await readClock().catch(() => undefined);
    const receivedMs = nowMs();
    if (!answer) break;
    const errorMs = (receivedMs - sentMs) / 2 + roundingMs;
    if (best && best.errorMs <= errorMs) continue;
    best = { offsetMs: Date.parse(answer.at) - (sentMs + receivedMs) / 2, errorMs };
  }
  return best && best.errorMs <= errorMsMax ? best : undefined;
}

/**
 * Milliseconds from a database timestamp to `receivedMs` of this page's clock. Undefined if the result would be negative.
 * @param {string} timestamp
 * @param {number} receivedMs
 * @param {Measured | undefined} measured
 */
export function delayMs(timestamp, receivedMs, measured) {
  if (!measured) return undefined;
  const delay = receivedMs + measured.offsetMs - Date.parse(timestamp);
  if (Number.isNaN(delay) || delay < -measured.errorMs) return undefined;
  return Math.max(0, Math.round(delay));
}

/**
 * Words for a delay. A delay within the clock's error is only known to be less than a bound, so no delay is 0 ms.
 * @param {number} delay
 * @param {Pick<Measured, "errorMs"> | undefined} measured
 * @param {string} lessThan
 */
export function delayText(delay, measured, lessThan) {
  const { errorMs = roundingMs } = measured ?? {};
  return delay > errorMs ? `${delay}\u00a0ms` : `${lessThan}\u00a0${Math.ceil(delay + errorMs)}\u00a0ms`;
}
