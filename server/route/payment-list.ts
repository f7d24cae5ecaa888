/** The list of payments, for the merchant. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { pagesOf, type SendCsv } from "../http/csv.ts";
import type { OrderQuery } from "../order/query.ts";
import { orderIdText } from "../order-id.ts";
import type { Provider } from "../provider/provider.ts";
import { paymentList } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, readProblems } from "../schema/route.ts";
import { parseInput, text } from "../validation.ts";
import { paymentColumns } from "./csv-column.ts";
import { csvAnswer, csvFields, csvPage, listFields, pageFields, requireRanges, withPhones } from "./list-filter.ts";

export interface PaymentListOptions {
  access: Access;
  query: Pick<OrderQuery, "listPayments">;
  providers: ReadonlyMap<string, Provider>;
  sendCsv: SendCsv;
}

const { status, ...shared } = listFields("payments", "Started");

const fields = {
  status,
  provider: text(64)
    .meta({ description: "Only payments with this provider.", examples: ["daraja"] })
    .optional(),
  orderId: orderIdText.meta({ description: "Only payments of this order.", examples: [example.orderId] }).optional(),
  ...shared,
  reference: text(255)
    .meta({ description: "The provider's own id of the payment.", examples: ["ws_CO_191220191020363925"] })
    .optional(),
};

/** The filter of a list of payments. */
export const paymentFilter = z.strictObject({ ...fields, ...pageFields("Payments") });

const listPayments = described({
  operationId: "listPayments",
  tag: "Payments",
  summary: "List payments",
  description:
    "Every attempt to pay an order, newest first; with `paidFrom` or `paidTo` alone, by the time of the money. All filters may be combined. A page reads at most 1,000 payments, so that with filters it may have fewer than `limit`, or none, before the end.",
  security: openedBy.read,
  querystring: paymentFilter,
  answers: {
    200: {
      description: "A page.",
      schema: paymentList,
      example: { data: [example.listedPayment], nextCursor: null },
    },
  },
  problems: ["body_invalid", "phone_invalid", ...readProblems],
});

const csvFilter = z.strictObject({ ...fields, ...csvFields });

const exportPayments = described({
  operationId: "exportPayments",
  tag: "Payments",
  summary: "List all payments in CSV",
  description: "The filters of `GET /v1/payments`. One line for each payment.",
  security: openedBy.read,
  querystring: csvFilter,
  answers: { 200: csvAnswer },
  problems: ["body_invalid", "phone_invalid", ...readProblems],
});

export function paymentListRoutes(
  app: FastifyInstance,
  { access, query, providers, sendCsv }: PaymentListOptions,
): void {
  const onRequest = merchantOnly(access);

  app.get("/v1/payments", { ...listPayments, onRequest }, async (request) => {
    const filter = parseInput(paymentFilter, request.query);
    requireRanges(filter);
    return query.listPayments(withPhones(filter, providers));
  });

  app.get("/v1/payments.csv", { exposeHeadRoute: false, ...exportPayments, onRequest }, async (request, reply) => {
    const { timeZone, ...filter } = parseInput(csvFilter, request.query);
    requireRanges(filter);
    const found = { ...withPhones(filter, providers), limit: csvPage };
    const pages = pagesOf((cursor) => query.listPayments({ ...found, cursor }));
    return sendCsv(reply, { name: "payments", columns: paymentColumns(timeZone), pages });
  });
}
