/** Reads a merchant's request for a plan, and computes the instalments with which it begins. */
import { z } from "zod";
import { fieldError } from "../errors.ts";
import type { Language } from "../order/order.ts";
import { orderIdForm, orderIdText } from "../order-id.ts";
import { type Customer, customerBody, orNull, paymentBody, readCustomer } from "../payment/start.ts";
import { providersOf } from "../payment-link/draft.ts";
import { type Provider, requireProvider } from "../provider/provider.ts";
import { isStorable, parseInput, timeText } from "../validation.ts";
import { firstLookAt } from "./prompt-time.ts";
import { instalmentsMax, type PlanKind, planKinds, type RecurringSchedule } from "./row.ts";
import { daysAfter, dueAtOf, indexAfter, isTimeZone, splitTotal, timeZoneOf } from "./schedule.ts";

/** 40, because the order ids of the instalments are the plan's id, a hyphen and a number, and those of links have 48. */
const planIdLengthMax = 40;

const { amountMinor, currency, description, lang, metadata } = paymentBody.shape;

const wholeFrom = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.int(error).min(min, error).max(max, error);
};

const every = z
  .strictObject({
    days: wholeFrom(1, 366).optional(),
    weeks: wholeFrom(1, 52).optional(),
    months: wholeFrom(1, 12).optional(),
  })
  .refine((value) => Object.values(value).filter((one) => one !== undefined).length === 1, {
    error: "must have one of days, weeks and months",
  });

const schedule = z.strictObject({
  amountMinor: orNull(amountMinor).describe("Of each instalment, in the currency's minor unit."),
  totalMinor: orNull(amountMinor).describe(
    "Instead of `amountMinor`: of all instalments together. It is split as evenly as the provider's smallest step allows, the larger ones first.",
  ),
  every: orNull(every).describe(
    "The time between two instalments: one of the three. A plan of months that begins on the last day of a month stays there.",
  ),
  count: orNull(wholeFrom(1, instalmentsMax)).describe(
    "The number of instalments. By default a subscription is endless.",
  ),
  firstDueAt: orNull(timeText).describe(
    "When the first instalment is due, at most a day ago. The others are due at its local time.",
  ),
  instalments: orNull(
    z
      .array(z.strictObject({ dueAt: timeText, amountMinor }))
      .min(1)
      .max(instalmentsMax),
  ).describe("Instead of all other fields: each instalment, in the order of their times."),
});

const promptForm = "must be a time from 08:00 to 20:00, such as 09:00";

const promptTime = z
  .string()
  .refine((time) => /^\d\d:[0-5]\d$/.test(time) && time >= "08:00" && time <= "20:00", promptForm);

export const planBody = z
  .strictObject({
    planId: orderIdText
      .max(planIdLengthMax, `must have at most ${planIdLengthMax} characters`)
      .describe(`Your name for the plan, unique. At most ${planIdLengthMax} characters. ${orderIdForm}`),
    kind: z.enum(planKinds).describe("`instalments`: a sum that is paid in parts. `subscription`: may be endless."),
    customer: customerBody.describe("Has an `id` or a `phone`. Visible with the API key only."),
    provider: orNull(z.string()).describe("The only provider of the instalments. By default the payer chooses."),
    currency,
    description: description.describe("What the payer pays for. The pages of the instalments show it."),
    schedule: schedule.describe("Either `every` and an amount, or `instalments`."),
    promptAt: orNull(promptTime).describe(
      "When the customer is prompted on a day, from 08:00 to 20:00 in the plan's time zone. Default: 09:00.",
    ),
    timeZone: orNull(z.string().refine(isTimeZone, "must be a time zone such as Africa/Nairobi")).describe(
      "The calendar of the plan. By default that of the currency's country.",
    ),
    remindDaysBefore: orNull(z.array(wholeFrom(0, 60)).max(5)).describe(
      "Days before an instalment is due. Default: 3 and 0.",
    ),
    graceDays: orNull(wholeFrom(0, 90)).describe(
      "The plan is `past_due` once an instalment is unpaid for so many days after it was due. Default: 3.",
    ),
    lang: lang.describe("The language of the pages. By default that of the payer's browser."),
    metadata,
  })
  .meta({ id: "PlanRequest" });

