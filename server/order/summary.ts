/**
 * Adds up the money of payments by the time at which it moved: each payment that succeeded, also the second one of an order that was paid
 * twice. Amounts of different currencies, and of live and sandbox payments, are never added together.
 *
 * A statement reads seven periods of at most a week each or as many days, so that a year is read in parts. A payment that a person accepts
 * meanwhile may be in none or one of them.
 */
import type pg from "pg";
import type { Reason } from "./order.ts";
import { run } from "./statement.ts";

export const groupings = ["day", "provider", "currency", "reason"] as const;

export type Grouping = (typeof groupings)[number];

/** A day, or another time that is added up by itself. */
export interface Period {
  from: Date;
  to: Date;
}

export interface Total {
  /** The index of the period, by day. */
  period: number;
  /** The provider or the reason; null for a payment without a reason, and with another grouping. */
  key: string | null;
  currency: string;
  live: boolean;
  payments: number;
  /** Without payments whose amount is unknown. */
  amountMinor: number;
  /** Payments whose amount in this currency is unknown. */
  unknownAmounts: number;
}

/**
 * A success that states no amount was paid in full. The amount of a mismatch is the stated one; if the currency is another one, Tukio does
 * not know how much it is in this one.
 */
const amount = `case
    when p.amount_paid_minor is null then case when p.reason in ('amount_mismatch', 'currency_mismatch') is not true then p.amount_minor end
    when p.reason is distinct from 'currency_mismatch' then p.amount_paid_minor end`;

/** $1, $2: the beginning and the end of each period. */
const statementOf = (name: string, key: string) => ({
  name,
  text: `select period.nth::int as nth, part.key, part.currency, part.live, part.payments, part.amount_minor, part.unknown
    from unnest($1::timestamptz[], $2::timestamptz[]) with ordinality as period (begins_at, ends_at, nth)
    cross join lateral (
      select ${key} as key, p.currency, p.live, count(*)::int as payments, coalesce(sum(${amount}), 0)::bigint as amount_minor,
        (count(*) - count(${amount}))::int as unknown
      from payment p
      where p.paid_at >= period.begins_at and p.paid_at < period.ends_at and p.status = 'succeeded'
      group by 1, 2, 3
    ) part`,
});

/** Only the order says that a payment was its second one. Few orders are paid twice, and an index has them. */
const secondPayment = `p.id in (select unnest(also_paid) from "order" where also_paid <> '{}')`;

const statements = {
  day: statementOf("summary-by-day", "null::text"),
  provider: statementOf("summary-by-provider", "p.provider"),
  currency: statementOf("summary-by-currency", "null::text"),
  reason: statementOf("summary-by-reason", `case when ${secondPayment} then 'paid_twice' else p.reason end`),
} as const;

interface TotalRow {
  nth: number;
  key: Reason | string | null;
  currency: string;
  live: boolean;
  payments: number;
  amount_minor: number;
  unknown: number;
}

/** Periods of one statement. */
const periodsMax = 7;

const weekMs = 7 * 86_400_000;

/** Returns the totals in no order. Throws `store_unavailable`. */
export async function summarize(pool: pg.Pool, by: Grouping, periods: readonly Period[]): Promise<Total[]> {
  const totals = new Map<string, Total>();
  const parts = periods.flatMap(partsOf);
  for (let first = 0; first < parts.length; first += periodsMax) {
    const some = parts.slice(first, first + periodsMax);
    const rows = await run<TotalRow>(pool, statements[by], [some.map(({ from }) => from), some.map(({ to }) => to)]);
    for (const { nth, ...row } of rows) add(totals, row, some[nth - 1]?.period ?? 0);
  }
  return [...totals.values()];
}

/** A week at most, because a statement must not take seconds. */
function partsOf({ from, to }: Period, period: number): (Period & { period: number })[] {
  const parts = [];
  for (let at = from.getTime(); at < to.getTime(); at += weekMs) {
    parts.push({ from: new Date(at), to: new Date(Math.min(to.getTime(), at + weekMs)), period });
  }
  return parts;
}

function add(totals: Map<string, Total>, row: Omit<TotalRow, "nth">, period: number): void {
  const { key, currency, live } = row;
  const name = JSON.stringify([period, key, currency, live]);
  const total = totals.get(name) ?? { period, key, currency, live, payments: 0, amountMinor: 0, unknownAmounts: 0 };
  total.payments += row.payments;
  total.amountMinor += row.amount_minor;
  total.unknownAmounts += row.unknown;
  totals.set(name, total);
}
