/** The list of orders, for the merchant. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { pagesOf, type SendCsv } from "../http/csv.ts";
import type { OrderQuery } from "../order/query.ts";
import type { Provider } from "../provider/provider.ts";
import { orderList } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, readProblems } from "../schema/route.ts";
import { parseInput, text, timeText } from "../validation.ts";
import { orderColumns } from "./csv-column.ts";
import { csvAnswer, csvFields, csvPage, listFields, pageFields, requireRanges, withPhones } from "./list-filter.ts";

export interface OrderListOptions {
  access: Access;
  query: Pick<OrderQuery, "list" | "listDetailed">;
  providers: ReadonlyMap<string, Provider>;
  sendCsv: SendCsv;
}

const { status, ...shared } = listFields("orders", "Opened");

const fields = {
  status,
  provider: text(64)
    .meta({ description: "Only orders whose latest state comes from this provider.", examples: ["daraja"] })
    .optional(),
  ...shared,
  customer: text(255)
    .meta({
      description: "The customer's `id`, or `email` in any case. Found until it is erased.",
      examples: ["C-417"],
    })
    .optional(),
  needsAttention: z
    .string()
    .refine((value) => value === "true", "must be true")
    .transform(() => true as const)
    .meta({
      type: "boolean",
      enum: [true],
      description:
        "Only orders on which a person must act: in review, paid twice, paid while another payment is in review, and paid with a mismatch that nobody has accepted.",
      examples: [true],
    })
    .optional(),
};

/** The filter of a list of orders. */
export const orderFilter = z.strictObject({
  ...fields,
  changedSince: timeText
    .meta({
      description: "Only orders that changed at or after this time, by time of change: a feed.",
      examples: ["2026-11-20T00:00:00Z"],
    })
    .optional(),
  ...pageFields("Orders"),
});

const listOrders = described({
  operationId: "listOrders",
  tag: "Payments",
  summary: "List orders, or read a feed of changes",
  description:
    "Newest first. All filters may be combined. With `paidFrom` or `paidTo` alone, by the time of the money; with `phone` or `receipt`, by the start of the payment. With `changedSince`, by time of change, oldest first: a feed for a backend, at least once. A page reads at most 1,000 orders, so that with filters it may have fewer than `limit`, or none, before the end. Read all pages with `nextCursor`, then continue with the last `occurredAt` as `changedSince`: the changes of the 10 s before it are repeated, so that none is missed.",
  security: openedBy.read,
  querystring: orderFilter,
  answers: {
    200: { description: "A page.", schema: orderList, example: { data: [example.succeeded], nextCursor: null } },
  },
  problems: ["body_invalid", "phone_invalid", ...readProblems],
});

const csvFilter = z.strictObject({ ...fields, ...csvFields });

const exportOrders = described({
  operationId: "exportOrders",
  tag: "Payments",
  summary: "List all orders in CSV",
  description: "The filters of `GET /v1/orders`. One line for each order, with the payment that its state comes from.",
  security: openedBy.read,
  querystring: csvFilter,
  answers: { 200: csvAnswer },
  problems: ["body_invalid", "phone_invalid", ...readProblems],
});

export function orderListRoutes(app: FastifyInstance, { access, query, providers, sendCsv }: OrderListOptions): void {
  const onRequest = merchantOnly(access);

  app.get("/v1/orders", { ...listOrders, onRequest }, async (request) => {
    const filter = parseInput(orderFilter, request.query);
    requireRanges(filter);
    return query.list(withPhones(filter, providers));
  });

  app.get("/v1/orders.csv", { exposeHeadRoute: false, ...exportOrders, onRequest }, async (request, reply) => {
    const { timeZone, ...filter } = parseInput(csvFilter, request.query);
    requireRanges(filter);
    const found = { ...withPhones(filter, providers), limit: csvPage };
    const pages = pagesOf((cursor) => query.listDetailed({ ...found, cursor }));
    return sendCsv(reply, { name: "orders", columns: orderColumns(timeZone), pages });
  });
}
