/**
 * The money of today and of the days before, in the browser's time zone. Money counts when it moved, and every payment of an order
 * counts, also the second of one that was paid twice.
 */
import { queryOptions } from "@tanstack/react-query";
import type { ListedPayment, Summary } from "../../merchant-sdk/model.ts";
import { dateOf, startOfDay, timeZone } from "../word/time.ts";
import { key } from "./cache.ts";
import { api, read } from "./call.ts";

/** Days of the chart, with today. */
export const daysShown = 14;

type Total = Summary["data"][number];

/** Money in one currency. */
export interface Received {
  currency: string;
  live: boolean;
  count: number;
  amountMinor: number;
  /** Payments of today whose amount in this currency is unknown. */
  unknownAmounts: number;
  /** The largest amount first. */
  byProvider: Total[];
  /** The amount of each day, the oldest first. The last one is today. */
  byDay: { date: string; amountMinor: number }[];
}

const summary = (from: string, by: "day" | "provider", signal: AbortSignal): Promise<Summary> =>
  read(api.GET("/v1/reports/summary", { params: { query: { from, by, timeZone } }, signal }));

/** The dates of the chart, the oldest first. */
export function shownDates(): string[] {
  const today = dateOf(new Date());
  return Array.from({ length: daysShown }, (_, index) => startOfDay(today, index - daysShown + 1)).flatMap((at) =>
    at ? [dateOf(at)] : [],
  );
}

export function receivedQuery() {
  const dates = shownDates();
  const [first = "", today = ""] = [dates[0], dates.at(-1)];
  return queryOptions({
    queryKey: ["received", today],
    queryFn: async ({ signal }): Promise<Received[]> => {
      const [days, providers] = await Promise.all([summary(first, "day", signal), summary(today, "provider", signal)]);
      return receivedOf(dates, days.data, providers.data);
    },
  });
}

/** Each currency that has money in one of the days, the one with the most payments first. */
function receivedOf(dates: readonly string[], days: readonly Total[], providers: readonly Total[]): Received[] {
  const groups = Object.groupBy(days, ({ currency, live }) => `${currency} ${live}`);
  return Object.values(groups)
    .flatMap(([first, ...rest] = []) => (first ? [[first, ...rest] as const] : []))
    .toSorted((one, other) => paymentsOf(other) - paymentsOf(one))
    .map(([first, ...rest]) => {
      const { currency, live } = first;
      const today = [first, ...rest].find(({ day }) => day === dates.at(-1));
      return {
        currency,
        live,
        count: today?.payments ?? 0,
        amountMinor: today?.amountMinor ?? 0,
        unknownAmounts: today?.unknownAmounts ?? 0,
        byProvider: providers
          .filter((one) => one.currency === currency && one.live === live)
          .toSorted((one, other) => other.amountMinor - one.amountMinor),
        byDay: dates.map((date) => ({
          date,
          amountMinor: [first, ...rest].find(({ day }) => day === date)?.amountMinor ?? 0,
        })),
      };
    });
}

const paymentsOf = (totals: readonly Total[]): number => totals.reduce((sum, { payments }) => sum + payments, 0);

export interface Unpaid {
  /** Payments that were started today and did not succeed, by reason, the most frequent first. */
  reasons: { reason: string; count: number }[];
  /** Payments that were started today and have not ended. */
  open: number;
  /** There are more payments than were read. */
  isPartial: boolean;
}

/** Pages of 200 payments that are read at most. */
const pagesMax = 5;

/** Read every minute and not at each event, because it reads the payments themselves. */
export function unpaidQuery() {
  const date = dateOf(new Date());
  return queryOptions({
    queryKey: [key.unpaid, date],
    queryFn: ({ signal }) => readUnpaid(startOfDay(date)?.toISOString() ?? "", signal),
    staleTime: 60_000,
    refetchInterval: 60_000,
  });
}

async function readUnpaid(from: string, signal: AbortSignal): Promise<Unpaid> {
  const payments: ListedPayment[] = [];
  let cursor: string | null | undefined;
  for (let page = 0; page < pagesMax && cursor !== null; page += 1) {
    const query = { from, limit: 200, ...(cursor !== undefined && { cursor }) };
    const answer = await read(api.GET("/v1/payments", { params: { query }, signal }));
    payments.push(...answer.data);
    cursor = answer.nextCursor;
  }
  const ended = payments.filter(({ status }) => status === "failed" || status === "expired");
  return {
    reasons: Object.entries(Object.groupBy(ended, ({ reason, status }) => reason ?? status))
      .map(([reason, group = []]) => ({ reason, count: group.length }))
      .toSorted((one, other) => other.count - one.count),
    open: payments.filter(({ status }) => status === "pending" || status === "processing").length,
    isPartial: cursor !== null,
  };
}
