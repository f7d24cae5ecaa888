/**
 * The schemas of answers, for the API docs. Answers have TypeScript types and are not parsed, so these schemas repeat the types.
 * test/schema/answer.test.ts does not compile if the two differ.
 */
import { z } from "zod";
import { type Reason, reasons, resultKinds, statuses } from "../../client-sdk/protocol.ts";
import { type ErrorCode, errorTable } from "../errors.ts";
import { languages, type Source, sources } from "../order/order.ts";
import { groupings } from "../order/summary.ts";
import { type WebhookResult, webhookResults } from "../order/tables.ts";

export const time = (description: string) => z.iso.datetime().describe(`${description}. ISO 8601, UTC.`);
const minor = (description: string) => z.int().min(0).describe(`${description}, in the currency's minor unit.`);
const currency = z.string().describe("ISO 4217.");
export const live = z
  .boolean()
  .describe("False for the sandbox and for a provider's own test environment, where no money moves.");

const status = z.enum(statuses).meta({
  id: "Status",
  description:
    "From lowest to highest. A payment's status only rises, except that a person may reject a payment in `review`, which is then `failed`. An order also returns to `pending` with another attempt. `succeeded` is never taken back; `review` waits for a person. New values may be added: use `settled`.",
});

const reasonMeanings: Record<Reason, string> = {
  cancelled: "the payer refused or cancelled the payment",
  insufficient_funds: "the payer's balance is too low",
  wrong_pin: "the payer entered a wrong PIN",
  declined: "the provider declined the payer",
  limit: "the payment exceeds a limit of the provider, on the amount or on an account",
  busy: "the payer's phone shows another prompt",
  provider_error: "the provider failed",
  rejected:
    "a person decided that the money was not received, or the order was paid before the payer was prompted again",
  no_response: "the payer did not answer in time, according to the provider",
  deadline: "the provider reported no outcome by `expiresAt`; the payer may still have paid",
  late: "paid after it had failed or expired",
  amount_mismatch: "the paid amount is not the agreed one, or cannot be read (`amountPaidMinor` is then absent)",
  currency_mismatch: "the paid currency is not the agreed one, or cannot be read",
  receipt_reused: "the receipt belongs to another payment",
  paid_twice: "another attempt of the order was paid too; see `alsoPaid`",
};

const reason = z.enum(reasons).meta({
  id: "Reason",
  description: `The reason for the status. New values may be added.\n\n${reasons
    .map((name) => `- \`${name}\`: ${reasonMeanings[name]}`)
    .join("\n")}`,
});

const action = z
  .discriminatedUnion("type", [
    z
      .object({ type: z.literal("prompt"), phone: z.string().describe("The phone that shows the prompt, masked.") })
      .meta({ id: "PromptAction", description: "The payer must answer the prompt on the phone." }),
    z
      .object({ type: z.literal("redirect"), url: z.string().describe("The page that the payer must open.") })
      .meta({ id: "RedirectAction", description: "The payer must open the provider's page." }),
  ])
  .meta({
    id: "Action",
    description:
      "What the payer must do while the status is `processing`. `type` tells the actions apart. New types may be added: show the status alone.",
  });

const eventPayment = z
  .object({
    id: z.uuid(),
    provider: z.string(),
    attempt: z.int().min(1).describe("1 for the order's first attempt."),
    startedAt: time("When the payment was stored"),
    expiresAt: time("When it expires without an outcome"),
    amountPaidMinor: minor("The paid amount, once known").exactOptional(),
    receipt: z.string().describe("The provider's proof of payment, once known.").exactOptional(),
    action: action.exactOptional(),
  })
  .describe("The attempt that caused this state.");

const result = z
  .object({
    id: z.string().describe("Your name for the result, unique within the order."),
    kind: z.enum(resultKinds).describe("New values may be added."),
    title: z.string(),
    code: z.string().exactOptional().describe("Present for a voucher and a ticket."),
    url: z.url().exactOptional().describe("Present for a link."),
    text: z.string().exactOptional().describe("Present for a text."),
    expiresAt: time("When the result is no longer valid").exactOptional(),
  })
  .meta({ id: "Result", description: "A voucher, ticket, link or text that the payer receives for the money." });

/** The message of every transport. */
export const statusEvent = z
  .object({
    id: z.uuid().describe("The order's uuid. Another uuid means another order, whose versions start at 1 again."),
    orderId: z.string().describe("Your name for the order."),
    epoch: z
      .int()
      .min(0)
      .exactOptional()
      .describe(
        "Grows when the database has lost commits, for example in a failover. Versions compare within one epoch.",
      ),
    version: z
      .int()
      .min(1)
      .describe("Starts at 1 and grows by one with every change. Keep the higher version, drop the others."),
    status,
    settled: z
      .boolean()
      .describe(
        "Whether the payer and the provider have nothing more to do. A late success or another attempt may still change the order. The order is paid only if `status` is `succeeded`; `review` waits for you.",
      ),
    reason: reason.exactOptional(),
    amountMinor: minor("The amount to pay"),
    currency,
    live,
    payment: eventPayment,
    alsoPaid: z.array(z.uuid()).exactOptional().describe("Other attempts of this order that were paid too."),
    results: z
      .array(result)
      .exactOptional()
      .describe("The payer's results, in the order in which they were added. Only a paid order has some."),
    openedAt: time("When the order was opened"),
    occurredAt: time("When this state began; never earlier than the previous version"),
    sentAt: time(
      "The server's time when it sent this state, for a countdown that does not depend on the device's clock. Only a watcher that asks for it with `clock` gets it, with the first state of a connection",
    ).exactOptional(),
  })
  .meta({ id: "StatusEvent", description: "The whole current state of one order, never a difference." });

const resultMeanings: Record<WebhookResult, string> = {
  applied: "it changed the payment",
  repeat: "it said nothing new",
  hint: "it proved nothing, so the provider was asked",
  unmatched: "no payment has its reference",
  nothing: "it has no outcome of a payment",
  error: "it could not be applied yet, and is tried again",
  unreadable: "it could not be read",
  refused: "its secret or signature was wrong",
};

const webhookMeanings = webhookResults.map((name) => `- \`${name}\`: ${resultMeanings[name]}`).join("\n");

