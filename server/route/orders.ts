/** Routes for orders. An API key reads everything, a watch token reads the current state of its order. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { statuses } from "../../client-sdk/protocol.ts";
import { type Access, credentialOf, merchantOnly } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { fieldError, HubError } from "../errors.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import type { Review } from "../order/review.ts";
import { decided, orderList, orderView, statusEvent, watchToken } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, readProblems, watchProblems } from "../schema/route.ts";
import { parseInput, readOrderId, text, timeText, wholeText } from "../validation.ts";

export interface OrderRoutesOptions {
  access: Access;
  query: OrderQuery;
  review: Review;
  tokens: WatchTokens;
}

/** The filter of a list of orders. */
export const orderFilter = z.strictObject({
  status: z
    .enum(statuses)
    .meta({ description: "Only orders with this status now.", examples: ["succeeded"] })
    .optional(),
  provider: text(64)
    .meta({ description: "Only orders whose latest state comes from this provider.", examples: ["daraja"] })
    .optional(),
  from: timeText.meta({ description: "Opened at or after.", examples: ["2026-11-20T00:00:00Z"] }).optional(),
  to: timeText.meta({ description: "Opened before.", examples: ["2027-11-20T00:00:00Z"] }).optional(),
  changedSince: timeText
    .meta({
      description: "Only orders that changed at or after this time, by time of change: a feed.",
      examples: ["2026-11-20T00:00:00Z"],
    })
    .optional(),
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 200, { description: "Orders in a page.", examples: [20] }).default(50),
});

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

const listOrders = described({
  operationId: "listOrders",
  tag: "Payments",
  summary: "List orders, or read a feed of changes",
  description:
    "Newest first. With `changedSince`, by time of change, oldest first: a feed for a backend, at least once. A page reads at most 1,000 orders, so that with filters it may have fewer than `limit`, or none, before the end. Read all pages with `nextCursor`, then continue with the last `occurredAt` as `changedSince`: the changes of the 10 s before it are repeated, so that none is missed.",
  security: openedBy.read,
  querystring: orderFilter,
  answers: {
    200: { description: "A page.", schema: orderList, example: { data: [example.succeeded], nextCursor: null } },
  },
  problems: ["body_invalid", ...readProblems],
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

  app.get("/v1/orders", { ...listOrders, onRequest }, async (request) => {
    const found = parseInput(orderFilter, request.query);
    if (found.from && found.to && found.from > found.to) throw fieldError("body_invalid", "to", "is before from");
    return query.list(found);
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
