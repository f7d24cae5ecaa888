/**
 * When providers are asked about payments, and how fast. Pure. Times that only SQL needs are SQL here: expressions over a
 * row of `payment` by its alias.
 */

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

const whereLive = (payment: string, live: string, sandbox: string): string =>
  `case when ${payment}.live then interval '${live}' else interval '${sandbox}' end`;

/** Time between two queries that confirm a failure. */
export const confirmationApart = (payment: string): string => whereLive(payment, "15 seconds", "1 second");

/** Age that a prompt must have before two queries can confirm a failure, because an early failure may mean "not yet". */
export const promptMatured = (payment: string): string => whereLive(payment, "60 seconds", "3 seconds");

/** Time from a success to the first query for what it did not state. */
export const completionDelay = (payment: string): string => whereLive(payment, "5 seconds", "1 second");

/** A success is completed until so long after its deadline. */
export const completionEnd = (payment: string): string => `${payment}.expires_at + interval '1 hour'`;

/** When a payment is over for good: after twice the time to its deadline. */
export const overAt = (payment: string): string =>
  `${payment}.expires_at + (${payment}.expires_at - ${payment}.started_at)`;

/** Late money is asked for so long after the deadline of a payment that failed or expired. */
const lateChecks = ["5 minutes", "1 hour", "24 hours"] as const;

export const firstLateCheck = `interval '${lateChecks[0]}'`;

/** The next check for late money after the time `at`; null after the last. */
export const nextLateCheck = (payment: string, at: string): string => {
  const checks = lateChecks.map((after) => `${payment}.expires_at + interval '${after}'`);
  return `case\n      ${checks.map((check) => `when ${at} < ${check} then ${check}`).join("\n      ")} end`;
};
