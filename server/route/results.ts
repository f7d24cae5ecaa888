/** Routes for results: what the payer receives for the money. For the merchant's backend only. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type ResultKind, resultKinds } from "../../client-sdk/protocol.ts";
import { type Access, merchantOnly } from "../auth/access.ts";
import { isLoopback } from "../config/host.ts";
import { fieldError } from "../errors.ts";
import type { OrderStore } from "../order/store.ts";
import { orderIdForm, orderIdText } from "../order-id.ts";
import { changedResults } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy } from "../schema/route.ts";
import { parseInput, readOrderId, storable, text, timeText } from "../validation.ts";

export interface ResultRoutesOptions {
  access: Access;
  store: Pick<OrderStore, "putResult" | "removeResult">;
  /** Whether a link must be https even on this machine. */
  isProduction: boolean;
}

/** The field that a result of this kind must have. */
const neededField: Readonly<Record<ResultKind, "code" | "url" | "text">> = {
  voucher: "code",
  ticket: "code",
  link: "url",
  text: "text",
};

/** With two slashes, because without them a browser may read the rest as a path of its own page. */
const isWebUrl = (url: string): boolean => /^https?:\/\//i.test(url) && URL.canParse(url);

/** The body of a request to give a paid order a result. */
export const resultBody = z
  .strictObject({
    id: orderIdText.describe(
      `Your name for the result, unique within the order. The same id again replaces the result. ${orderIdForm}`,
    ),
    kind: z.enum(resultKinds).describe("A voucher and a ticket need `code`, a link `url`, and a text `text`."),
    title: text(255),
    code: text(255).describe("What the payer shows or types.").exactOptional(),
    url: z
      .string()
      .max(2_048)
      .refine((url) => storable(url) && isWebUrl(url), "must be an https URL")
      .meta({ format: "uri" })
      .describe("https. Outside production also http on the node's own machine.")
      .exactOptional(),
    text: text(8_192).exactOptional(),
    expiresAt: timeText
      .transform((at) => at.toISOString())
      .meta({ description: "When the result is no longer valid.", examples: [example.ticket.expiresAt] })
      .exactOptional(),
  })
  .superRefine((result, context) => {
    const field = neededField[result.kind];
    if (result[field] !== undefined) return;
    context.addIssue({ code: "custom", path: [field], message: `is needed for the kind ${result.kind}` });
  })
  .meta({ id: "ResultRequest" });

const problems = [
  "body_invalid",
  "key_invalid",
  "origin_refused",
  "scope_missing",
  "order_unknown",
  "body_too_large",
  "rate_limited",
  "internal",
  "store_unavailable",
] as const;

const putResult = described({
  operationId: "putResult",
  tag: "Payments",
  summary: "Give a paid order a result",
  description:
    "Every watcher receives the result at once. The same `id` again replaces the result. At most 20 results and 8 KiB, as JSON, for an order.",
  security: openedBy.pay,
  body: resultBody,
  examples: {
    ticket: { summary: "A ticket", value: example.ticket },
    voucher: {
      summary: "A voucher",
      value: { id: "voucher-1", kind: "voucher", title: "Airtime KES 100", code: "4821 9930 1177 5523" },
    },
    link: {
      summary: "A link",
      value: { id: "download", kind: "link", title: "Your book", url: "https://shop.example/books/7f3a" },
    },
    text: {
      summary: "A text",
      value: { id: "pickup", kind: "text", title: "Collect your order", text: "Counter 3, until 18:00" },
    },
  },
  answers: {
    200: {
      description: "The order has this very result: there is no new version.",
      schema: changedResults,
      example: { order: example.withTicket },
    },
    201: {
      description: "The order after the change.",
      schema: changedResults,
      example: { order: example.withTicket },
    },
  },
  problems: [...problems, "order_unpaid"],
});

const removeResult = described({
  operationId: "removeResult",
  tag: "Payments",
  summary: "Remove a result from an order",
  description: "The history keeps it, until its data is erased.",
  security: openedBy.pay,
  answers: {
    200: {
      description: "The order after the change.",
      schema: changedResults,
      example: { order: { ...example.succeeded, version: 5 } },
    },
  },
  problems: [...problems, "result_unknown"],
});

const resultParams = z.object({ resultId: orderIdText });

type OrderParams = { Params: { orderId: string } };
type ResultParams = { Params: { orderId: string; resultId: string } };

export function resultRoutes(app: FastifyInstance, { access, store, isProduction }: ResultRoutesOptions): void {
  const onRequest = merchantOnly(access);

  app.post<OrderParams>("/v1/orders/:orderId/results", { ...putResult, onRequest }, async (request, reply) => {
    const orderId = readOrderId(request.params.orderId);
    const result = parseInput(resultBody, request.body);
    requireSafe(result.url, isProduction);
    const { event, isChanged } = await store.putResult(orderId, result);
    return reply.code(isChanged ? 201 : 200).send({ order: event });
  });

  app.delete<ResultParams>(
    "/v1/orders/:orderId/results/:resultId",
    { ...removeResult, onRequest },
    async ({ params }) => {
      const orderId = readOrderId(params.orderId);
      const { resultId } = parseInput(resultParams, params);
      return { order: await store.removeResult(orderId, resultId) };
    },
  );
}

function requireSafe(url: string | undefined, isProduction: boolean): void {
  if (url === undefined) return;
  const { protocol, hostname } = new URL(url);
  const isLocal = !isProduction && isLoopback(hostname.replace(/^\[(.*)\]$/, "$1"));
  if (protocol !== "https:" && !isLocal) throw fieldError("body_invalid", "url", "must be an https URL");
}
