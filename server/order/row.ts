/**
 * Rows as PostgreSQL answers them, and the events made of them. This file alone names the columns that make an event;
 * statements take their lists of columns from it.
 */
import type { Selectable } from "kysely";
import { type DuePayment, isSettled, type Payment, type Source, type StatusEvent } from "./order.ts";
import type { StoredPayment, Tables, VersionColumns } from "./tables.ts";

export type OrderRow = Selectable<Tables["order"]>;

/** The columns of an event that are the same in every version of its order. */
const orderNames = ["id", "order_id", "amount_minor", "currency", "opened_at"] as const;

/** The columns that change with the version: `order` has the newest of them, `event` all. */
const versionNames = ["version", "status", "reason", "payment", "also_paid"] as const;

const stateNames = [...orderNames, ...versionNames, "changed_at"] as const;

/** What an order's state is made of: not what the merchant only wants kept, which may be large. */
export type StateRow = Pick<OrderRow, (typeof stateNames)[number]>;

/** The columns of `table` that make such a row. */
export const stateColumns = (table: string): string => stateNames.map((name) => `${table}.${name}`).join(", ");

/** Writes one event for each row of `changed_order`. */
export const logged = ({ source, note }: { source: string; note: string }): string => `logged as (
    insert into event (order_uuid, ${versionNames.join(", ")}, occurred_at, source, note)
    select id, ${versionNames.join(", ")}, changed_at, ${source}, ${note} from changed_order
  )`;

/** An SQL expression for each field. Optional fields may be left out. */
type Expressions<T> = { [Name in keyof T]: string };

/** Builds the column `payment` of an order and its events. The type asks for every field that is always there. */
export const paymentObject = (fields: Expressions<StoredPayment>): string =>
  `jsonb_build_object(${Object.entries(fields)
    .map(([name, expression]) => `'${name}', ${expression}`)
    .join(", ")})`;

/** Builds it from a row of the table `payment`. */
export function paymentJson(table: string): string {
  const fields: Required<Expressions<StoredPayment>> = {
    id: `${table}.id`,
    provider: `${table}.provider`,
    attempt: `${table}.attempt`,
    startedAt: `iso(${table}.started_at)`,
    expiresAt: `iso(${table}.expires_at)`,
    amountPaidMinor: `${table}.amount_paid_minor`,
    receipt: `${table}.receipt`,
    action: `case when ${table}.status = 'processing' then ${table}.action end`,
    live: `${table}.live`,
  };
  return `jsonb_strip_nulls(${paymentObject(fields)})`;
}

export type EventRow = Selectable<Tables["event"]>;

/** The state of an order as every channel shows it. */
export function toEvent(row: StateRow): StatusEvent {
  return stateOf(row, { ...row, occurred_at: row.changed_at });
}

/** A state of the history: who told of it, and what a person said who decided on it. For the merchant only. */
export type PastEvent = StatusEvent & { source?: Source; note?: string };

export function toPastEvent(order: OrderRow, event: EventRow): PastEvent {
  const { source, note } = event;
  return { ...stateOf(order, event), ...(source !== null && { source }), ...(note !== null && { note }) };
}

function stateOf(
  order: Pick<OrderRow, (typeof orderNames)[number]>,
  state: Selectable<VersionColumns> & Pick<EventRow, "occurred_at">,
): StatusEvent {
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

/** A payment as its provider is to see it. */
export type ProviderRow = Pick<
  Selectable<Tables["payment"]>,
  "id" | "provider" | "attempt" | "amount_minor" | "currency" | "phone" | "return_url" | "reference" | "status"
> &
  Pick<OrderRow, "order_id" | "description">;

/** The columns of a payment `p` and its order `o` that make such a row. */
export const providerColumns = `p.id, p.provider, p.attempt, p.amount_minor, p.currency, p.phone, p.return_url, p.reference, p.status,
    o.order_id, o.description`;

export const toPayment = (row: ProviderRow): Payment => ({
  id: row.id,
  orderId: row.order_id,
  attempt: row.attempt,
  provider: row.provider,
  amountMinor: BigInt(row.amount_minor),
  currency: row.currency,
  ...(row.phone !== null && { phone: row.phone }),
  ...(row.description !== null && { description: row.description }),
  ...(row.return_url !== null && { returnUrl: row.return_url }),
  ...(row.reference !== null && { reference: row.reference }),
});

/** What claiming a due payment answers. */
export type DueRow = ProviderRow & { may_ask: boolean; is_over: boolean; is_long_over: boolean; left_s: number };

export const toDuePayment = (row: DueRow): DuePayment => ({
  ...toPayment(row),
  status: row.status,
  mayAsk: row.may_ask,
  isOver: row.is_over,
  isLongOver: row.is_long_over,
  leftMs: Math.max(0, row.left_s * 1_000),
});
