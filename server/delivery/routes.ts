/** Routes for the merchant's endpoints. An endpoint's secret is shown when it is created or replaced, and never again. */
import type { FastifyInstance } from "fastify";
import { z } from "zod";
import { statuses } from "../../client-sdk/protocol.ts";
import { type Access, merchantOnly } from "../auth/access.ts";
import { fieldError, HubError } from "../errors.ts";
import { parseInput, text, timeText, wholeText } from "../validation.ts";
import { refusalOf } from "./address.ts";
import type { Delivery } from "./delivery.ts";
import { eventRoutes } from "./event-routes.ts";
import { deliveryStatuses, listDeliveries } from "./history.ts";
import { type Replay, replay } from "./replay.ts";
import * as route from "./route-schema.ts";
import { eventTypes } from "./subject.ts";

export interface DeliveryRoutesOptions {
  access: Access;
  delivery: Delivery;
}

const events = z
  .array(z.enum(eventTypes))
  .min(1)
  .max(eventTypes.length)
  .nullable()
  .meta({ description: "The types to send. Null or absent: all but `order.pending` and `order.processing`." });

const draft = z
  .strictObject({
    url: text(2_000).describe("An https URL. Outside production also http on this machine."),
    events: events.optional(),
    description: text(500).nullable().optional(),
  })
  .meta({ id: "EndpointDraft" });

const change = draft
  .partial()
  .extend({ enabled: z.boolean().optional().describe("True resumes what is due, also after the last attempt.") })
  .meta({ id: "EndpointChange" });

export const replayBody = z
  .strictObject({
    since: timeText.optional().describe("Orders that changed at this time or later. Required without `orderId`."),
    until: timeText.optional().describe("Orders that changed before this time."),
    orderId: text(64).optional().describe("This order; without `since`, whenever it changed."),
    status: z.enum(statuses).optional().describe("Orders with this status now."),
  })
  .meta({ id: "Replay" });

export const deliveryFilter = z.strictObject({
  status: z.enum(deliveryStatuses).optional(),
  orderId: text(64).optional(),
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 200, { description: "Entries in a page.", examples: [20] }).default(50),
});

/** Throws `body_invalid`, naming the field that is missing or wrong. */
export function replayOf({ since, until, orderId, status }: z.infer<typeof replayBody>): Replay {
  if (since === undefined) {
    if (until !== undefined) throw fieldError("body_invalid", "until", "needs since");
    if (orderId === undefined) throw fieldError("body_invalid", "since", "is required without orderId");
    return { orderId, status };
  }
  if (until && until < since) throw fieldError("body_invalid", "until", "is before since");
  return { since, until, orderId, status };
}

type EndpointParams = { Params: { id: string } };

const idShape = z.uuid();

/** Throws `endpoint_unknown` for an id that no endpoint can have. */
function idOf({ params }: { params: { id: string } }): string {
  if (!idShape.safeParse(params.id).success) throw new HubError("endpoint_unknown");
  return params.id;
}

/** Adds the routes of endpoints and events. All of them need the API key. */
export function deliveryRoutes(app: FastifyInstance, { access, delivery }: DeliveryRoutesOptions): void {
  const onRequest = merchantOnly(access);
  endpointRoutes(app, delivery, onRequest);
  sendingRoutes(app, delivery, onRequest);
  eventRoutes(app, { delivery, onRequest });
}

type OnRequest = ReturnType<typeof merchantOnly>;

function endpointRoutes(
  app: FastifyInstance,
  { endpoints, allowsLoopback, wake }: Delivery,
  onRequest: OnRequest,
): void {
  const requireUrl = (url: string | undefined): void => {
    if (url === undefined) return;
    const parsed = URL.parse(url);
    const refusal = parsed ? refusalOf(parsed, { allowsLoopback }) : "must be a URL";
    if (refusal) throw fieldError("body_invalid", "url", refusal);
  };

  app.post("/v1/endpoints", { ...route.createEndpoint(draft), onRequest }, async (request, reply) => {
    const body = parseInput(draft, request.body);
    requireUrl(body.url);
    const created = await endpoints.create(body);
    wake();
    request.subject = created.endpoint.id;
    return reply.code(201).send(created);
  });

  app.get("/v1/endpoints", { ...route.listEndpoints, onRequest }, async () => ({ data: await endpoints.list() }));

  app.get<EndpointParams>("/v1/endpoints/:id", { ...route.readEndpoint, onRequest }, async (request) => ({
    endpoint: await endpoints.read(idOf(request)),
  }));

  app.patch<EndpointParams>("/v1/endpoints/:id", { ...route.changeEndpoint(change), onRequest }, async (request) => {
    const id = idOf(request);
    const body = parseInput(change, request.body);
    requireUrl(body.url);
    const endpoint = await endpoints.change(id, body);
    wake();
    return { endpoint };
  });

  app.delete<EndpointParams>("/v1/endpoints/:id", { ...route.deleteEndpoint, onRequest }, async (request, reply) => {
    await endpoints.remove(idOf(request));
    return reply.code(204).send();
  });

  app.post<EndpointParams>("/v1/endpoints/:id/rotate-secret", { ...route.rotateSecret, onRequest }, async (request) =>
    endpoints.rotateSecret(idOf(request)),
  );
}

function sendingRoutes(app: FastifyInstance, { endpoints, pool, ping, wake }: Delivery, onRequest: OnRequest): void {
  app.post<EndpointParams>("/v1/endpoints/:id/ping", { ...route.pingEndpoint, onRequest }, async (request) => {
    const { isDelivered, status, durationMs, answer, error } = await ping(idOf(request));
    return { delivered: isDelivered, httpStatus: status, durationMs: Math.round(durationMs), answer, error };
  });

  app.get<EndpointParams>(
    "/v1/endpoints/:id/deliveries",
    { ...route.listDeliveries(deliveryFilter), onRequest },
    async (request) => {
      const filter = parseInput(deliveryFilter, request.query);
      const { id } = await endpoints.read(idOf(request));
      return listDeliveries(pool, id, filter);
    },
  );

  app.post<EndpointParams>(
    "/v1/endpoints/:id/replay",
    { ...route.replayEndpoint(replayBody), onRequest },
    async (request, reply) => {
      const body = parseInput(replayBody, request.body);
      const { id } = await endpoints.read(idOf(request));
      const count = await replay(pool, id, replayOf(body));
      wake();
      return reply.code(202).send({ count });
    },
  );
}
