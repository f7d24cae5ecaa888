/**
 * The schedule of queries, and every delay between them. Pure. Delays and times that only SQL uses are SQL expressions: the argument
 * `payment` is the alias of the row.
 */

/** The queries of one payment: at `checksAtS` seconds after its start, then every `everyS` seconds, and at its deadline. */
export interface Schedule {
  checksAtS: readonly number[];
  everyS: number;
}

/** Four queries in the first 30 s, because most payers answer within them. */
const usualChecksAtS = [10, 15, 20, 30];

/** 60, because payers rarely answer later than that, and every open payment costs a query each time. */
const everyS = 60;

/** Length of one second of the schedule in the built-in sandbox. 0.2 s, because the shortest deadline there is 10 s. */
const sandboxSecondS = 0.2;

/** The schedule of a provider. A provider may have its own `checksAtS`. */
export function scheduleOf(
  { checksAtS = usualChecksAtS }: { checksAtS?: readonly number[] },
  isSandbox: boolean,
): Schedule {
  const second = isSandbox ? sandboxSecondS : 1;
  return { checksAtS: checksAtS.map((s) => s * second), everyS: everyS * second };
}

/** The payments of one provider that a node may claim in one statement, and their schedule. */
export interface Allowance extends Schedule {
  provider: string;
  /** The number of payments that the node can query now. */
  free: number;
  /** The limit of queries per minute, for all nodes together. Absent: no limit. */
  perMinute?: number | undefined;
  /** The provider can only be queried by reference. A payment without one is claimed and not queried. */
  needsReference?: boolean;
}

/** The record that `claimDueStatement` reads. `burst` is the queries of one second, because claims run twice a second. */
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

/**
 * A time for `check_at` that is due at once. Cut to milliseconds, because the column rounds: rounded up, the time would be up to half a
 * millisecond ahead, and the claim that follows would miss the payment.
 */
export const dueNow = "date_trunc('milliseconds', clock_timestamp())";

/** The delay between the two queries that confirm a failure. */
export const confirmationApart = (payment: string): string => byMode(payment, "15 seconds", "1 second");

/**
 * The age that a payment must have before a second query can confirm a failure. 60 s, because providers report "failed" for "not yet"
 * while the prompt is new.
 */
export const promptMatured = (payment: string): string => byMode(payment, "60 seconds", "3 seconds");

/** The delay from a success to the first query for its missing receipt or amount. 5 s, because the provider may need some seconds. */
export const receiptCheckDelay = (payment: string): string => byMode(payment, "5 seconds", "1 second");

/** The time at which the queries for a missing receipt or amount of a success end. */
export const receiptCheckEnd = (payment: string): string => `${payment}.expires_at + interval '1 hour'`;

/** The time at which an open payment expires even if its provider does not answer: twice its time to the deadline. */
export const overAt = (payment: string): string =>
  `${payment}.expires_at + (${payment}.expires_at - ${payment}.started_at)`;

/** The times of the queries for late money of a failed or expired payment, after its deadline. */
const lateChecks = ["5 minutes", "1 hour", "24 hours"] as const;

export const firstLateCheck = `interval '${lateChecks[0]}'`;

/** The next query for late money after the time `at`. Null after the last one. */
export const nextLateCheck = (payment: string, at: string): string => {
  const checks = lateChecks.map((after) => `${payment}.expires_at + interval '${after}'`);
  return `case\n      ${checks.map((check) => `when ${at} < ${check} then ${check}`).join("\n      ")} end`;
};
