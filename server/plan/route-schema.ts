/** The descriptions of the routes of plans, for the API docs. */
import { z } from "zod";
import { languages } from "../order/order.ts";
import { linkStatuses } from "../payment-link/row.ts";
import { startedPayment, time } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import {
  type Described,
  described,
  idempotencyKey,
  idempotencyReplayed,
  openedBy,
  readProblems,
  writeProblems,
} from "../schema/route.ts";
import { clockBody } from "./clock.ts";
import { planBody } from "./draft.ts";
import { payBody } from "./pay.ts";
import { instalmentsMax, planKinds, planStatuses } from "./row.ts";

const written = z.record(z.string(), z.unknown());
const count = z.int().min(1);
const minor = (description: string) => z.int().min(0).describe(`${description}, in the currency's minor unit.`);

const instalment = z
  .object({
    n: count.describe("Starts at 1. An endless plan skips a number whose order id is taken."),
    dueAt: time("When it is due"),
    amountMinor: minor("What it costs"),
    status: z.enum(linkStatuses).describe("That of its payment link."),
    orderId: z
      .string()
      .describe("The id of the order that has paid it, else of the one that its page opens, `<planId>-<n>`."),
    url: z
      .url()
      .describe("The address of its page. Absent if this node cannot decrypt it, because a `TUKIO_SECRET` is missing.")
      .exactOptional(),
  })
  .meta({ id: "Instalment" });

const schedule = z.object({
  amountMinor: minor("Of each instalment").exactOptional(),
  totalMinor: minor("Of all instalments together").exactOptional(),
  every: z.object({ days: count.exactOptional(), weeks: count.exactOptional(), months: count.exactOptional() }),
  count: count.describe("Absent: endless.").exactOptional(),
  firstDueAt: time("When the first instalment is due"),
});

const plan = z
  .object({
    id: z.uuid(),
    planId: z.string(),
    version: count.describe("Starts at 1 and grows by one with every change, also of an instalment."),
    status: z
      .enum(planStatuses)
      .describe(
        "`past_due`: an instalment is unpaid after its days of grace. `completed`: all are paid. A `cancelled` plan is completed by late money only.",
      ),
    kind: z.enum(planKinds),
    currency: z.string().describe("ISO 4217."),
    paidMinor: minor("The paid instalments"),
    remainingMinor: minor("The open instalments; absent for an endless plan").exactOptional(),
    instalments: z
      .array(instalment)
      .describe(
        `In the order of their numbers. Of an endless plan those that exist, and the newest ${instalmentsMax} of them.`,
      ),
    url: z
      .url()
      .describe(
        "The address of the payer's page of the plan. Absent if this node cannot decrypt it, and for a second after an upgrade from a version without these pages.",
      )
      .exactOptional(),
    customer: written.describe("The phone is masked.").exactOptional(),
    provider: z.string().describe("Absent: the payer chooses.").exactOptional(),
    description: z.string().exactOptional(),
    metadata: written.exactOptional(),
    lang: z.enum(languages).exactOptional(),
    schedule: schedule.describe("Absent if the instalments were given one by one.").exactOptional(),
    timeZone: z.string(),
    promptAt: z.string().describe("A time of day in `timeZone`."),
    remindDaysBefore: z.array(z.int().min(0)),
    graceDays: z.int().min(0),
    startedAt: time("When the first instalment was paid").exactOptional(),
    createdAt: time("When it was created"),
    changedAt: time("When it changed last"),
  })
  .meta({ id: "Plan", description: "Instalments that a customer pays over time. Each is a payment link." });

const onePlan = z.object({ plan }).meta({ id: "PlanAnswer" });

const due = ["2040-12-01T06:00:00.000Z", "2041-01-01T06:00:00.000Z", "2041-02-01T06:00:00.000Z"] as const;

const exampleSchedule = { totalMinor: 1_000_000, every: { months: 1 }, count: 3, firstDueAt: due[0] } as const;

const examplePlan = {
  id: "0199f2c4-9d10-7b32-a1c4-2f8e6d0b7a13",
  planId: "PHONE-7",
  version: 1,
  status: "active",
  kind: "instalments",
  currency: "KES",
  paidMinor: 0,
  remainingMinor: 1_000_000,
  instalments: due.map((dueAt, index) => ({
    n: index + 1,
    dueAt,
    amountMinor: index === 0 ? 333_400 : 333_300,
    status: "open",
    orderId: `PHONE-7-${index + 1}`,
    url: `https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1${"DEF"[index]}`,
  })),
  url: "https://pay.example.com/plan/q0Xc7Lr2vTn4Zk9sWm1Hd8Bf",
  customer: { id: "C-1", phone: "+2547*****678" },
  description: "A phone in three instalments",
  schedule: exampleSchedule,
  timeZone: "Africa/Nairobi",
  promptAt: "09:00",
  remindDaysBefore: [3, 0],
  graceDays: 3,
  createdAt: example.pending.openedAt,
  changedAt: example.pending.openedAt,
};

const reads = { tag: "Plans", security: openedBy.read } as const;

const pays = { tag: "Plans", security: openedBy.pay } as const;

const answer = { description: "The plan.", schema: onePlan, example: { plan: examplePlan } };

