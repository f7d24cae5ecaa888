/** The inbox of webhooks for the merchant, and the payments that a person assigns. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import type { OrderQuery } from "../order/query.ts";
import type { OrderStore } from "../order/store.ts";
import { webhookResults } from "../order/tables.ts";
import { appliedWebhook, inboxWebhookList } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, readProblems, writeProblems } from "../schema/route.ts";
import { parseInput, text } from "../validation.ts";
import type { Assign } from "../webhook/assign.ts";
import type { WebhookFilter, WebhookPage } from "../webhook/history.ts";
import { stateOf } from "./ask.ts";
import { pageFields } from "./list-filter.ts";

export interface InboxRoutesOptions {
  access: Access;
  query: Pick<OrderQuery, "listPayments">;
  store: Pick<OrderStore, "current">;
  listWebhooks: (filter: WebhookFilter) => Promise<WebhookPage>;
  assign: Assign;
  /** Asks the provider of a due payment. Never rejects. */
  check: (paymentId: string) => Promise<unknown>;
}

export const webhookFilter = z.strictObject({
  result: z
    .enum(webhookResults)
    .meta({ description: "Only webhooks with this result.", examples: ["unmatched"] })
    .optional(),
  provider: text(64)
    .meta({ description: "Only webhooks of this provider.", examples: ["lipana"] })
    .optional(),
  paymentId: z
    .uuid("must be the uuid of a payment")
    .meta({ description: "Only webhooks about this payment.", examples: [example.paymentId] })
    .optional(),
  ...pageFields("Webhooks"),
});

const listRoute = described({
  operationId: "listWebhooks",
  tag: "Payments",
  summary: "List the webhooks of providers",
  description:
    "Newest first, with phones, names and secrets masked. A page reads at most 1,000 webhooks, so that with filters it may have fewer than `limit`, or none, before the end. Contents are erased after 90 days, refused webhooks after 7 days.",
  security: openedBy.read,
  querystring: webhookFilter,
  answers: {
    200: {
      description: "A page.",
      schema: inboxWebhookList,
      example: { data: [example.inboxWebhook], nextCursor: null },
    },
  },
  problems: ["body_invalid", ...readProblems],
});

export const assignment = z
  .strictObject({
    paymentId: z.uuid("must be the uuid of a payment").describe("The payment that the webhook is about."),
  })
  .meta({ id: "Assignment" });

const applyRoute = described({
  operationId: "applyWebhook",
  tag: "Payments",
  summary: "Apply an unmatched webhook to a payment",
  description:
    "You state that the webhook belongs to the payment. It then counts as if it had named the payment: its amount, currency and receipt are compared as those of every webhook. One that proves nothing makes the node ask the provider.",
  security: openedBy.manage,
  body: assignment,
  examples: { payment: { summary: "The payment", value: { paymentId: example.paymentId } } },
  answers: {
    200: {
      description: "The effect, and the state after it.",
      schema: appliedWebhook,
      example: { result: "applied", payment: example.listedPayment, order: example.succeeded },
    },
  },
  problems: ["payment_unknown", "webhook_unknown", "webhook_settled", "provider_unknown", ...writeProblems],
});

const webhookParams = z.object({
  id: z
    .string()
    .regex(/^\d{1,15}$/, "must be the id of a webhook")
    .transform(Number),
});

export function inboxRoutes(app: FastifyInstance, options: InboxRoutesOptions): void {
  const { access, listWebhooks, assign, check } = options;
  const onRequest = merchantOnly(access);

  app.get("/v1/webhooks", { ...listRoute, onRequest }, async (request) =>
    listWebhooks(parseInput(webhookFilter, request.query)),
  );

  app.post<{ Params: { id: string } }>("/v1/webhooks/:id/apply", { ...applyRoute, onRequest }, async (request) => {
    const { id } = parseInput(webhookParams, request.params);
    const { paymentId } = parseInput(assignment, request.body);
    const { result, orderUuid } = await assign(id, paymentId);
    // Not awaited: the payment is due, and its provider may be slow.
    if (result === "hint") void check(paymentId);
    return { result, ...(await stateOf(options, paymentId, orderUuid)) };
  });
}
