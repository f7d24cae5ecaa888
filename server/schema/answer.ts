/**
 * The shapes of what Tukio answers, for the documents it serves. Answers are typed by TypeScript, not parsed, so these
 * schemas stand beside the types; test/schema/answer.test.ts does not compile when the two part.
 */
import { z } from "zod";
import { type Reason, reasons, statuses } from "../../client-sdk/protocol.ts";
import { type ErrorCode, errorTable } from "../errors.ts";
import { type Source, sources } from "../order/order.ts";

const time = (description: string) => z.iso.datetime().describe(`${description}. ISO 8601, UTC.`);
const minor = (description: string) => z.int().min(0).describe(`${description}, in the currency's minor unit.`);
const currency = z.string().describe("ISO 4217.");
const live = z.boolean().describe("False: the sandbox, no money moved.");

const status = z.enum(statuses).meta({
  id: "Status",
  description:
    "From lowest to highest; a payment only climbs. `succeeded` is never taken back, `review` waits for a person. More may be added: go by `settled`.",
});

const reasonMeanings: Record<Reason, string> = {
  cancelled: "the payer said no",
  insufficient_funds: "the payer has too little money",
  wrong_pin: "the payer typed a wrong PIN",
  declined: "the provider declined the payer",
  limit: "a limit of the provider's, on the amount or on an account",
  busy: "the payer's phone is taken up by another prompt",
  provider_error: "something went wrong at the provider",
  rejected: "a person decided that no money came, or the order was paid before the payer was asked again",
  no_response: "the provider says that the payer did not answer in time",
  deadline: "nothing was heard by `expiresAt`; money may still come",
  late: "paid after it had failed or expired",
  amount_mismatch:
    "another amount was paid than agreed, or what is stated cannot be read (`amountPaidMinor` is then absent)",
  currency_mismatch: "another currency was paid than agreed, or what is stated cannot be read",
  receipt_reused: "the receipt belongs to another payment",
  paid_twice: "another attempt of the order was paid too, see `alsoPaid`",
};

