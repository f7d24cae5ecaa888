/**
 * Gives each paid order of the shop what was bought, as a merchant's backend does when it receives the event: with the code of
 * `POST /v1/orders/:orderId/results`.
 *
 * The node that commits the payment does it. If that node dies first, the next page that asks for the order causes it. All nodes
 * give an order the same result, so it has one, however often it is given. A result that somebody removed stays removed.
 */
import { createHash } from "node:crypto";
import type { FastifyBaseLogger } from "fastify";
import { createInFlight } from "../in-flight.ts";
import type { Result, StatusEvent } from "../order/order.ts";
import type { OrderQuery } from "../order/query.ts";
import type { OrderStore } from "../order/store.ts";
import { items } from "./catalogue.ts";
import { findOrder, groupsOf, orderIdText, type ShopOrder, shopName } from "./order.ts";

export interface FulfilmentOptions {
  query: Pick<OrderQuery, "find">;
  /** Called when a result is given, because the store is created later. */
  store: () => Pick<OrderStore, "putResult">;
  log: Pick<FastifyBaseLogger, "warn">;
}

export interface Fulfilment {
  /** Takes every event of the node, and gives a result if it is about a paid order of the shop. */
  onEvent(event: StatusEvent): void;
  /** Gives the order's result if it is paid and never had one. Never throws. */
  give(order: ShopOrder): Promise<void>;
  /** Resolves when no result is being given. */
  close(): Promise<void>;
}

/** 30 days, so that the page shows an expiry. */
const validMs = 30 * 86_400_000;

export function createFulfilment({ query, store, log }: FulfilmentOptions): Fulfilment {
  const inFlight = createInFlight();

  const give = (orderId: string, find: () => Promise<ShopOrder>): Promise<void> =>
    inFlight.track(
      find()
        .then(async (order) => {
          // Only at this version, because somebody may have removed a result meanwhile.
          if (isDue(order)) await store().putResult(orderId, resultOf(order), order.order.version);
        })
        .catch((err: unknown) => log.warn({ event: "shop.result.failed", err }, "The shop gave an order no result")),
    );

  return {
    onEvent(event) {
      const { orderId, live, status, results } = event;
      // Real money never buys at this shop.
      if (live || status !== "succeeded" || results || !orderIdText.safeParse(orderId).success) return;
      void give(orderId, () => findOrder(query, orderId));
    },
    give: (order) => give(order.order.orderId, async () => order),
    close: inFlight.close,
  };
}

const isDue = ({ order, metadata, events }: ShopOrder): boolean =>
  order.status === "succeeded" &&
  !order.live &&
  metadata?.merchant === shopName &&
  !events.some(({ source }) => source === "merchant");

/** The same for every call, so that two nodes give an order one result. Made of the uuid, because the order id grants access. */
function resultOf({ order, item }: ShopOrder): Result {
  const { name, result } = items[item];
  const digest = [...createHash("sha256").update(order.id).digest()];
  const code = groupsOf(digest.slice(0, 12).map((byte) => byte % 32));
  return {
    id: "purchase",
    kind: result.kind,
    title: `${result.title}: ${name}`,
    code: `${item.toUpperCase()}-${code}`,
    expiresAt: new Date(Date.parse(order.openedAt) + validMs).toISOString(),
  };
}
