/** The descriptions of the routes of payment links, for the API docs. */
import { z } from "zod";
import { languages } from "../order/order.ts";
import { orderView, time } from "../schema/answer.ts";
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
import { linkBody } from "./draft.ts";
import { linkStatuses } from "./row.ts";

const minor = (description: string) => z.int().min(1).describe(`${description}, in the currency's minor unit.`);
const written = z.record(z.string(), z.unknown());

export const paymentLink = z
  .object({
    id: z.uuid(),
    orderId: z.string().describe("The id of its order; a reusable link's orders are `<orderId>-<n>`."),
    version: z.int().min(1).describe("Starts at 1 and grows by one with every change of the status."),
    status: z
      .enum(linkStatuses)
      .describe(
        "Only an `open` link starts payments. A link becomes `paid` when its order succeeds, also after it was `cancelled` or has `expired`.",
      ),
    url: z
      .url()
      .describe("The address of its page. Absent if this node cannot decrypt it, because a `TUKIO_SECRET` is missing.")
      .exactOptional(),
    amountMinor: minor("Absent if the payer enters the amount").exactOptional(),
    currency: z.string().describe("ISO 4217."),
    description: z.string().exactOptional(),
    items: orderView.shape.items.unwrap().exactOptional(),
    customer: written.describe("The phone is masked.").exactOptional(),
    metadata: written.exactOptional(),
    providers: z.array(z.string()).describe("Absent: all that take the currency and the amount.").exactOptional(),
    returnUrl: z.string().exactOptional(),
    lang: z.enum(languages).exactOptional(),
    reusable: z
      .object({ minMinor: minor("The least amount").exactOptional(), maxMinor: minor("The most").exactOptional() })
      .describe("Present if the link takes many payments.")
      .exactOptional(),
    expiresAt: time("When it expires").exactOptional(),
    dueAt: time("When the money is due, for your own use").exactOptional(),
    createdAt: time("When it was created"),
    changedAt: time("When its status changed last"),
  })
  .meta({ id: "PaymentLink", description: "A page on which a payer pays an order." });

const onePaymentLink = z.object({ paymentLink }).meta({ id: "PaymentLinkAnswer" });

const exampleLink = {
  id: example.paymentLinkId,
  orderId: "INV-7",
  version: 1,
  status: "open",
  url: "https://pay.example.com/pay/Zk3vQ0m9sT2xW8bN5rLcYh1D",
  amountMinor: 15_000,
  currency: "KES",
  description: "2 tickets",
  createdAt: example.pending.openedAt,
  changedAt: example.pending.openedAt,
} as const;

const reads = { tag: "Payment links", security: openedBy.read } as const;

const pays = { tag: "Payment links", security: openedBy.pay } as const;

const answer = { description: "The link.", schema: onePaymentLink, example: { paymentLink: exampleLink } };

export const createPaymentLink = described({
  ...pays,
  operationId: "createPaymentLink",
  summary: "Create a payment link",
  description:
    "No order exists until a payer acts on the link's page. The order id then belongs to the link: no other call opens or retries that order.",
  headers: { "Idempotency-Key": idempotencyKey("the same link") },
  body: linkBody,
  examples: {
    invoice: {
      summary: "One payment",
      value: { orderId: "INV-7", amountMinor: 15_000, currency: "KES", description: "2 tickets" },
    },
    counter: {
      summary: "A QR code at a counter: many payments, of an amount that the payer enters",
      value: { orderId: "COUNTER-1", currency: "KES", reusable: { minMinor: 1_000, maxMinor: 5_000_000 } },
    },
  },
  answers: {
    201: {
      ...answer,
      headers: { "Idempotency-Replayed": idempotencyReplayed },
    },
  },
  problems: [
    "amount_invalid",
    "currency_invalid",
    "provider_unknown",
    "order_mismatch",
    "idempotency_mismatch",
    ...writeProblems,
  ],
});

export const listPaymentLinks = (querystring: z.ZodObject): Described =>
  described({
    ...reads,
    operationId: "listPaymentLinks",
    summary: "List payment links",
    description: "Newest first. With `status`, a page may have fewer links than `limit` before the end.",
    querystring,
    answers: {
      200: {
        description: "A page.",
        schema: z
          .object({ data: z.array(paymentLink), nextCursor: z.string().nullable() })
          .meta({ id: "PaymentLinkPage" }),
        example: { data: [exampleLink], nextCursor: null },
      },
    },
    problems: ["body_invalid", ...readProblems],
  });

export const readPaymentLink = described({
  ...reads,
  operationId: "readPaymentLink",
  summary: "Read a payment link",
  answers: { 200: answer },
  problems: ["payment_link_unknown", ...readProblems],
});

export const cancelPaymentLink = described({
  ...pays,
  operationId: "cancelPaymentLink",
  summary: "Cancel a payment link",
  description:
    "Its page starts no payment any more. A payment that is in progress goes on; if it succeeds, the link is `paid`. Cancelling it again changes nothing.",
  answers: { 200: { ...answer, example: { paymentLink: { ...exampleLink, version: 2, status: "cancelled" } } } },
  problems: ["payment_link_unknown", "payment_link_closed", ...writeProblems],
});

const qr = (operationId: string, type: string): Described =>
  described({
    ...reads,
    operationId,
    summary: `Read the QR code of a payment link's page (${type})`,
    answers: { 200: { description: "The QR code of `url`.", type } },
    problems: ["payment_link_unknown", "not_ready", ...readProblems],
  });

export const readQrSvg = qr("readPaymentLinkQrSvg", "image/svg+xml");
export const readQrPng = qr("readPaymentLinkQrPng", "image/png");
