/** Routes for orders. An API key reads everything, a watch token reads the current state of its order. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, credentialOf, merchantOnly } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { HubError } from "../errors.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import type { Review } from "../order/review.ts";
import { decided, orderView, statusEvent, watchToken } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { parseInput, readOrderId, text } from "../validation.ts";

export interface OrderRoutesOptions {
  access: Access;
  query: OrderQuery;
  review: Review;
  tokens: WatchTokens;
}

/** A person's decision on a payment in review. */
export const decision = z
  .strictObject({
    paymentId: z.uuid("must be the uuid of a payment of this order").describe("The payment in review."),
    as: z.enum(["succeeded", "failed"]).describe("The decision."),
    note: text(1_000).describe("The reason, stored in the order's history."),
  })
  .meta({ id: "Decision" });

const readOrder = described({
  operationId: "readOrder",
  tag: "Payments",
  summary: "Read an order",
  description: "With an API key: everything about the order. With a watch token: the current state only.",
  security: openedBy.watcher,
  answers: {
    200: {
      description: "`Order` with an API key, `StatusEvent` with a watch token.",
      schema: z.union([orderView, statusEvent]),
      example: example.orderView,
    },
  },
  problems: ["key_invalid", ...watchProblems],
});

const resolveReview = described({
  operationId: "resolveReview",
  tag: "Payments",
  summary: "Decide on a payment in review",
  description:
    "`succeeded` keeps the mismatch as the order's `reason`, with the paid amount. `failed` has the reason `rejected` and allows another attempt.",
  security: openedBy.manage,
  body: decision,
  examples: {
    paid: {
      summary: "The money is there",
      value: {
        paymentId: example.paymentId,
        as: "succeeded",
        note: "100 of 150 paid; the shop confirmed the rest in cash",
      },
    },
  },
  answers: {
    200: { description: "The order after the decision.", schema: decided, example: { order: example.resolved } },
  },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "scope_missing",
    "order_unknown",
    "payment_unknown",
    "not_in_review",
    "body_too_large",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
});

const issueWatchToken = described({
  operationId: "issueWatchToken",
  tag: "Payments",
  summary: "Issue a new watch token",
  description: "The request has no body.",
  security: openedBy.pay,
  answers: { 200: { description: "A token for this order.", schema: watchToken, example: example.watchToken } },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "scope_missing",
    "order_unknown",
    "body_too_large",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
});

type OrderParams = { Params: { orderId: string } };

export function orderRoutes(app: FastifyInstance, { access, query, review, tokens }: OrderRoutesOptions): void {
  const find = async (orderId: string): Promise<OrderView> => {
    const view = await query.find(orderId);
    if (!view) throw new HubError("order_unknown");
    return view;
  };

  const onRequest = merchantOnly(access);

  app.get<OrderParams>("/v1/orders/:orderId", readOrder, async (request) => {
    if (access.keyOf(request)) {
      access.requireKey(request, "read");
      return find(readOrderId(request.params.orderId));
    }
    const credential = credentialOf(request);
    if (credential === undefined)
      throw new HubError(
        "key_invalid",
        'An API key or a watch token is needed. Send "Authorization: Bearer <API key>"',
      );
    const { id, orderId } = await access.watch(credential, request.params.orderId);
    const { order } = await find(orderId);
    // The token is for the order's uuid. A restored database may have another order with the same name (G11).
    if (order.id !== id) throw new HubError("order_unknown");
    return order;
  });

  app.post<OrderParams>("/v1/orders/:orderId/resolve", { ...resolveReview, onRequest }, async (request) => {
    const orderId = readOrderId(request.params.orderId);
    return { order: await review.resolve({ ...parseInput(decision, request.body), orderId }) };
  });

  app.post<OrderParams>("/v1/orders/:orderId/watch-tokens", { ...issueWatchToken, onRequest }, async (request) => {
    const orderId = readOrderId(request.params.orderId);
    const id = await query.idOf(orderId);
    if (id === undefined) throw new HubError("order_unknown");
    return tokens.issue({ id, orderId });
  });
}
