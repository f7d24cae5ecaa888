/** When providers are asked about payments, and how fast. Pure. */

/** When one payment is asked about, in seconds after it was started; then again and again, and at its deadline. */
export interface Schedule {
  checksAtS: readonly number[];
  everyS: number;
}

/** Most payers have answered within half a minute. */
const usualChecksAtS = [10, 15, 20, 30];
const everyS = 60;

/** A second of the schedule in the built-in sandbox, where a payment lives 10 s. */
const sandboxSecondS = 0.2;

/** The schedule of a provider, which may have checks of its own. */
export function scheduleOf(
  { checksAtS = usualChecksAtS }: { checksAtS?: readonly number[] },
  isSandbox: boolean,
): Schedule {
  const second = isSandbox ? sandboxSecondS : 1;
  return { checksAtS: checksAtS.map((s) => s * second), everyS: everyS * second };
}

/** Limits for one claim of a provider's due payments. */
export interface Allowance extends Schedule {
  provider: string;
  /** At most so many payments. */
  free: number;
  /** Queries in a minute, of all nodes together; as many as come if absent. */
  perMinute?: number | undefined;
  /** A payment whose reference is not known cannot be asked about, so that taking it is no query. */
  needsReference?: boolean;
}

/** As `claimDueStatement` reads it. Queries of up to a second may come at once, because due payments are looked for twice a second. */
export const toClaim = ({ perMinute, ...allowance }: Allowance) => ({
  provider: allowance.provider,
  free: allowance.free,
  checks_s: allowance.checksAtS,
  every_s: allowance.everyS,
  needs_reference: allowance.needsReference ?? false,
  ...(perMinute !== undefined && { interval_s: 60 / perMinute, burst: Math.max(1, Math.floor(perMinute / 60)) }),
});
