/** The merchant's routes. */

import { paymentBody } from "../payment/start.ts";
import { decision, orderFilter } from "../route/orders.ts";
import { orderId, paymentId, pending, processing, resolved, succeeded, watchToken as token } from "./example.ts";
import { described, merchant, type Operation, watcher } from "./operation.ts";
import { decided, orderList, orderView, startedPayment, statusEvent, watchToken } from "./shape.ts";

const start: Operation = {
  method: "POST",
  url: "/v1/payments",
  id: "startPayment",
  tag: "Payments",
  summary: "Start a payment for an order",
  description:
    "Opens the order, or tries a failed or expired one again. Order, attempt and version 1 are committed before the provider is asked, once; the answer does not wait for it.",
  openedBy: merchant,
  headers: [
    {
      name: "Idempotency-Key",
      description:
        "Quoted or bare, such as `cart-7f3a`, kept 72 h. The same key and body is answered with the current state; another body is refused.",
      schema: { type: "string", minLength: 1, maxLength: 257 },
    },
    {
      name: "Prefer",
      description: "`wait=N` (RFC 7240): answers once the provider did, or after N seconds, at most 15.",
      schema: { type: "string" },
      example: "wait=5",
    },
  ],
  body: {
    id: "PaymentRequest",
    ...described(paymentBody, {
      orderId: { description: "Your name for the order, unique." },
      amountMinor: { description: "In the currency's minor unit. Daraja takes whole shillings: multiples of 100." },
      currency: { description: "ISO 4217; one that the provider takes." },
      provider: { description: "Who is to ask the payer." },
      phone: { description: "Where the provider prompts a phone. E.164, or as dialled in the provider's own country." },
      description: { description: "Seen with the API key, and by the provider where it takes one." },
      customer: { description: "Seen with the API key only." },
      returnUrl: { description: "Where a provider that redirects the payer sends them in the end." },
      metadata: { description: "At most 50 keys and 8 KiB. Seen with the API key only." },
    }),
    examples: {
      prompt: {
        summary: "An M-Pesa prompt on a phone",
        value: { orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone: "+254712345601" },
      },
      everything: {
        summary: "With everything a merchant may note",
        value: {
          orderId: "ORD-1002",
          amountMinor: 250_000,
          currency: "KES",
          provider: "daraja",
          phone: "0712345602",
          description: "2 tickets",
          customer: { name: "Asha Njeri", email: "asha@example.com" },
          returnUrl: "https://shop.example/orders/ORD-1002",
          metadata: { seats: ["A1", "A2"] },
        },
      },
    },
  },
  answers: {
    202: {
      description: "The order as it is, and a token to watch it.",
      shapes: [startedPayment],
      example: { order: pending, ...token },
      headers: {
        "Idempotency-Replayed": {
          description: "`true` where the key was used before, with the same body.",
          schema: { type: "string", enum: ["true"] },
        },
        "Preference-Applied": {
          description: "The wait that was granted.",
          schema: { type: "string", pattern: "^wait=\\d+$" },
        },
      },
    },
  },
  problems: [
    "amount_invalid",
    "currency_invalid",
    "phone_invalid",
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "provider_unknown",
    "payment_in_progress",
    "order_paid",
    "order_in_review",
    "order_mismatch",
    "body_too_large",
    "idempotency_mismatch",
    "rate_limited",
    "internal",
    "restarting",
    "store_unavailable",
  ],
};

const read: Operation = {
  method: "GET",
  url: "/v1/orders/:orderId",
  id: "readOrder",
  tag: "Payments",
  summary: "Read an order",
  description: "With the API key everything about it; with a watch token the current state alone.",
  openedBy: watcher,
  answers: {
    200: {
      description: "`Order` with the API key, `StatusEvent` with a watch token.",
      shapes: [orderView, statusEvent],
      example: {
        order: succeeded,
        payments: [
          {
            id: paymentId,
            provider: "daraja",
            attempt: 1,
            live: true,
            status: "succeeded",
            phone: "+2547*****601",
            reference: "ws_CO_20112026205932104712345601",
            receipt: "NLJ7RT61SV",
            amountPaidMinor: 15_000,
            startedAt: succeeded.payment.startedAt,
            expiresAt: succeeded.payment.expiresAt,
          },
        ],
        events: [pending, processing, succeeded],
        description: "2 tickets",
        customer: { name: "Asha Njeri" },
        metadata: null,
      },
    },
  },
  problems: [
    "key_invalid",
    "token_invalid",
    "token_expired",
    "origin_refused",
    "order_unknown",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
};

const list: Operation = {
  method: "GET",
  url: "/v1/orders",
  id: "listOrders",
  tag: "Payments",
  summary: "List orders, or follow their changes",
  description:
    "Newest first; with `changedSince` by change, oldest first, at least once: a backend's feed. Follow `nextCursor` to its end, then ask again with the last `occurredAt`: what changed in the 10 s before comes again, so that nothing is missed.",
  openedBy: merchant,
  query: described(orderFilter, {
    status: { description: "Only orders that are this now.", example: "succeeded" },
    provider: { description: "Only orders whose state comes from this provider.", example: "daraja" },
    from: { description: "Opened at or after.", example: "2026-11-20T00:00:00Z" },
    to: { description: "Opened before.", example: "2027-11-20T00:00:00Z" },
    changedSince: { description: "Makes the list a feed of what changed since.", example: "2026-11-20T00:00:00Z" },
    cursor: { description: "The `nextCursor` of the page before." },
    limit: { description: "Orders on a page.", example: 20 },
  }),
  answers: {
    200: { description: "A page.", shapes: [orderList], example: { data: [succeeded], nextCursor: null } },
  },
  problems: ["body_invalid", "key_invalid", "origin_refused", "rate_limited", "internal", "store_unavailable"],
};

const resolve: Operation = {
  method: "POST",
  url: "/v1/orders/:orderId/resolve",
  id: "resolveReview",
  tag: "Payments",
  summary: "Decide about a payment in review",
  description:
    "`succeeded` keeps the mismatch as the order's `reason`, beside what was paid. `failed` carries the reason `rejected` and allows another try.",
  openedBy: merchant,
  body: {
    id: "Decision",
    ...described(decision, {
      paymentId: { description: "The payment in review." },
      as: { description: "What it is." },
      note: { description: "Why; kept in the order's history." },
    }),
    examples: {
      paid: {
        summary: "The money is there",
        value: { paymentId, as: "succeeded", note: "100 of 150 paid; the rest came in cash, says the shop" },
      },
    },
  },
  answers: {
    200: {
      description: "The order after the decision.",
      shapes: [decided],
      example: { order: resolved },
    },
  },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "order_unknown",
    "payment_unknown",
    "not_in_review",
    "body_too_large",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
};

const issueToken: Operation = {
  method: "POST",
  url: "/v1/orders/:orderId/watch-tokens",
  id: "issueWatchToken",
  tag: "Payments",
  summary: "Make a fresh watch token",
  description: "Has no body.",
  openedBy: merchant,
  answers: { 200: { description: "A token for this order.", shapes: [watchToken], example: token } },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "order_unknown",
    "body_too_large",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
};

export const paymentOperations: readonly Operation[] = [start, read, list, resolve, issueToken];
