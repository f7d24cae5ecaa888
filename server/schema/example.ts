/** The order of all examples in the API docs: opened, prompted, paid. The tests send the requests and check the answers' schemas. */
import type { Result, StatusEvent } from "../../client-sdk/protocol.ts";

export const orderId = "ORD-1001";

const opened = "2026-11-20T20:59:31.000Z";

/** The payment of the order, also in the examples of a person's decision. */
export const paymentId = "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52";

export const paymentLinkId = "0199f2c4-8f20-7a61-8b3d-4c9e1a7b5d02";

export const keyId = "0199f2c4-a0b1-7d22-8c4e-5f6a7b8c9d0e";

export const endpointId = "0199f2c4-9a10-7c55-9d1e-6a2b8f0c4e71";

const attempt = {
  id: paymentId,
  provider: "daraja",
  attempt: 1,
  startedAt: opened,
  expiresAt: "2026-11-20T21:01:31.000Z",
};

const action = { type: "prompt", phone: "+2547*****601" } as const;

export const pending: StatusEvent = {
  id: "0199f2c4-7c1d-7a40-8b6f-51c0e7d9a318",
  orderId,
  epoch: 0,
  version: 1,
  status: "pending",
  settled: false,
  amountMinor: 15_000,
  currency: "KES",
  live: true,
  payment: attempt,
  openedAt: opened,
  occurredAt: opened,
};

export const processing: StatusEvent = {
  ...pending,
  version: 2,
  status: "processing",
  payment: { ...attempt, action },
  occurredAt: "2026-11-20T20:59:32.204Z",
};

export const succeeded: StatusEvent = {
  ...pending,
  version: 3,
  status: "succeeded",
  settled: true,
  payment: { ...attempt, amountPaidMinor: 15_000, receipt: "NLJ7RT61SV" },
  occurredAt: "2026-11-20T21:00:00.123Z",
};

/** A mail in the sandbox's inbox. */
export const mail = {
  id: "0199f2c4-a3b2-7d11-8c4e-7f1a2b3c4d5e",
  to: "amina@example.com",
  subject: "[Test] Receipt from Shop: KES 150.00",
  text: "Test payment – no money moves\n\nKES 150.00\n…",
  html: "<!doctype html>…",
  at: "2026-11-20T21:00:01.402Z",
};

export const inReview: StatusEvent = {
  ...succeeded,
  status: "review",
  reason: "amount_mismatch",
  payment: { ...succeeded.payment, amountPaidMinor: 10_000 },
};

/** The state after a person's decision. */
export const resolved: StatusEvent = {
  ...succeeded,
  version: 4,
  reason: "amount_mismatch",
  payment: inReview.payment,
  occurredAt: "2026-11-20T21:14:05.770Z",
};

export const ticket: Result = {
  id: "seat-A1",
  kind: "ticket",
  title: "Seat A1, 20 November",
  code: "TUK-7F3A-91C2",
  url: "https://shop.example/tickets/7f3a",
  expiresAt: "2026-11-21T00:00:00.000Z",
};

/** The state after the shop has added a result. */
export const withTicket: StatusEvent = {
  ...succeeded,
  version: 4,
  results: [ticket],
  occurredAt: "2026-11-20T21:00:01.310Z",
};

export const watchToken = {
  watchToken: "eyJhbGciOiJIUzI1NiJ9.eyJvcmRlciI6Ik9SRC0xMDAxIn0.c2lnbmF0dXJl",
  watchTokenExpiresAt: "2026-11-21T20:59:31.000Z",
};

export const prompt = {
  id: "5c0f7a52-6b0e-4f0b-9c58-0a4b0f5e9d11",
  phone: "+254712345600",
  provider: "daraja",
  amountMinor: 15_000,
  currency: "KES",
  merchant: "Sandbox Merchant",
  account: orderId,
  description: "2 tickets",
};

/** The payment as the merchant reads it. */
const paid = {
  id: paymentId,
  provider: "daraja",
  attempt: 1,
  live: true,
  status: "succeeded",
  phone: "+2547*****601",
  reference: "ws_CO_20112026205932104712345601",
  receipt: "NLJ7RT61SV",
  amountPaidMinor: 15_000,
  paidAt: succeeded.occurredAt,
  startedAt: succeeded.payment.startedAt,
  expiresAt: succeeded.payment.expiresAt,
};

export const listedPayment = { ...paid, orderId, amountMinor: 15_000, currency: "KES" };

/** A webhook whose payment is not known. */
export const inboxWebhook = {
  id: 4711,
  provider: "lipana",
  receivedAt: "2026-11-20T21:00:00.101Z",
  result: "unmatched",
  proof: "signature",
  headers: { "content-type": "application/json" },
  body: '{"event":"transaction.success","transaction_id":"TXN1735725600ABC","phone":"+2547*****678","amount":100}',
  bytes: 312,
};

/** The order as the merchant reads it. */
export const orderView = {
  order: succeeded,
  payments: [paid],
  events: [pending, processing, succeeded],
  description: "2 tickets",
  customer: { name: "Asha Njeri", phone: "+2547*****601" },
  metadata: null,
  items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500 }],
  lang: "sw",
};

export const sms = {
  id: "0c2d9a53-6b0f-4b52-9d36-0f0c7a0c4a11",
  phone: "+254712345601",
  from: "AFRICASTKNG",
  text: "KES 150.00 paid to pay.example. M-Pesa receipt NLJ7RT61SV. Code: TUK-7F3A-91C2",
  at: "2026-11-20T21:14:06.120Z",
};
