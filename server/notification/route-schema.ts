/** The descriptions of the routes of notifications, for the API docs. */
import { z } from "zod";
import { delivery, deliveryPage, replayAnswer } from "../delivery/route-schema.ts";
import * as example from "../schema/example.ts";
import { type Described, described, openedBy, readProblems, writeProblems } from "../schema/route.ts";
import { notificationNames } from "./notification.ts";

const notification = z
  .object({
    name: z.enum(notificationNames),
    live: z
      .boolean()
      .describe(
        "Whether it is sent about live payments. Those of test payments stay in the sandbox's inbox and phone.",
      ),
    events: z.array(z.string()).describe("The types of events that it is sent for."),
    failingSince: z.iso
      .datetime()
      .exactOptional()
      .describe("The first failed attempt since the last successful one. ISO 8601, UTC."),
    reportUrl: z
      .url()
      .exactOptional()
      .describe(
        "The URL for the SMS gateway's delivery reports, to enter in its dashboard. It contains a secret: only for keys with the scope `manage`.",
      ),
  })
  .meta({ id: "Notification", description: "A message to a person about an event." });

const exampleNotification = { name: "receipt", live: true, events: ["order.succeeded"] };

const reads = { tag: "Notifications", security: openedBy.read } as const;

const manages = { tag: "Notifications", security: openedBy.manage } as const;

export const listNotifications = described({
  ...reads,
  operationId: "listNotifications",
  summary: "List the active notifications",
  answers: {
    200: {
      description: "Those that are configured. On nodes with a sandbox: all.",
      schema: z.object({ data: z.array(notification) }).meta({ id: "NotificationList" }),
      example: { data: [exampleNotification] },
    },
  },
  problems: readProblems,
});

export const listNotificationDeliveries = (querystring: z.ZodObject): Described =>
  described({
    ...reads,
    operationId: "listNotificationDeliveries",
    summary: "List a notification's deliveries",
    description:
      "The attempts of the last 30 days, newest first. With `status=pending`: what is due, the soonest first. An order about which there is nothing to send, such as a receipt without an address, has none.",
    querystring,
    answers: {
      200: {
        description: "A page.",
        schema: deliveryPage,
        example: {
          data: [
            {
              id: `${example.succeeded.id}.0.3`,
              type: "order.succeeded",
              orderId: example.orderId,
              version: 3,
              status: "delivered",
              attempt: 1,
              at: example.succeeded.occurredAt,
              durationMs: 230,
              answer: "250 2.0.0 Ok: queued",
            },
          ],
          nextCursor: null,
        },
      },
    },
    problems: ["notification_unknown", "body_invalid", ...readProblems],
  });

const exampleSms = {
  id: `${example.succeeded.id}.0.3`,
  type: "order.succeeded",
  orderId: example.orderId,
  version: 3,
  status: "delivered",
  attempt: 1,
  at: example.succeeded.occurredAt,
  durationMs: 410,
  sms: { id: example.endpointId, status: "delivered", parts: 1, reportedAt: example.succeeded.occurredAt },
};

export const listOrderNotifications = described({
  ...reads,
  operationId: "listOrderNotifications",
  summary: "What was sent about an order",
  description:
    "For each active notification. One without `latest` and `pending` has sent nothing about the order in the last 30 days.",
  answers: {
    200: {
      description: "The notifications.",
      schema: z
        .object({
          data: z.array(
            z
              .object({
                name: z.enum(notificationNames),
                latest: delivery.exactOptional().describe("The latest attempt."),
                pending: delivery.exactOptional().describe("The next attempt."),
              })
              .meta({ id: "OrderNotification", description: "What one notification has sent about one order." }),
          ),
        })
        .meta({ id: "OrderNotificationList" }),
      example: { data: [{ name: "receipt" }, { name: "sms", latest: exampleSms }] },
    },
  },
  problems: ["order_unknown", "body_invalid", ...readProblems],
});

export const testNotification = (body: z.ZodType): Described =>
  described({
    ...manages,
    operationId: "testNotification",
    summary: "Send a test mail or SMS",
    description:
      "Sends one mail or SMS now, and returns the answer of the mail server or the gateway. Without one, the message stays in the sandbox. An SMS costs money. At most 10 of each notification in a minute and node.",
    body,
    examples: { phone: { summary: "An SMS", value: { to: "+254712345678" } } },
    answers: {
      200: {
        description: "The result.",
        schema: z
          .object({
            delivered: z.boolean().describe("Whether the mail server or the gateway took it within 15 s."),
            live: z.boolean().describe("Whether it left the sandbox."),
            durationMs: z.int(),
            answer: z.string().optional().describe("The words of the mail server, or the gateway's id of the SMS."),
            error: z.string().optional(),
          })
          .meta({ id: "NotificationTestResult" }),
        example: { delivered: true, live: true, durationMs: 230, answer: "250 2.0.0 Ok: queued" },
      },
    },
    problems: ["notification_unknown", "phone_invalid", ...writeProblems],
  });

export const replayNotification = (body: z.ZodType): Described =>
  described({
    ...manages,
    operationId: "replayNotification",
    summary: "Send notifications again",
    description:
      "For one order, or for every order that changed in a time and is of a type that the notification is sent for.",
    body,
    examples: { day: { summary: "Since a time", value: { since: example.pending.openedAt } } },
    answers: {
      202: {
        description: "The number of orders that will be sent.",
        schema: replayAnswer,
        example: { count: 12 },
      },
    },
    problems: ["notification_unknown", ...writeProblems],
  });

export const sendNotification = described({
  ...manages,
  operationId: "sendNotification",
  summary: "Send a notification about an order again",
  description:
    "A new mail or SMS is sent about the order as it is now. An SMS costs money each time. `alert`: the next mail has the order, if it is in review or was paid twice.",
  answers: {
    202: {
      description: "It will be sent.",
      schema: replayAnswer,
      example: { count: 1 },
    },
  },
  problems: [
    ...(["order_unknown", "notification_unknown", "order_unpaid", "recipient_missing", "not_in_review"] as const),
    ...writeProblems,
  ],
});

const html = (description: string) => ({ description, type: "text/html" });

export const openReceipt = described({
  tag: "Pages for payers",
  security: openedBy.everyone,
  operationId: "openReceipt",
  summary: "The receipt of a paid order",
  description: "The page of the address in the receipt mail. `lang` chooses the language.",
  answers: { 200: html("The page."), 404: html("An HTML page, because no receipt has this address.") },
  problems: ["rate_limited", "internal", "store_unavailable"],
});
