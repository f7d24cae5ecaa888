/** The descriptions of the routes of endpoints and events, for the API docs. */
import { z } from "zod";
import { orderView, pastEvent } from "../schema/answer.ts";
import * as example from "../schema/example.ts";
import { type Described, described, openedBy, readProblems, writeProblems } from "../schema/route.ts";
import { deliveryStatuses, smsStatuses } from "./history.ts";
import { eventTypes } from "./subject.ts";

const time = (description: string) => z.iso.datetime().describe(`${description}. ISO 8601, UTC.`);

const endpoint = z
  .object({
    id: z.uuid(),
    url: z.string(),
    description: z.string().exactOptional(),
    events: z.array(z.string()).nullable().describe("Null: all types but `order.pending` and `order.processing`."),
    enabled: z.boolean(),
    disabledBecause: z
      .enum(["merchant", "gone", "failing", "environment"])
      .exactOptional()
      .describe(
        "`gone`: it answered 410. `failing`: no success for five days. `environment`: `ENDPOINT_URL` is not set.",
      ),
    version: z.int().min(1).describe("Grows with every change of the endpoint."),
    failingSince: time("The first failed attempt since the last successful one").exactOptional(),
    createdAt: time("When it was created"),
    changedAt: time("When it was changed last"),
  })
  .meta({ id: "Endpoint", description: "A URL of your backend that receives events." });

const oneEndpoint = z.object({ endpoint }).meta({ id: "EndpointAnswer" });

const endpointWithSecret = oneEndpoint
  .extend({ secret: z.string().describe("`whsec_…`, for the library of Standard Webhooks. Shown only here.") })
  .meta({ id: "EndpointWithSecret" });

const sentSms = z
  .object({
    id: z.uuid().describe("Of the text: the `id` in the request to a gateway of your own."),
    status: z
      .enum(smsStatuses)
      .describe(
        "`accepted`: the gateway took it. `delivered`, `failed`: as the gateway reported. `unknown`: its answer was lost.",
      ),
    parts: z.int().exactOptional().describe("The messages that the gateway charges."),
    reportedAt: time("When the gateway reported the status").exactOptional(),
  })
  .meta({ id: "SentSms", description: "What became of an SMS that the attempt sent." });

export const delivery = z
  .object({
    id: z.string().describe("The `webhook-id`: `<uuid of the order>.<epoch>.<version>`."),
    type: z.string().exactOptional().describe("Absent if it was never sent."),
    orderId: z.string().exactOptional(),
    version: z.int(),
    status: z
      .enum(deliveryStatuses)
      .describe(
        "`pending`: due, or exhausted if it has no `nextAttemptAt`. `superseded`: a newer version replaced it.",
      ),
    attempt: z
      .int()
      .exactOptional()
      .describe("1 for the first attempt. Of a pending delivery: the failed attempts so far."),
    at: time("When the attempt ended").exactOptional(),
    nextAttemptAt: time("When the next attempt is due").exactOptional(),
    httpStatus: z.int().exactOptional(),
    durationMs: z.int().exactOptional(),
    answer: z.string().exactOptional().describe("The first 1 KiB of the answer."),
    error: z.string().exactOptional(),
    sms: sentSms.exactOptional(),
  })
  .meta({ id: "Delivery" });

const page = <T extends z.ZodType>(id: string, item: T) =>
  z.object({ data: z.array(item), nextCursor: z.string().nullable() }).meta({ id });

export const deliveryPage = page("DeliveryPage", delivery);

export const replayAnswer = z.object({ count: z.int().min(0) }).meta({ id: "ReplayAnswer" });

const written = z.record(z.string(), z.unknown());

/** The order of a message. Fields without a value are left out. */
const merchantOrder = pastEvent
  .extend({
    description: z.string().exactOptional(),
    customer: written.exactOptional(),
    metadata: written.exactOptional(),
    items: orderView.shape.items.unwrap().exactOptional(),
    lang: orderView.shape.lang.unwrap().exactOptional(),
  })
  .meta({ id: "MerchantOrder", description: "A state of an order with what only its merchant may see." });

const message = z
  .object({
    id: z.string().describe("The `webhook-id`."),
    type: z.enum(eventTypes),
    timestamp: time("When the state began"),
    data: z.object({ order: merchantOrder }),
  })
  .meta({ id: "Event", description: "One version of one order, as the merchant sees it." });

const exampleEndpoint = {
  id: example.endpointId,
  url: "https://shop.example.com/hooks/tukio",
  events: null,
  enabled: true,
  version: 1,
  createdAt: example.pending.openedAt,
  changedAt: example.pending.openedAt,
};

const secret = "whsec_bm90IGEgc2VjcmV0LCBvbmx5IGFuIGV4YW1wbGU=";

const exampleMessage = {
  id: `${example.succeeded.id}.0.3`,
  type: "order.succeeded",
  timestamp: example.succeeded.occurredAt,
  data: { order: example.succeeded },
};

const reads = { tag: "Events", security: openedBy.read } as const;

const manages = { tag: "Events", security: openedBy.manage } as const;

export const createEndpoint = (body: z.ZodType): Described =>
  described({
    ...manages,
    operationId: "createEndpoint",
    summary: "Create an endpoint",
    description:
      "It receives a signed message for every change of an order from now on, at least once. The answer has the secret that verifies the signatures.",
    body,
    examples: { shop: { summary: "All events", value: { url: exampleEndpoint.url } } },
    answers: {
      201: {
        description: "The endpoint and its secret.",
        schema: endpointWithSecret,
        example: { endpoint: exampleEndpoint, secret },
      },
    },
    problems: ["endpoint_limit", ...writeProblems],
  });

