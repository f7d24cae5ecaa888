/** Routes for notifications. For the merchant's backend only. Deliveries and replays are those of endpoints. */
import type { FastifyInstance } from "fastify";
import type pg from "pg";
import { z } from "zod";
import { type Access, merchantOnly } from "../auth/access.ts";
import { type DeliveryView, listDeliveries } from "../delivery/history.ts";
import { type NotificationRow, readNotifications } from "../delivery/notification.ts";
import { attemptMs } from "../delivery/receiver.ts";
import { replay } from "../delivery/replay.ts";
import { deliveryFilter, replayBody, replayOf } from "../delivery/routes.ts";
import { HubError } from "../errors.ts";
import { readCurrent } from "../order/current.ts";
import type { OrderQuery } from "../order/query.ts";
import { createLimit, createMemoryCounter } from "../rate-limit.ts";
import { parseInput, readOrderId, text } from "../validation.ts";
import type { OwnNotification } from "./notification.ts";
import * as route from "./route-schema.ts";

export interface NotificationRoutesOptions {
  pool: pg.Pool;
  access: Access;
  /** Those of this node. */
  active: readonly (Pick<OwnNotification, "name" | "refusalOf" | "test"> & {
    readonly isLive: boolean;
    /** The URL for a gateway's delivery reports; undefined without a gateway. */
    readonly reportUrl?: () => string | undefined;
  })[];
  query: Pick<OrderQuery, "idOf">;
  /** A delivery became due on this node. */
  wake: () => void;
}

type NamedCall = { Params: { name: string } };
type OrderCall = { Params: { orderId: string; name: string } };

/** Adds the routes. All of them need the API key. */
export function notificationRoutes(app: FastifyInstance, options: NotificationRoutesOptions): void {
  const { pool, access, wake } = options;
  const onRequest = merchantOnly(access);
  const rowOf = async (name: string): Promise<NotificationRow> => {
    const found = (await readNotifications(pool)).find((one) => one.name === name);
    if (!found) throw new HubError("notification_unknown");
    return found;
  };

  app.get("/v1/notifications", { ...route.listNotifications, onRequest }, async ({ apiKey }) => {
    const showsSecret = apiKey?.scopes.includes("manage") === true;
    return { data: (await readNotifications(pool)).map((row) => toView(row, { ...options, showsSecret })) };
  });

  app.get<NamedCall>(
    "/v1/notifications/:name/deliveries",
    { ...route.listNotificationDeliveries(deliveryFilter), onRequest },
    async (request) => {
      const filter = parseInput(deliveryFilter, request.query);
      return listDeliveries(pool, (await rowOf(request.params.name)).id, filter);
    },
  );

  app.post<NamedCall>(
    "/v1/notifications/:name/replay",
    { ...route.replayNotification(replayBody), onRequest },
    async (request, reply) => {
      const body = parseInput(replayBody, request.body);
      const count = await replay(pool, (await rowOf(request.params.name)).id, replayOf(body));
      wake();
      return reply.code(202).send({ count });
    },
  );

  orderRoutes(app, options, { onRequest, rowOf });
  testRoute(app, options, onRequest);
}

interface Shared {
  onRequest: ReturnType<typeof merchantOnly>;
  rowOf: (name: string) => Promise<NotificationRow>;
}

function orderRoutes(app: FastifyInstance, options: NotificationRoutesOptions, { onRequest, rowOf }: Shared): void {
  const { pool, query, active, wake } = options;
  const uuidOf = async (orderId: string): Promise<string> => {
    const uuid = await query.idOf(readOrderId(orderId));
    if (uuid === undefined) throw new HubError("order_unknown");
    return uuid;
  };

  app.get<{ Params: { orderId: string } }>(
    "/v1/orders/:orderId/notifications",
    { ...route.listOrderNotifications, onRequest },
    async ({ params: { orderId } }) => {
      await uuidOf(orderId);
      const rows = await readNotifications(pool);
      return {
        data: await Promise.all(rows.map(({ id, name }) => readOrderNotification(pool, { id, name, orderId }))),
      };
    },
  );

  app.post<OrderCall>(
    "/v1/orders/:orderId/notifications/:name",
    { ...route.sendNotification, onRequest },
    async (request, reply) => {
      const { orderId, name } = request.params;
      const { id } = await rowOf(name);
      const uuid = await uuidOf(orderId);
      const refusal = await active.find((one) => one.name === name)?.refusalOf(uuid);
      if (refusal) throw refusal;
      const count = await replay(pool, id, { orderId });
      if (count === 0) throw await unwanted(pool, { uuid, name });
      wake();
      return reply.code(202).send({ count });
    },
  );
}

/** The state of one notification about an order: its latest attempt, and what is due. */
async function readOrderNotification(
  pool: pg.Pool,
  { id, name, orderId }: { id: string; name: string; orderId: string },
): Promise<{ name: string; latest?: DeliveryView; pending?: DeliveryView }> {
  const [attempts, due] = await Promise.all([
    listDeliveries(pool, id, { orderId, limit: 20 }),
    listDeliveries(pool, id, { orderId, limit: 1, status: "pending" }),
  ]);
  const latest = attempts.data.find(({ status }) => status !== "superseded");
  const [pending] = due.data;
  return { name, ...(latest && { latest }), ...(pending && { pending }) };
}

/** Why the notification does not receive the order: a payer's one about an order that is not paid, an alert about one that needs nobody. */
async function unwanted(pool: pg.Pool, { uuid, name }: { uuid: string; name: string }): Promise<HubError> {
  const [order] = await readCurrent(pool, [uuid]);
  if (!order) return new HubError("order_unknown");
  if (name !== "alert") return new HubError("order_unpaid", undefined, { order });
  return new HubError("not_in_review", "The order needs no decision, and was not paid more than once", { order });
}

const testBody = z
  .strictObject({
    to: text(254)
      .describe("An email address; `MERCHANT_EMAIL` by default. For `sms`: a phone with `+` and its country code.")
      .optional(),
  })
  .meta({ id: "NotificationTest" });

/** 10 in a minute for each notification, because an SMS costs money and a mail server may block who sends many. */
const testLimit = { subject: "notification", max: 10, windowMs: 60_000 };

function testRoute(app: FastifyInstance, { active }: NotificationRoutesOptions, onRequest: Shared["onRequest"]): void {
  const limit = createLimit(createMemoryCounter(), testLimit);
  app.post<NamedCall>(
    "/v1/notifications/:name/test",
    { ...route.testNotification(testBody), onRequest },
    async (request) => {
      const { to } = parseInput(testBody, request.body ?? {});
      const own = active.find(({ name }) => name === request.params.name);
      if (!own) throw new HubError("notification_unknown");
      await limit.take(own.name);
      const { reply, isLive } = await own.test(to, AbortSignal.timeout(attemptMs));
      const { isDelivered, durationMs, answer, error } = reply;
      return { delivered: isDelivered, live: isLive, durationMs: Math.round(durationMs), answer, error };
    },
  );
}

function toView(
  { name, events, failingSince }: NotificationRow,
  { active, showsSecret }: Pick<NotificationRoutesOptions, "active"> & { showsSecret: boolean },
): object {
  const own = active.find((one) => one.name === name);
  const reportUrl = showsSecret ? own?.reportUrl?.() : undefined;
  return {
    name,
    live: own?.isLive === true,
    events,
    ...(failingSince && { failingSince: failingSince.toISOString() }),
    ...(reportUrl !== undefined && { reportUrl }),
  };
}
