/** Reading orders: the merchant's backend sees everything, a watch token the current state of its one order. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { statuses } from "../../client-sdk/protocol.ts";
import { type Access, bearerOf, credentialOf, merchantOnly } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { fieldError, HubError } from "../errors.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import type { Review } from "../order/review.ts";
import { decided, orderList, orderView, statusEvent, watchToken } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, watchProblems } from "../schema/route.ts";
import { isStorable, parseInput, readOrderId, text, wholeText } from "../validation.ts";

export interface OrderRoutesOptions {
  access: Access;
  query: OrderQuery;
  review: Review;
  tokens: WatchTokens;
}

const time = z.iso
  .datetime({ offset: true, error: "must be an ISO 8601 time such as 2026-11-20T21:00:00Z" })
  .transform((value) => new Date(value))
  .refine(isStorable, "must be a year from 1970 to 9999");

/** Which orders a list shows. */
export const orderFilter = z.strictObject({
  status: z
    .enum(statuses)
    .meta({ description: "Only orders that are this now.", examples: ["succeeded"] })
    .optional(),
  provider: text(64)
    .meta({ description: "Only orders whose state comes from this provider.", examples: ["daraja"] })
    .optional(),
  from: time.meta({ description: "Opened at or after.", examples: ["2026-11-20T00:00:00Z"] }).optional(),
  to: time.meta({ description: "Opened before.", examples: ["2027-11-20T00:00:00Z"] }).optional(),
  changedSince: time
    .meta({ description: "Makes the list a feed of what changed since.", examples: ["2026-11-20T00:00:00Z"] })
    .optional(),
  cursor: text(500).describe("The `nextCursor` of the page before.").optional(),
  limit: wholeText(1, 200, { description: "Orders on a page.", examples: [20] }).default(50),
});

/** A person's decision on a payment in review. */
export const decision = z
  .strictObject({
    paymentId: z.uuid("must be the uuid of a payment of this order").describe("The payment in review."),
    as: z.enum(["succeeded", "failed"]).describe("What it is."),
    note: text(1_000).describe("Why; kept in the order's history."),
  })
  .meta({ id: "Decision" });

const readOrder = described({
  operationId: "readOrder",
  tag: "Payments",
  summary: "Read an order",
  description: "With the API key everything about it; with a watch token the current state alone.",
  security: openedBy.watcher,
  answers: {
    200: {
      description: "`Order` with the API key, `StatusEvent` with a watch token.",
      schema: z.union([orderView, statusEvent]),
      example: example.orderView,
    },
  },
  problems: ["key_invalid", ...watchProblems],
});

const listOrders = described({
  operationId: "listOrders",
  tag: "Payments",
  summary: "List orders, or follow their changes",
  description:
    "Newest first; with `changedSince` by change, oldest first, at least once: a backend's feed. Follow `nextCursor` to its end, then ask again with the last `occurredAt`: what changed in the 10 s before comes again, so that nothing is missed.",
  security: openedBy.merchant,
  querystring: orderFilter,
  answers: {
    200: { description: "A page.", schema: orderList, example: { data: [example.succeeded], nextCursor: null } },
  },
  problems: ["body_invalid", "key_invalid", "origin_refused", "rate_limited", "internal", "store_unavailable"],
});

const resolveReview = described({
  operationId: "resolveReview",
  tag: "Payments",
  summary: "Decide about a payment in review",
  description:
    "`succeeded` keeps the mismatch as the order's `reason`, beside what was paid. `failed` carries the reason `rejected` and allows another try.",
  security: openedBy.merchant,
  body: decision,
  examples: {
    paid: {
      summary: "The money is there",
      value: {
        paymentId: example.paymentId,
        as: "succeeded",
        note: "100 of 150 paid; the rest came in cash, says the shop",
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
  summary: "Make a fresh watch token",
  description: "Has no body.",
  security: openedBy.merchant,
  answers: { 200: { description: "A token for this order.", schema: watchToken, example: example.watchToken } },
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
    const credential = credentialOf(request);
    if (credential === undefined) throw new HubError("key_invalid", "An API key or a watch token is needed");
    if (access.isMerchant(bearerOf(request))) return find(readOrderId(request.params.orderId));
    const { id, orderId } = await access.watch(credential, request.params.orderId);
    const { order } = await find(orderId);
    // The token names an order by its uuid: one of the same name in another life of the database is not it.
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