type PlanBody = z.infer<typeof planBody>;
type Schedule = PlanBody["schedule"];

export interface DueInstalment {
  dueAt: Date;
  /** When the plan becomes `past_due` if it is unpaid. */
  overdueAt: Date;
  amountMinor: number;
}

/** A merchant's request, validated and normalised. */
export interface PlanDraft {
  planId: string;
  kind: PlanKind;
  customer: Customer;
  provider?: string | undefined;
  currency: string;
  description?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
  lang?: Language | undefined;
  /** Absent: the merchant gave each instalment. */
  schedule?: RecurringSchedule;
  timeZone: string;
  promptAt: string;
  remindDaysBefore: number[];
  graceDays: number;
  /** Those that are created with the plan. */
  instalments: DueInstalment[];
  isEndless: boolean;
  /** When it is looked at first, to ask for money. */
  collectsAt: Date;
  /** The request as JSON, to compare a repeated one with it. */
  request: string;
}

/** Throws the errors that `POST /v1/plans` answers. `now`: by the clock of plans. */
export function readPlanDraft(value: unknown, enabled: ReadonlyMap<string, Provider>, now: Date): PlanDraft {
  const body = parseInput(planBody, value);
  const { schedule: given, timeZone = timeZoneOf(body.currency), graceDays = 3, ...rest } = body;
  if (rest.customer.id === undefined && rest.customer.phone === undefined) {
    throw fieldError("body_invalid", "customer", "must have an id or a phone");
  }
  const promptAt = body.promptAt ?? "09:00";
  const terms: Terms = { body, enabled, timeZone, now };
  const { due, recurring } = given.instalments ? readInstalments(given, terms) : readRecurring(given, terms);
  const [provider] = requireFits(due, terms);
  return {
    ...rest,
    customer: provider ? readCustomer(rest.customer, provider, body.currency) : rest.customer,
    ...(recurring && { schedule: recurring }),
    timeZone,
    promptAt,
    remindDaysBefore: [...new Set(body.remindDaysBefore ?? [3, 0])].toSorted((one, other) => other - one),
    graceDays,
    instalments: due.map(({ dueAt, amountMinor: amount }) => ({
      dueAt,
      overdueAt: daysAfter(dueAt, graceDays, timeZone),
      amountMinor: amount,
    })),
    collectsAt: firstLookAt(now, { timeZone, promptAt }),
    isEndless: recurring !== undefined && recurring.count === undefined,
    request: JSON.stringify(body),
  };
}

interface Terms {
  body: PlanBody;
  enabled: ReadonlyMap<string, Provider>;
  timeZone: string;
  now: Date;
}

interface Due {
  dueAt: Date;
  amountMinor: number;
  /** The field of the request that has the amount. */
  amountField: string;
}

function readInstalments(
  { instalments = [], ...others }: Schedule,
  { now }: Terms,
): { due: Due[]; recurring?: undefined } {
  const [other] = Object.entries(others).filter(([, value]) => value !== undefined);
  if (other) throw fieldError("body_invalid", `schedule.${other[0]}`, "does not go with instalments");
  const due = instalments.map((one, index) => ({ ...one, amountField: `schedule.instalments.${index}.amountMinor` }));
  const unsorted = due.findIndex(({ dueAt }, index) => dueAt <= (due[index - 1]?.dueAt ?? new Date(0)));
  if (unsorted > 0) {
    throw fieldError("body_invalid", `schedule.instalments.${unsorted}.dueAt`, "must be after that of the one before");
  }
  if (due[0]) requireRecent(due[0].dueAt, "schedule.instalments.0.dueAt", now);
  return { due };
}

