/**
 * The payments of today, in the browser's time zone, as sums. Money counts when it moved, and every payment of an order counts, also
 * the second of one that was paid twice.
 */
import { queryOptions } from "@tanstack/react-query";
import type { ListedPayment } from "../../merchant-sdk/model.ts";
import { dateOf, startOfDay } from "../word/time.ts";
import { api, read } from "./call.ts";

/** Money in one currency. */
export interface Received {
  currency: string;
  live: boolean;
  count: number;
  amountMinor: number;
  /** The largest amount first. */
  byProvider: { provider: string; count: number; amountMinor: number }[];
  /** By the hour of the day: 24 amounts. */
  byHour: number[];
}

export interface Day {
  received: Received[];
  /** Payments that were started today and did not succeed, by reason, the most frequent first. */
  unpaid: { reason: string; count: number }[];
  /** Payments that were started today and have not ended. */
  open: number;
  /** There are more payments than were read. */
  isPartial: boolean;
}

/** Pages of a list that are read at most, with 200 payments each: a day of most merchants. */
const pagesMax = 10;

type Filter = { paidFrom: string } | { from: string };

async function readAll(
  filter: Filter,
  signal: AbortSignal,
): Promise<{ payments: ListedPayment[]; isPartial: boolean }> {
  const payments: ListedPayment[] = [];
  let cursor: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const query = { ...filter, limit: 200, ...(cursor !== undefined && { cursor }) };
    const { data, nextCursor } = await read(api.GET("/v1/payments", { params: { query }, signal }));
    payments.push(...data);
    if (nextCursor === null) return { payments, isPartial: false };
    cursor = nextCursor;
  }
  return { payments, isPartial: true };
}

export function dayQuery() {
  const date = dateOf(new Date());
  return queryOptions({
    queryKey: ["day", date],
    queryFn: async ({ signal }): Promise<Day> => {
      const start = startOfDay(date)?.toISOString() ?? "";
      const [paid, started] = await Promise.all([
        readAll({ paidFrom: start }, signal),
        readAll({ from: start }, signal),
      ]);
      return {
        received: receivedOf(paid.payments),
        unpaid: unpaidOf(started.payments),
        open: started.payments.filter(({ status }) => status === "pending" || status === "processing").length,
        isPartial: paid.isPartial || started.isPartial,
      };
    },
  });
}

function receivedOf(payments: readonly ListedPayment[]): Received[] {
  const groups = Object.values(Object.groupBy(payments, ({ currency, live }) => `${currency} ${live}`));
  return groups.flatMap((group = []) => sumOf(group)).toSorted((one, other) => other.count - one.count);
}

const amountOf = ({ amountPaidMinor, amountMinor }: ListedPayment): number => amountPaidMinor ?? amountMinor;

const sum = (payments: readonly ListedPayment[]): { count: number; amountMinor: number } => ({
  count: payments.length,
  amountMinor: payments.reduce((total, payment) => total + amountOf(payment), 0),
});

function sumOf(payments: readonly ListedPayment[]): Received[] {
  const [first] = payments;
  if (!first) return [];
  const byHour = Array.from({ length: 24 }, () => 0);
  for (const payment of payments) {
    const hour = new Date(payment.paidAt ?? payment.startedAt).getHours();
    byHour[hour] = (byHour[hour] ?? 0) + amountOf(payment);
  }
  const byProvider = Object.entries(Object.groupBy(payments, ({ provider }) => provider))
    .map(([provider, group = []]) => ({ provider, ...sum(group) }))
    .toSorted((one, other) => other.amountMinor - one.amountMinor);
  return [{ currency: first.currency, live: first.live, ...sum(payments), byProvider, byHour }];
}

function unpaidOf(payments: readonly ListedPayment[]): Day["unpaid"] {
  const ended = payments.filter(({ status }) => status === "failed" || status === "expired");
  return Object.entries(Object.groupBy(ended, ({ reason, status }) => reason ?? status))
    .map(([reason, group = []]) => ({ reason, count: group.length }))
    .toSorted((one, other) => other.count - one.count);
}
