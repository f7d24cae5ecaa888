/** Routes for notifications. For the merchant's backend only. Deliveries and replays are those of endpoints. */
import type { FastifyInstance } from "fastify";
import type pg from "pg";
import { type Access, merchantOnly } from "../auth/access.ts";
import { listDeliveries } from "../delivery/history.ts";
import { type NotificationRow, readNotifications } from "../delivery/notification.ts";
import { replay } from "../delivery/replay.ts";
import { deliveryFilter, replayBody, replayOf } from "../delivery/routes.ts";
import { HubError } from "../errors.ts";
import { readCurrent } from "../order/current.ts";
import type { OrderQuery } from "../order/query.ts";
import { parseInput, readOrderId } from "../validation.ts";
import * as route from "./route-schema.ts";

export interface NotificationRoutesOptions {
  pool: pg.Pool;
  access: Access;
  /** Those of this node. */
  active: readonly {
    readonly name: string;
    readonly isLive: boolean;
    /** The URL for a gateway's delivery reports; undefined without a gateway. */
    readonly reportUrl?: () => string | undefined;
  }[];
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

  app.get("/v1/notifications", { ...route.listNotifications, onRequest }, async () => ({
    data: (await readNotifications(pool)).map((row) => toView(row, options)),
  }));

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

  app.post<OrderCall>(
    "/v1/orders/:orderId/notifications/:name",
    { ...route.sendNotification, onRequest },
    async (request, reply) => {
      const orderId = readOrderId(request.params.orderId);
      const { id } = await rowOf(request.params.name);
      const count = await replay(pool, id, { orderId });
      // The notification receives no order that is not paid.
      if (count === 0) throw await refusalOf(options, orderId);
      wake();
      return reply.code(202).send({ count });
    },
  );
}

async function refusalOf({ pool, query }: NotificationRoutesOptions, orderId: string): Promise<HubError> {
  const id = await query.idOf(orderId);
  const [order] = id === undefined ? [] : await readCurrent(pool, [id]);
  return order ? new HubError("order_unpaid", undefined, { order }) : new HubError("order_unknown");
}

function toView(
  { name, events, failingSince }: NotificationRow,
  { active }: Pick<NotificationRoutesOptions, "active">,
): object {
  const own = active.find((one) => one.name === name);
  const reportUrl = own?.reportUrl?.();
  return {
    name,
    live: own?.isLive === true,
    events,
    ...(failingSince && { failingSince: failingSince.toISOString() }),
    ...(reportUrl !== undefined && { reportUrl }),
  };
}