export const createPlan = described({
  ...pays,
  operationId: "createPlan",
  summary: "Create a plan",
  description:
    "Each instalment is a payment link with the order id `<planId>-<n>`. Those of a counted plan are created with it; an endless one always has one that is not due yet.",
  headers: { "Idempotency-Key": idempotencyKey("the same plan") },
  body: planBody,
  examples: {
    instalments: {
      summary: "A total in three instalments, one a month",
      value: {
        planId: "PHONE-7",
        kind: "instalments",
        currency: "KES",
        customer: { id: "C-1", phone: "+254712345678" },
        description: "A phone in three instalments",
        schedule: exampleSchedule,
      },
    },
    subscription: {
      summary: "An endless subscription",
      value: {
        planId: "GYM-12",
        kind: "subscription",
        currency: "KES",
        customer: { phone: "+254712345678" },
        schedule: { amountMinor: 250_000, every: { months: 1 }, firstDueAt: due[0] },
      },
    },
    dates: {
      summary: "Instalments of your own choice",
      value: {
        planId: "SCHOOL-3",
        kind: "instalments",
        currency: "KES",
        customer: { id: "P-3" },
        schedule: {
          instalments: [
            { dueAt: due[0], amountMinor: 1_500_000 },
            { dueAt: due[2], amountMinor: 1_000_000 },
          ],
        },
      },
    },
  },
  answers: {
    201: {
      ...answer,
      headers: { "Idempotency-Replayed": idempotencyReplayed },
    },
  },
  problems: [
    ...(["amount_invalid", "currency_invalid", "phone_invalid", "provider_unknown", "plan_exists"] as const),
    ...(["order_mismatch", "credit_exceeded", "idempotency_mismatch"] as const),
    ...writeProblems,
  ],
});

export const listPlans = (querystring: z.ZodObject): Described =>
  described({
    ...reads,
    operationId: "listPlans",
    summary: "List plans",
    description: "Newest first.",
    querystring,
    answers: {
      200: {
        description: "A page.",
        schema: z.object({ data: z.array(plan), nextCursor: z.string().nullable() }).meta({ id: "PlanPage" }),
        example: { data: [examplePlan], nextCursor: null },
      },
    },
    problems: ["body_invalid", ...readProblems],
  });

export const readPlan = described({
  ...reads,
  operationId: "readPlan",
  summary: "Read a plan",
  answers: { 200: answer },
  problems: ["plan_unknown", ...readProblems],
});

const change = (operationId: string, summary: string, description: string, status: string): Described =>
  described({
    ...pays,
    operationId,
    summary,
    description,
    answers: { 200: { ...answer, example: { plan: { ...examplePlan, version: 2, status } } } },
    problems: ["plan_unknown", "plan_closed", ...writeProblems],
  });

export const pausePlan = change(
  "pausePlan",
  "Pause a plan",
  "It does not become `past_due`, and an endless plan gets no further instalments. Open instalments can still be paid. Pausing it again changes nothing.",
  "paused",
);

export const resumePlan = change(
  "resumePlan",
  "Resume a paused plan",
  "Open instalments are owed, with new days of grace. An endless plan skips the dates that passed during the pause. Resuming a plan that is not paused changes nothing.",
  "active",
);

export const cancelPlan = change(
  "cancelPlan",
  "Cancel a plan",
  "Its open instalments are cancelled. A payment that is in progress goes on; if it succeeds, the instalment is `paid`. Cancelling it again changes nothing.",
  "cancelled",
);

export const payPlan = described({
  ...pays,
  operationId: "payPlan",
  summary: "Prompt the customer for instalments",
  description:
    "Starts a payment of the oldest open instalment, or of all up to `n` in one order with the id `<planId>-<first>:<last>`, on the phone of the plan's customer. The order, its attempt and its version are committed before the provider is asked for the money, once.",
  headers: { "Idempotency-Key": idempotencyKey("the current state") },
  body: payBody,
  examples: {
    oldest: { summary: "The oldest open instalment", value: {} },
    ahead: { summary: "All up to the third", value: { n: 3, provider: "daraja" } },
  },
  answers: {
    202: {
      description: "The order's current state, and a token to watch it.",
      schema: startedPayment,
      example: { order: example.pending, ...example.watchToken },
      headers: { "Idempotency-Replayed": idempotencyReplayed },
    },
  },
  problems: [
    ...(["plan_unknown", "plan_closed", "payment_link_closed", "amount_invalid", "phone_invalid"] as const),
    ...(["currency_invalid", "provider_unknown", "payment_in_progress", "order_paid", "order_in_review"] as const),
    ...(["order_mismatch", "idempotency_mismatch", "not_ready", "restarting"] as const),
    ...writeProblems,
  ],
});

export const advanceClock = described({
  tag: "Sandbox",
  operationId: "advanceClock",
  summary: "Move the time of plans",
  description:
    "For tests, on nodes whose providers are all sandboxes. What becomes due in the time that is skipped happens at once, on all nodes of the database. The times of orders and messages stay real.",
  security: openedBy.manage,
  body: clockBody,
  examples: { month: { summary: "A month", value: { advance: "P1M" } } },
  answers: {
    200: {
      description: "The new time of plans.",
      schema: z.object({ now: time("The time of plans now") }).meta({ id: "ClockAnswer" }),
      example: { now: due[1] },
    },
  },
  problems: writeProblems,
});
