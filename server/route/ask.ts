/** `POST /v1/payments/:id/ask`: asks the provider about a payment now, and answers what it said. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { HubError } from "../errors.ts";
import type { Outcome } from "../order/order.ts";
import type { ListedPayment } from "../order/payment-list.ts";
import type { OrderQuery } from "../order/query.ts";
import type { OrderStore, StatusEvent } from "../order/store.ts";
import type { Ask } from "../payment/ask.ts";
import { asked } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, writeProblems } from "../schema/route.ts";
import { parseInput } from "../validation.ts";

export interface AskRoutesOptions {
  access: Access;
  query: Pick<OrderQuery, "listPayments">;
  store: Pick<OrderStore, "current">;
  ask: Ask;
}

const askRoute = described({
  operationId: "askProvider",
  tag: "Payments",
  summary: "Ask the provider about a payment now",
  description:
    "The answer counts like that of every query, so a failure must be answered twice, at least 15 s apart and 60 s after the start. It never moves money. A payment is asked about six times in a minute at most, and at the provider's pace. The request has no body.",
  security: openedBy.manage,
  answers: {
    200: {
      description: "What the provider said, and the state after it.",
      schema: asked,
      example: {
        answer: { status: "succeeded", receipt: "NLJ7RT61SV", amountMinor: 15_000, currency: "KES" },
        changed: true,
        payment: example.listedPayment,
        order: example.succeeded,
      },
    },
  },
  problems: ["payment_unknown", "not_askable", "not_ready", "provider_unavailable", ...writeProblems],
});

const paymentParams = z.object({ id: z.uuid("must be the uuid of a payment") });

export function askRoutes(app: FastifyInstance, options: AskRoutesOptions): void {
  const onRequest = merchantOnly(options.access);

  app.post<{ Params: { id: string } }>("/v1/payments/:id/ask", { ...askRoute, onRequest }, async (request) => {
    const { id } = parseInput(paymentParams, request.params);
    const { answer, isChanged, orderUuid } = await options.ask(id);
    return { answer: answer ? toView(answer) : null, changed: isChanged, ...(await stateOf(options, id, orderUuid)) };
  });
}

/** A payment and its order, as they are now. */
export async function stateOf(
  { query, store }: Pick<AskRoutesOptions, "query" | "store">,
  paymentId: string,
  orderUuid: string,
): Promise<{ payment: ListedPayment; order: StatusEvent }> {
  const [page, [order]] = await Promise.all([
    query.listPayments({ id: paymentId, limit: 1 }),
    store.current([orderUuid]),
  ]);
  const [payment] = page.data;
  if (!payment || !order) throw new HubError("payment_unknown", "There is no such payment");
  return { payment, order };
}

const toView = ({ status, reason, receipt, reference, amountMinor, currency }: Outcome) => ({
  status,
  ...(reason !== undefined && { reason }),
  ...(receipt !== undefined && { receipt }),
  ...(reference !== undefined && { reference }),
  ...(amountMinor !== undefined && { amountMinor: Number(amountMinor) }),
  ...(currency !== undefined && { currency }),
});
