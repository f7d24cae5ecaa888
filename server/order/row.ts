/** Rows as PostgreSQL answers them, and the events made of them. */
import type { Selectable } from "kysely";
import { isSettled, type StatusEvent } from "./order.ts";
import type { Tables } from "./tables.ts";

export type OrderRow = Selectable<Tables["order"]>;

export type EventRow = Selectable<Tables["event"]>;

/** The state of an order as every channel shows it. */
export function toEvent(row: OrderRow): StatusEvent {
  return stateOf(row, { ...row, occurred_at: row.changed_at });
}

/** A past state of an order. */
export function toPastEvent(order: OrderRow, event: EventRow): StatusEvent {
  return stateOf(order, event);
}

type Order = Pick<OrderRow, "id" | "order_id" | "amount_minor" | "currency" | "opened_at">;

function stateOf(order: Order, state: Omit<EventRow, "order_uuid">): StatusEvent {
  const { live, ...payment } = state.payment;
  return {
    id: order.id,
    orderId: order.order_id,
    version: state.version,
    status: state.status,
    settled: isSettled(state.status),
    ...(state.reason && { reason: state.reason }),
    amountMinor: order.amount_minor,
    currency: order.currency,
    live,
    payment,
    ...(state.also_paid.length > 0 && { alsoPaid: state.also_paid }),
    openedAt: order.opened_at.toISOString(),
    occurredAt: state.occurred_at.toISOString(),
  };
}