const reason = z.enum(reasons).meta({
  id: "Reason",
  description: `Why the status is what it is. More may be added.\n\n${reasons
    .map((name) => `- \`${name}\`: ${reasonMeanings[name]}`)
    .join("\n")}`,
});

const action = z
  .discriminatedUnion("type", [
    z.object({ type: z.literal("prompt"), phone: z.string().describe("Where the payer is asked; masked.") }),
    z.object({ type: z.literal("redirect"), url: z.string().describe("Where the payer has to go.") }),
  ])
  .meta({ id: "Action", description: "What the payer has to do, while `processing`." });

const eventPayment = z
  .object({
    id: z.uuid(),
    provider: z.string(),
    attempt: z.int().min(1).describe("1 for the order's first attempt."),
    startedAt: time("When it was recorded"),
    expiresAt: time("When it expires unless something is heard"),
    amountPaidMinor: minor("What was paid, once known").exactOptional(),
    receipt: z.string().describe("The provider's proof of the money, once known.").exactOptional(),
    action: action.exactOptional(),
  })
  .describe("The attempt that this state comes from.");

/** The one message of every channel. */
export const statusEvent = z
  .object({
    id: z.uuid().describe("The order's own id. Another id means another order, whose versions start again."),
    orderId: z.string().describe("Your name for the order."),
    version: z.int().min(1).describe("Starts at 1, one more with every change. Keep the newer, drop the rest."),
    status,
    settled: z
      .boolean()
      .describe(
        "Nothing more to wait for from payer or provider, though a late success or another try may still come. Paid only when `status` is `succeeded`; `review` waits for you.",
      ),
    reason: reason.exactOptional(),
    amountMinor: minor("What is to be paid"),
    currency,
    live,
    payment: eventPayment,
    alsoPaid: z.array(z.uuid()).exactOptional().describe("Further attempts of this order that were paid too."),
    openedAt: time("When the order was opened"),
    occurredAt: time("When this state began; never earlier than the version before"),
  })
  .meta({ id: "StatusEvent", description: "The whole current state of one order, never a delta." });

const sourceMeanings: Record<Source, string> = {
  webhook: "the provider told us",
  query: "the provider said so when asked",
  clock: "its time was over",
  person: "a person decided",
  reply: "the provider's answer to our request for the money",
  payer: "the payer's browser, after the provider was asked",
};

export const pastEvent = statusEvent
  .extend({
    source: z
      .enum(sources)
      .exactOptional()
      .describe(
        `Where it was learnt; absent where a payment was started.\n\n${sources
          .map((name) => `- \`${name}\`: ${sourceMeanings[name]}`)
          .join("\n")}`,
      ),
    note: z.string().exactOptional().describe("Why a person decided so."),
  })
  .meta({ id: "PastEvent", description: "A state of the order's history." });

export const payment = z
  .object({
    ...eventPayment.shape,
    live,
    status,
    reason: reason.exactOptional(),
    phone: z.string().exactOptional().describe("Masked."),
    reference: z.string().exactOptional().describe("The provider's own handle."),
  })
  .meta({ id: "Payment", description: "One attempt to pay an order." });

const written = z.record(z.string(), z.unknown()).nullable();

export const orderView = z
  .object({
    order: statusEvent,
    payments: z.array(payment),
    events: z.array(pastEvent),
    description: z.string().nullable(),
    customer: written,
    metadata: written,
  })
  .meta({ id: "Order", description: "Everything about one order, for the merchant." });

export const orderList = z
  .object({
    data: z.array(statusEvent),
    nextCursor: z.string().nullable().describe("Give it as `cursor` for what follows; null at the end."),
  })
  .meta({ id: "OrderList" });

export const watchToken = z
  .object({
    watchToken: z.string().describe("Opens this one order for watching, and nothing else."),
    watchTokenExpiresAt: time("When it runs out"),
  })
  .meta({ id: "WatchToken" });

export const startedPayment = watchToken.extend({ order: statusEvent }).meta({ id: "StartedPayment" });

export const decided = z.object({ order: statusEvent }).meta({ id: "Decided" });

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe("For people; may change."),
    code: z.enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]]).describe("For programs; stable."),
    retryable: z.boolean().describe("Whether trying the very same again may help."),
    errors: z
      .array(z.object({ path: z.string().describe("Dotted, as in `customer.email`."), message: z.string() }))
      .exactOptional()
      .describe("Every field that is wrong."),
    order: statusEvent.exactOptional(),
  })
  .meta({ id: "Problem", description: "RFC 9457 problem details." });

export const watchAnswer = z
  .union([z.object({ ok: z.literal(true), order: statusEvent }), z.object({ ok: z.literal(false), error: problem })])
  .meta({ id: "WatchAnswer" });

export const unwatchAnswer = z.object({ ok: z.boolean() }).meta({ id: "UnwatchAnswer" });

export const watchEnded = z.object({ orderId: z.string() }).meta({ id: "WatchEnded" });

export const prompts = z
  .object({
    prompts: z.array(
      z.object({
        id: z.uuid(),
        phone: z.string(),
        provider: z.string(),
        amountMinor: minor("What is asked"),
        currency,
      }),
    ),
  })
  .meta({ id: "Prompts", description: "What a sandbox phone shows, oldest first." });

export const integrity = z
  .record(z.string(), z.string().regex(/^sha384-/))
  .meta({ id: "Integrity", description: "The hash of each of the SDK's scripts." });

const tookMs = (description: string) =>
  z.number().nullable().describe(`${description}, in milliseconds. Null when there was none.`);

const call = z.object({
  count: z.int().min(0).describe("How many ended."),
  errors: z
    .int()
    .min(0)
    .describe("Those without an answer that can be used. That a payer may not be asked is an answer."),
  p50Ms: tookMs("Half of them took at most this long"),
  p99Ms: tookMs("99 in 100 of them took at most this long"),
});

export const providerList = z
  .object({
    data: z.array(
      z.object({
        name: z.string(),
        live,
        currencies: z.array(z.string()).describe("ISO 4217."),
        countries: z.array(z.string()).describe("ISO 3166-1 alpha-2."),
        token: z
          .object({ expiresAt: time("When the access token runs out") })
          .nullable()
          .describe("Null where there is no access token, or none yet."),
        calls: z
          .object({
            initiate: call.describe("Asking for the money."),
            confirm: call.describe("Asking what became of it."),
            token: call.describe("Fetching an access token."),
          })
          .describe(
            "Calls to the provider from this process, not from other nodes, that ended in the last 15 min; at most the last 1,000 of each kind.",
          ),
        succeededShare: z
          .number()
          .min(0)
          .max(1)
          .nullable()
          .describe(
            "Of the payments that were started in the last 24 h, on any node, and have settled: the share that succeeded. What a person decided counts as decided, what is still in review as not succeeded. Null when there is none.",
          ),
      }),
    ),
  })
  .meta({ id: "ProviderList" });

export const providerToken = z
  .object({ expiresAt: time("When the access token runs out").nullable() })
  .meta({ id: "AccessToken" });

const up = z.enum(["up", "down"]);

export const readiness = z
  .object({
    status: z.enum(["ok", "unavailable"]),
    postgres: up,
    bus: up,
    spool: z.enum(["up", "down", "off"]),
    draining: z.boolean(),
    detail: z
      .string()
      .optional()
      .meta({ description: "There when the schema of the database is older than this node needs." }),
  })
  .meta({ id: "Readiness", description: "What is up and what is down." });

export const alive = z.object({ status: z.literal("ok") }).meta({ id: "Liveness" });
