/**
 * The schedule of queries, and every delay between them. Pure. Delays that only SQL needs are SQL expressions over a row of
 * `payment`, given its alias.
 */

/** The queries of one payment: at `checksAtS` seconds after its start, then every `everyS` seconds, and at its deadline. */
export interface Schedule {
  checksAtS: readonly number[];
  everyS: number;
}

/** Four queries in the first half minute, because most payers answer within it. */
const usualChecksAtS = [10, 15, 20, 30];
const everyS = 60;

/** Seconds for one second of the schedule in the built-in sandbox. 0.2, because a payment there has a deadline of 10 s. */
const sandboxSecondS = 0.2;

/** The schedule of a provider. A provider may have its own `checksAtS`. */
export function scheduleOf(
  { checksAtS = usualChecksAtS }: { checksAtS?: readonly number[] },
  isSandbox: boolean,
): Schedule {
  const second = isSandbox ? sandboxSecondS : 1;
  return { checksAtS: checksAtS.map((s) => s * second), everyS: everyS * second };
}

/** The payments of a provider that one claim of a node may take, with their schedule. */
export interface Allowance extends Schedule {
  provider: string;
  /** Payments that the node can take now. */
  free: number;
  /** Queries per minute of all nodes together. Absent: no limit. */
  perMinute?: number | undefined;
  /** The provider can be queried only by reference, so that claiming a payment without one costs no query. */
  needsReference?: boolean;
}

/** The record that `claimDueStatement` reads. One second's queries may be sent at once, because claims run twice a second. */
export const toClaim = ({ perMinute, ...allowance }: Allowance) => ({
  provider: allowance.provider,
  free: allowance.free,
  checks_s: allowance.checksAtS,
  every_s: allowance.everyS,
  needs_reference: allowance.needsReference ?? false,
  ...(perMinute !== undefined && { interval_s: 60 / perMinute, burst: Math.max(1, Math.floor(perMinute / 60)) }),
});

const byMode = (payment: string, live: string, sandbox: string): string =>
  `case when ${payment}.live then interval '${live}' else interval '${sandbox}' end`;

/** The delay between the two queries that confirm a failure. */
export const confirmationApart = (payment: string): string => byMode(payment, "15 seconds", "1 second");

/** The age that a prompt must have before a query can confirm a failure, because an earlier failure may mean "not yet". */
export const promptMatured = (payment: string): string => byMode(payment, "60 seconds", "3 seconds");

/** The delay from a success to the first query for a receipt or an amount that it lacks. */
export const receiptCheckDelay = (payment: string): string => byMode(payment, "5 seconds", "1 second");

/** The end of the queries for a receipt or an amount that a success lacks. */
export const receiptCheckEnd = (payment: string): string => `${payment}.expires_at + interval '1 hour'`;

/** The time at which an open payment expires even without an answer of its provider: twice its time to the deadline. */
export const overAt = (payment: string): string =>
  `${payment}.expires_at + (${payment}.expires_at - ${payment}.started_at)`;

/** The queries for late money of a payment that failed or expired, counted from its deadline. */
const lateChecks = ["5 minutes", "1 hour", "24 hours"] as const;

export const firstLateCheck = `interval '${lateChecks[0]}'`;

/** The next query for late money after the time `at`. Null after the last one. */
export const nextLateCheck = (payment: string, at: string): string => {
  const checks = lateChecks.map((after) => `${payment}.expires_at + interval '${after}'`);
  return `case\n      ${checks.map((check) => `when ${at} < ${check} then ${check}`).join("\n      ")} end`;
};
