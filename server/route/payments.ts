/**
 * `POST /v1/payments`: opens an order or retries it. The order is committed before the provider is asked for the money, and the
 * answer does not wait for the provider, unless the client prefers it.
 */
import type { FastifyInstance } from "fastify";
import { type Access, merchantOnly } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { waitAtMost } from "../in-flight.ts";
import type { OrderStore } from "../order/store.ts";
import { paymentBody, type StartPayment } from "../payment/start.ts";
import { startedPayment } from "../schema/answer.ts";
import { orderId, pending, watchToken } from "../schema/example.ts";
import { described, idempotencyKey, idempotencyReplayed, openedBy } from "../schema/route.ts";
import { readIdempotencyKey } from "../validation.ts";

export interface PaymentRoutesOptions {
  access: Access;
  startPayment: StartPayment;
  store: Pick<OrderStore, "current">;
  tokens: WatchTokens;
}

const waitSMax = 15;

const startPaymentRoute = described({
  operationId: "startPayment",
  tag: "Payments",
  summary: "Start a payment for an order",
  description:
    "Opens the order, or retries a failed or expired one. The order, its attempt and its version are committed before the provider is asked for the money, once. The answer does not wait for the provider.",
  security: openedBy.pay,
  headers: {
    "Idempotency-Key": idempotencyKey("the current state"),
    Prefer: {
      type: "string",
      description: "`wait=N` (RFC 7240): waits for the provider's answer, for N seconds at most, up to 15.",
      examples: ["wait=5"],
    },
  },
  body: paymentBody,
  examples: {
    prompt: {
      summary: "An M-Pesa prompt on a phone",
      value: { orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone: "+254712345601" },
    },
    everything: {
      summary: "Every field",
      value: {
        orderId: "ORD-1002",
        amountMinor: 250_000,
        currency: "KES",
        provider: "daraja",
        phone: "0712345602",
        description: "2 tickets",
        customer: { id: "C-417", name: "Asha Njeri", email: "asha@example.com", phone: "0712345602" },
        items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 125_000, sku: "TICKET-A" }],
        lang: "sw",
        returnUrl: "https://shop.example/orders/ORD-1002",
        metadata: { seats: ["A1", "A2"] },
      },
    },
  },
  answers: {
    202: {
      description: "The order's current state, and a token to watch it.",
      schema: startedPayment,
      example: { order: pending, ...watchToken },
      headers: {
        "Idempotency-Replayed": idempotencyReplayed,
        "Preference-Applied": {
          type: "string",
          pattern: "^wait=\\d+$",
          description: "The wait that was granted.",
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
    "scope_missing",
    "provider_unknown",
    "payment_in_progress",
    "order_paid",
    "order_in_review",
    "order_mismatch",
    "body_too_large",
    "idempotency_mismatch",
    "rate_limited",
    "internal",
    "not_ready",
    "restarting",
    "store_unavailable",
  ],
});

export function paymentRoutes(
  app: FastifyInstance,
  { access, startPayment, store, tokens }: PaymentRoutesOptions,
): void {
  const onRequest = merchantOnly(access);

  app.post("/v1/payments", { ...startPaymentRoute, onRequest }, async (request, reply) => {
    const idempotencyKey = readIdempotencyKey(request.headers["idempotency-key"]);
    const { event, answered } = await startPayment(request.body, { idempotencyKey });
    request.subject = event.orderId;
    if (!answered) reply.header("idempotency-replayed", "true");
    const waitS = readWait(request.headers.prefer);
    if (waitS > 0) reply.header("preference-applied", `wait=${waitS}`);
    const order = answered && waitS > 0 ? await stateAfter(answered, waitS, event.id, store) : event;
    return reply.code(202).send({ order: order ?? event, ...tokens.issue(event) });
  });
}

/** The order's state once the provider has answered, or after `waitS` seconds. */
async function stateAfter(answered: Promise<void>, waitS: number, id: string, store: PaymentRoutesOptions["store"]) {
  await waitAtMost(waitS * 1_000, answered);
  // The payment is committed, so a failure to read its state must not become an error of the request.
  const [order] = await store.current([id]).catch(() => []);
  return order;
}

/** RFC 7240 `wait`, in seconds, at most 15; ignores an unreadable preference. */
function readWait(header: string | string[] | undefined): number {
  const found = /(?:^|[,;])\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:$|[,;])/i.exec(String(header ?? ""));
  return Math.min(Number(found?.[1] ?? 0), waitSMax);
}