const sourceMeanings: Record<Source, string> = {
  webhook: "a webhook of the provider",
  query: "the provider's answer to a query",
  clock: "the deadline",
  person: "a person's decision",
  reply: "the provider's answer to our request for the money",
  payer: "the payer's browser, after a query to the provider",
  merchant: "your backend, which added or removed a result",
};

export const pastEvent = statusEvent
  .extend({
    source: z
      .enum(sources)
      .exactOptional()
      .describe(
        `The source of the state; absent for the start of a payment.\n\n${sources
          .map((name) => `- \`${name}\`: ${sourceMeanings[name]}`)
          .join("\n")}`,
      ),
    note: z.string().exactOptional().describe("The note of a person's decision."),
  })
  .meta({ id: "PastEvent", description: "A state of the order's history." });

export const payment = z
  .object({
    ...eventPayment.shape,
    live,
    status,
    reason: reason.exactOptional(),
    phone: z.string().exactOptional().describe("Masked."),
    reference: z.string().exactOptional().describe("The provider's own id of the payment."),
    paidAt: time(
      "When the money moved: the first evidence of it, also if a person accepted the payment later",
    ).exactOptional(),
  })
  .meta({ id: "Payment", description: "One attempt to pay an order." });

const item = z
  .object({
    name: z.string(),
    quantity: z.int().min(1),
    unitAmountMinor: minor("The amount of one"),
    sku: z.string().exactOptional(),
  })
  .meta({ id: "Item" });

const written = z.record(z.string(), z.unknown()).nullable();

export const orderView = z
  .object({
    order: statusEvent,
    payments: z.array(payment),
    events: z.array(pastEvent),
    description: z.string().nullable(),
    customer: written.describe("The phone is masked."),
    metadata: written,
    items: z.array(item).nullable().describe("Null if the order was opened without items, or they are erased."),
    lang: z.enum(languages).nullable().describe("The language of messages to the payer."),
  })
  .meta({ id: "Order", description: "Everything about one order, for the merchant." });

export const orderList = z
  .object({
    data: z.array(statusEvent),
    nextCursor: z.string().nullable().describe("The `cursor` of the next page; null at the end."),
  })
  .meta({ id: "OrderList" });

export const listedPayment = payment
  .extend({
    orderId: z.string().describe("Your name for the order."),
    amountMinor: minor("The amount to pay"),
    currency,
  })
  .meta({ id: "ListedPayment", description: "One attempt, outside its order." });

export const paymentList = z
  .object({
    data: z.array(listedPayment),
    nextCursor: z.string().nullable().describe("The `cursor` of the next page; null at the end."),
  })
  .meta({ id: "PaymentList" });

export const asked = z
  .object({
    answer: z
      .object({
        status,
        reason: reason.exactOptional(),
        receipt: z.string().exactOptional(),
        reference: z.string().exactOptional(),
        amountMinor: minor("The amount that the provider states").exactOptional(),
        currency: currency.exactOptional(),
      })
      .nullable()
      .describe("What the provider said; null if it knows no outcome."),
    changed: z
      .boolean()
      .describe("Whether the answer changed the payment. A failure changes it only when a second answer confirms it."),
    payment: listedPayment,
    order: statusEvent,
  })
  .meta({ id: "Asked", description: "The provider's answer, and the state after it." });

export const summary = z
  .object({
    from: time("The beginning"),
    to: time("The end"),
    by: z.enum(groupings),
    timeZone: z.string(),
    data: z.array(
      z.object({
        day: z.iso.date().exactOptional().describe("With `by=day`: the day in `timeZone`."),
        provider: z.string().exactOptional().describe("With `by=provider`."),
        reason: z.string().nullable().exactOptional().describe("With `by=reason`: null for payments without a reason."),
        currency,
        live,
        payments: z.int().min(0),
        amountMinor: minor("The money of these payments, without those of unknown amounts"),
        unknownAmounts: z
          .int()
          .min(0)
          .describe("Payments whose amount in this currency is unknown: accepted mismatches. See their orders."),
      }),
    ),
  })
  .meta({ id: "Summary", description: "Money that moved, added up." });

export const inboxWebhook = z
  .object({
    id: z.int(),
    provider: z.string(),
    receivedAt: time("When it arrived"),
    result: z.enum(webhookResults).describe(webhookMeanings),
    proof: z
      .enum(["signature", "secret", "none"])
      .describe("Why its content is trusted. `none`: it only caused a query."),
    paymentId: z.uuid().exactOptional(),
    orderId: z.string().exactOptional(),
    error: z.string().exactOptional().describe("Why it was not applied."),
    headers: z.record(z.string(), z.string()).describe("Without credentials, and masked like the body."),
    body: z
      .string()
      .nullable()
      .describe(
        "The body, with phones, names and secrets masked. Null if it is erased, or of a form that cannot be masked.",
      ),
    bytes: z.int().min(0).describe("The size of the stored body."),
  })
  .meta({ id: "InboxWebhook", description: "A webhook as it was stored." });

export const inboxWebhookList = z
  .object({
    data: z.array(inboxWebhook),
    nextCursor: z.string().nullable().describe("The `cursor` of the next page; null at the end."),
  })
  .meta({ id: "InboxWebhookList" });

export const appliedWebhook = z
  .object({
    result: z
      .enum(["applied", "repeat", "hint", "nothing"])
      .describe("`hint`: the webhook proves nothing, so the provider is asked about the payment."),
    payment: listedPayment,
    order: statusEvent,
  })
  .meta({ id: "AppliedWebhook", description: "The effect of the webhook, and the state after it." });

export const watchToken = z
  .object({
    watchToken: z.string().describe("Allows to watch this order, and nothing else."),
    watchTokenExpiresAt: time("When it expires"),
  })
  .meta({ id: "WatchToken" });

export const startedPayment = watchToken.extend({ order: statusEvent }).meta({ id: "StartedPayment" });

export const decided = z.object({ order: statusEvent }).meta({ id: "Decided" });

export const changedResults = z.object({ order: statusEvent }).meta({ id: "ChangedResults" });

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe("For people; the text may change."),
    code: z
      .enum(Object.keys(errorTable) as [ErrorCode, ...ErrorCode[]])
      .describe("For programs; the codes are stable."),
    retryable: z.boolean().describe("Whether the same request may succeed later."),
    errors: z
      .array(z.object({ path: z.string().describe("Dotted, as in `customer.email`."), message: z.string() }))
      .exactOptional()
      .describe("Every wrong field."),
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
        amountMinor: minor("The amount to pay"),
        currency,
        merchant: z.string().describe("The name of the merchant who asks: `metadata.merchant` of the order."),
        account: z.string().describe("The payer's reference, as the provider shows it.").optional(),
        description: z.string().describe("The description of the order.").optional(),
      }),
    ),
    answersItself: z.boolean(),
    sms: z.array(
      z.object({
        id: z.uuid(),
        phone: z.string(),
        from: z.string().describe("The sender, as the phone shows it."),
        text: z.string(),
        at: time("When the phone received it"),
      }),
    ),
  })
  .meta({ id: "Prompts", description: "The prompts and the SMS on a sandbox phone, oldest first." });

export const inboxMails = z
  .object({
    mails: z.array(
      z.object({
        id: z.uuid(),
        to: z.string(),
        subject: z.string(),
        text: z.string().describe("The plain text, which states the same as the HTML."),
        html: z.string(),
        at: time("When the mail arrived"),
      }),
    ),
  })
  .meta({ id: "InboxMails", description: "The mails in the sandbox's inbox, newest first." });

export const integrity = z
  .record(z.string(), z.string().regex(/^sha384-/))
  .meta({ id: "Integrity", description: "The hashes of the SDK's scripts." });
