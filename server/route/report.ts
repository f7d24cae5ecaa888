/** Reports for the merchant: money by the time at which it moved. */
import type { FastifyInstance } from "fastify";
import { DateTime } from "luxon";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { fieldError } from "../errors.ts";
import type { OrderQuery } from "../order/query.ts";
import { type Grouping, groupings, type Period, type Total } from "../order/summary.ts";
import { isTimeZone } from "../plan/schedule.ts";
import { summary } from "../schema/answer.ts";
import { described, openedBy, readProblems } from "../schema/route.ts";
import { parseInput, timeText } from "../validation.ts";

export interface ReportRoutesOptions {
  access: Access;
  query: Pick<OrderQuery, "summarize" | "clock">;
}

/** A leap year. */
const daysMax = 366;

const dayPattern = /^\d{4}-\d{2}-\d{2}$/;

const dayOrTime = z
  .string()
  .refine(
    (value) => timeText.safeParse(dayPattern.test(value) ? `${value}T00:00:00Z` : value).success,
    "must be a date such as 2026-11-20, or an ISO 8601 time such as 2026-11-20T21:00:00Z",
  );

export const summaryFilter = z.strictObject({
  from: dayOrTime.meta({
    description: "Money that moved at this time or later. A date is the beginning of that day in `timeZone`.",
    examples: ["2026-11-01"],
  }),
  to: dayOrTime.meta({ description: "Money that moved before. Default: now.", examples: ["2026-12-01"] }).optional(),
  by: z
    .enum(groupings)
    .meta({ description: "Default: `day`.", examples: ["day"] })
    .default("day"),
  timeZone: z
    .string()
    .refine(isTimeZone, "must be a time zone such as Africa/Nairobi")
    .meta({ description: "The time zone of days. Default: UTC.", examples: ["Africa/Nairobi"] })
    .default("UTC"),
});

const summarizePayments = described({
  operationId: "summarizePayments",
  tag: "Payments",
  summary: "Add up the money that moved",
  description:
    "Counts each payment that succeeded by the time of its money (`paidAt`), also the second one of an order that was paid twice. Each row has one currency, and either live or sandbox payments. Rows without payments are left out. At most 366 days.",
  security: openedBy.read,
  querystring: summaryFilter,
  answers: {
    200: {
      description: "The totals.",
      schema: summary,
      example: {
        from: "2026-11-20T00:00:00.000Z",
        to: "2026-11-21T00:00:00.000Z",
        by: "day",
        timeZone: "UTC",
        data: [
          { day: "2026-11-20", currency: "KES", live: true, payments: 12, amountMinor: 180_000, unknownAmounts: 0 },
        ],
      },
    },
  },
  problems: ["body_invalid", ...readProblems],
});

/** One row of a report. */
export interface SummaryRow extends Pick<Total, "currency" | "live" | "payments" | "amountMinor" | "unknownAmounts"> {
  day?: string;
  provider?: string;
  reason?: string | null;
}

export interface Summary {
  from: string;
  to: string;
  by: Grouping;
  timeZone: string;
  data: SummaryRow[];
}

export function reportRoutes(app: FastifyInstance, { access, query }: ReportRoutesOptions): void {
  const onRequest = merchantOnly(access);

  app.get("/v1/reports/summary", { ...summarizePayments, onRequest }, async (request): Promise<Summary> => {
    const { from, to, by, timeZone } = parseInput(summaryFilter, request.query);
    const begin = timeIn(from, timeZone);
    const end = to === undefined ? DateTime.fromJSDate(await query.clock(), { zone: timeZone }) : timeIn(to, timeZone);
    if (end < begin) throw fieldError("body_invalid", "to", "is before from");
    if (end > begin.plus({ days: daysMax })) {
      throw fieldError("body_invalid", "to", `must be at most ${daysMax} days after from`);
    }
    const days = by === "day" ? daysOf(begin, end) : [{ day: "", from: begin.toJSDate(), to: end.toJSDate() }];
    const totals = await query.summarize(by, days);
    return {
      from: begin.toJSDate().toISOString(),
      to: end.toJSDate().toISOString(),
      by,
      timeZone,
      data: totals.toSorted(compare).map((total) => toRow(total, by, days)),
    };
  });
}

const timeIn = (text: string, zone: string): DateTime =>
  dayPattern.test(text)
    ? DateTime.fromISO(text, { zone }).startOf("day")
    : DateTime.fromISO(text, { setZone: true }).setZone(zone);

/** Each day of a range. The first and the last one may be cut; a day has 23 or 25 hours when clocks change. */
function daysOf(begin: DateTime, end: DateTime): (Period & { day: string })[] {
  const days = [];
  for (let at = begin; at < end; ) {
    const next = DateTime.min(at.plus({ days: 1 }).startOf("day"), end);
    days.push({ day: at.toFormat("yyyy-MM-dd"), from: at.toJSDate(), to: next.toJSDate() });
    at = next;
  }
  return days;
}

const compare = (one: Total, other: Total): number =>
  one.period - other.period ||
  (one.key ?? "").localeCompare(other.key ?? "") ||
  one.currency.localeCompare(other.currency) ||
  Number(other.live) - Number(one.live);

const toRow = ({ period, key, ...total }: Total, by: Grouping, days: readonly { day: string }[]): SummaryRow => ({
  ...(by === "day" && { day: days[period]?.day ?? "" }),
  ...(by === "provider" && { provider: key ?? "" }),
  ...(by === "reason" && { reason: key }),
  ...total,
});
