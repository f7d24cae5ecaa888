/** The descriptions of the routes of notifications, for the API docs. */
import { z } from "zod";
import { deliveryPage, replayAnswer } from "../delivery/route-schema.ts";
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
      .describe("The URL for the SMS gateway's delivery reports, to enter in its dashboard. It contains a secret."),
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
  description: "A new mail or SMS is sent about the order as it is now. An SMS costs money each time.",
  answers: {
    202: {
      description: "It will be sent.",
      schema: replayAnswer,
      example: { count: 1 },
    },
  },
  problems: ["order_unknown", "notification_unknown", "order_unpaid", ...writeProblems],
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
