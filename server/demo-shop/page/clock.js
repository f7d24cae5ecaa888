/**
 * How far this page's clock is from the one that stamps events, and how sure that is. The answer to a question was
 * written somewhere between asking and hearing: in the middle, give or take half the round trip. The quickest of a few
 * round trips is believed.
 */

/** @typedef {{ offsetMs: number, errorMs: number }} Measured */

const samples = 6;

/** Stamps are whole milliseconds. */
const roundingMs = 0.5;

/** Beyond this nothing in milliseconds can be said. */
const errorMsMax = 100;

/** A clock that nobody sets while the page lives. */
export const nowMs = () => performance.timeOrigin + performance.now();

/**
 * Undefined when it cannot be known well enough.
 * @param {() => Promise<{ at: string }>} ask
 * @returns {Promise<Measured | undefined>}
 */
export async function measureClock(ask) {
  /** @type {Measured | undefined} */
  let best;
  for (let count = 0; count < samples; count += 1) {
    const askedMs = nowMs();
    const answer = await ask().catch(() => undefined);
    const heardMs = nowMs();
    if (!answer) break;
    const errorMs = (heardMs - askedMs) / 2 + roundingMs;
    if (best && best.errorMs <= errorMs) continue;
    best = { offsetMs: Date.parse(answer.at) - (askedMs + heardMs) / 2, errorMs };
  }
  return best && best.errorMs <= errorMsMax ? best : undefined;
}

/**
 * The milliseconds from a stamp to `heardMs` of this page's clock; undefined when that would be before it happened.
 * @param {string} stamp
 * @param {number} heardMs
 * @param {Measured | undefined} measured
 */
export function delayMs(stamp, heardMs, measured) {
  if (!measured) return undefined;
  const delay = heardMs + measured.offsetMs - Date.parse(stamp);
  if (Number.isNaN(delay) || delay < -measured.errorMs) return undefined;
  return Math.max(0, Math.round(delay));
}