function readRecurring(given: Schedule, terms: Terms): { due: Due[]; recurring: RecurringSchedule } {
  const { every: step, firstDueAt, count } = given;
  if (!step) throw fieldError("body_invalid", "schedule.every", "is required, unless there are instalments");
  if (!firstDueAt) throw fieldError("body_invalid", "schedule.firstDueAt", "is required, unless there are instalments");
  requireRecent(firstDueAt, "schedule.firstDueAt", terms.now);
  if (count === undefined && terms.body.kind === "instalments") {
    throw fieldError("body_invalid", "schedule.count", "is required for instalments");
  }
  const recurrence = { firstDueAt, every: step, timeZone: terms.timeZone };
  const isStoredUntil = count === undefined || isStorable(dueAtOf(recurrence, count - 1));
  if (!isStoredUntil) throw fieldError("body_invalid", "schedule.count", "ends after the year 9999");
  // An endless plan begins with the instalments until the first one that is not due.
  const amounts = amountsOf(given, count ?? indexAfter(recurrence, terms.now, 0) + 1, terms);
  const amountField = given.totalMinor === undefined ? "schedule.amountMinor" : "schedule.totalMinor";
  const { instalments: _, ...stored } = given;
  return {
    due: amounts.map((amount, index) => ({ dueAt: dueAtOf(recurrence, index), amountMinor: amount, amountField })),
    recurring: { ...stored, every: step, firstDueAt: firstDueAt.toISOString() },
  };
}

const dayMs = 86_400_000;

/** A day, because a client may send the beginning of today in its time zone. */
function requireRecent(dueAt: Date, field: string, now: Date): void {
  if (dueAt.getTime() < now.getTime() - dayMs) throw fieldError("body_invalid", field, "is more than a day ago");
}

function amountsOf({ amountMinor: each, totalMinor, count }: Schedule, length: number, terms: Terms): number[] {
  if (each !== undefined && totalMinor !== undefined) {
    throw fieldError("amount_invalid", "schedule.totalMinor", "does not go with amountMinor");
  }
  if (each !== undefined) return Array.from({ length }, () => each);
  if (totalMinor === undefined) throw fieldError("amount_invalid", "schedule.amountMinor", "is required");
  if (count === undefined) throw fieldError("body_invalid", "schedule.count", "is required with totalMinor");
  return splitTotal(totalMinor, count, stepOf(totalMinor, count, terms));
}

/** The largest step in which a provider of the plan takes amounts, and into which the total can be split. */
function stepOf(totalMinor: number, count: number, { body, enabled }: Terms): number {
  const providers = body.provider === undefined ? [...enabled.values()] : [requireProvider(enabled, body.provider)];
  const steps = providers
    .filter(({ currencies }) => currencies.includes(body.currency))
    .map(({ limits }) => Number(limits.stepMinor))
    .toSorted((one, other) => other - one);
  const found = steps.find((step) => totalMinor % step === 0 && totalMinor / step >= count);
  const least = steps.at(-1);
  if (found !== undefined) return found;
  // Without a provider of the currency the check of the amounts fails.
  if (least === undefined) return 1;
  const rule = `must be a multiple of ${least} minor units, and at least ${count * least}`;
  throw fieldError("amount_invalid", "schedule.totalMinor", rule);
}

/** Throws unless a provider of the plan takes each amount. Returns the providers that take the first one. */
function requireFits(due: readonly Due[], { body, enabled }: Terms): Provider[] {
  const providers = body.provider === undefined ? undefined : [body.provider];
  const distinct = new Map(due.toReversed().map((one) => [one.amountMinor, one]));
  const fitting = [...distinct.values()].map((one) =>
    providersOf(
      { amountMinor: one.amountMinor, amountField: one.amountField, currency: body.currency, providers },
      enabled,
    ),
  );
  return fitting.at(-1) ?? [];
}
