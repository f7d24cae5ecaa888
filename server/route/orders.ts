/** Reading orders: the merchant's backend sees everything, a watch token the current state of its one order. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { statuses } from "../../client-sdk/protocol.ts";
import { type Access, bearerOf, credentialOf } from "../auth/access.ts";
import type { WatchTokens } from "../auth/watch-token.ts";
import { fieldError, HubError } from "../errors.ts";
import type { OrderQuery, OrderView } from "../order/query.ts";
import type { Review } from "../order/review.ts";
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
  status: z.enum(statuses).optional(),
  provider: text(64).optional(),
  from: time.optional(),
  to: time.optional(),
  changedSince: time.optional(),
  cursor: text(500).optional(),
  limit: wholeText(1, 200).default(50),
});

/** A person's decision on a payment in review. */
export const decision = z.strictObject({
  paymentId: z.uuid("must be the uuid of a payment of this order"),
  as: z.enum(["succeeded", "failed"]),
  note: text(1_000),
});

type OrderParams = { Params: { orderId: string } };

export function orderRoutes(app: FastifyInstance, { access, query, review, tokens }: OrderRoutesOptions): void {
  const find = async (orderId: string): Promise<OrderView> => {
    const view = await query.find(orderId);
    if (!view) throw new HubError("order_unknown");
    return view;
  };

  app.get<OrderParams>("/v1/orders/:orderId", async (request) => {
    const credential = credentialOf(request);
    if (credential === undefined) throw new HubError("key_invalid", "An API key or a watch token is needed");
    if (access.isMerchant(bearerOf(request))) return find(readOrderId(request.params.orderId));
    const { id, orderId } = await access.watch(credential, request.params.orderId);
    const { order } = await find(orderId);
    // The token names an order by its uuid: one of the same name in another life of the database is not it.
    if (order.id !== id) throw new HubError("order_unknown");
    return order;
  });

  app.get("/v1/orders", async (request) => {
    access.requireMerchant(request);
    const found = parseInput(orderFilter, request.query);
    if (found.from && found.to && found.from > found.to) throw fieldError("body_invalid", "to", "is before from");
    return query.list(found);
  });

  app.post<OrderParams>("/v1/orders/:orderId/resolve", async (request) => {
    access.requireMerchant(request);
    const orderId = readOrderId(request.params.orderId);
    return { order: await review.resolve({ ...parseInput(decision, request.body), orderId }) };
  });

  app.post<OrderParams>("/v1/orders/:orderId/watch-tokens", async (request) => {
    access.requireMerchant(request);
    const orderId = readOrderId(request.params.orderId);
    const id = await query.idOf(orderId);
    if (id === undefined) throw new HubError("order_unknown");
    return tokens.issue({ id, orderId });
  });
}