export const listEndpoints = described({
  ...reads,
  operationId: "listEndpoints",
  summary: "List the endpoints",
  answers: {
    200: {
      description: "All endpoints, the oldest first.",
      schema: z.object({ data: z.array(endpoint) }).meta({ id: "EndpointList" }),
      example: { data: [exampleEndpoint] },
    },
  },
  problems: readProblems,
});

const endpointAnswer = { description: "The endpoint.", schema: oneEndpoint, example: { endpoint: exampleEndpoint } };

export const readEndpoint = described({
  ...reads,
  operationId: "readEndpoint",
  summary: "Read an endpoint",
  answers: { 200: endpointAnswer },
  problems: ["endpoint_unknown", ...readProblems],
});

export const changeEndpoint = (body: z.ZodType): Described =>
  described({
    ...manages,
    operationId: "changeEndpoint",
    summary: "Change, disable or enable an endpoint",
    description: "While it is disabled, what is due stays due. Enabling it sends that, also what had no attempts left.",
    body,
    examples: { enable: { summary: "Enable it", value: { enabled: true } } },
    answers: { 200: endpointAnswer },
    problems: ["endpoint_unknown", ...writeProblems],
  });

export const deleteEndpoint = described({
  ...manages,
  operationId: "deleteEndpoint",
  summary: "Delete an endpoint with its history",
  answers: { 204: { description: "It is deleted." } },
  problems: ["endpoint_unknown", ...writeProblems],
});

export const rotateSecret = described({
  ...manages,
  operationId: "rotateSecret",
  summary: "Replace the secret",
  description: "The old secret signs too for 24 hours. The secret of `ENDPOINT_URL` is changed in `ENDPOINT_SECRET`.",
  answers: {
    200: {
      description: "The endpoint and its new secret.",
      schema: endpointWithSecret,
      example: { endpoint: exampleEndpoint, secret },
    },
  },
  problems: ["endpoint_unknown", "secret_configured", ...writeProblems],
});

export const pingEndpoint = described({
  ...manages,
  operationId: "pingEndpoint",
  summary: "Send a test message",
  description: "Sends a message of type `ping` now, also to a disabled endpoint, and returns the answer.",
  answers: {
    200: {
      description: "The result.",
      schema: z
        .object({
          delivered: z.boolean().describe("Whether the answer was 2xx within 15 s."),
          httpStatus: z.int().optional(),
          durationMs: z.int(),
          answer: z.string().optional().describe("The first 1 KiB of the answer."),
          error: z.string().optional(),
        })
        .meta({ id: "Ping" }),
      example: { delivered: true, httpStatus: 200, durationMs: 42, answer: "ok" },
    },
  },
  problems: ["endpoint_unknown", "secret_unreadable", ...writeProblems],
});

export const listDeliveries = (querystring: z.ZodObject): Described =>
  described({
    ...reads,
    operationId: "listDeliveries",
    summary: "List an endpoint's deliveries",
    description:
      "The attempts of the last 30 days, newest first. With `status=pending`: what is due, the soonest first.",
    querystring,
    answers: {
      200: {
        description: "A page.",
        schema: deliveryPage,
        example: {
          data: [
            {
              id: exampleMessage.id,
              type: exampleMessage.type,
              orderId: example.orderId,
              version: 3,
              status: "delivered",
              attempt: 1,
              at: example.succeeded.occurredAt,
              httpStatus: 200,
              durationMs: 42,
              answer: "ok",
            },
          ],
          nextCursor: null,
        },
      },
    },
    problems: ["endpoint_unknown", "body_invalid", ...readProblems],
  });

export const replayEndpoint = (body: z.ZodType): Described =>
  described({
    ...manages,
    operationId: "replayEndpoint",
    summary: "Send current states again",
    description:
      "Sends the current state of one order, or of every order that changed in a time, as `order.<status>`, if the endpoint receives that type.",
    body,
    examples: {
      day: { summary: "Since a time", value: { since: example.pending.openedAt } },
      one: { summary: "One order", value: { orderId: example.orderId } },
    },
    answers: {
      202: {
        description: "The number of orders that will be sent.",
        schema: replayAnswer,
        example: { count: 12 },
      },
    },
    problems: ["endpoint_unknown", ...writeProblems],
  });

export const readEvents = (querystring: z.ZodObject): Described =>
  described({
    ...reads,
    operationId: "readEvents",
    summary: "Read the history of events, or follow it",
    description:
      "Every version of every order, oldest first, at least once. Read pages with `nextCursor`, which is null at the end; later continue with `endCursor`. With `Accept: text/event-stream`: a live stream of all orders, from `Last-Event-ID`, `cursor` or `since` on, else from now on. The `data` of its messages are entries as in a page, its `id` is a cursor.",
    querystring,
    headers: {
      "Last-Event-ID": { type: "string", description: "The `id` of the last event of a stream that is continued." },
    },
    answers: {
      200: {
        description: "A page.",
        schema: page("EventPage", message).extend({
          endCursor: z.string().describe("The place after this page, to continue later."),
        }),
        example: { data: [exampleMessage], nextCursor: null, endCursor: "WyI3NTA6NzUwOiJd" },
      },
    },
    problems: ["body_invalid", ...readProblems],
  });
