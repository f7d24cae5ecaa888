/**
 * Rows as PostgreSQL returns them, and the events made of them. Only this file names the columns that make an event;
 * statements take their lists of columns from here.
 */
import type { Selectable } from "kysely";
import { type DuePayment, isSettled, type Payment, type Source, type StatusEvent } from "./order.ts";
import type { StoredPayment, Tables, VersionColumns } from "./tables.ts";

export type OrderRow = Selectable<Tables["order"]>;

/** The columns of an event that are equal in every version of its order. */
const orderNames = ["id", "order_id", "amount_minor", "currency", "opened_at"] as const;

/** The columns that change with the version: `order` has the newest values, `event` has all of them. */
const versionNames = ["version", "status", "reason", "payment", "also_paid", "results"] as const;

const stateNames = [...orderNames, ...versionNames, "changed_at"] as const;

/** The columns of an order's state. The merchant's description, customer and metadata are left out, because they may be large. */
export type StateRow = Pick<OrderRow, (typeof stateNames)[number]> & WithEpoch;

/** The epoch of the database when the row was read. */
export interface WithEpoch {
  epoch: number;
}

/** A select list of `names`, each qualified by `table`. */
export const columns = (table: string, names: readonly string[]): string =>
  names.map((name) => `${table}.${name}`).join(", ");

/** The columns of `table` that make a `StateRow`, without the epoch. */
export const stateColumns = (table: string): string => columns(table, stateNames);

/** The columns of `table` that make a `StateRow`. */
export const eventColumns = (table: string): string => `${stateColumns(table)}, (select epoch from timeline) as epoch`;

/** The columns of an order and one of its events that make the `StateRow` of that version. */
export const versionColumns = (order: string, event: string): string =>
  `${columns(order, orderNames)}, ${columns(event, versionNames)}, ${event}.occurred_at as changed_at, (select epoch from timeline) as epoch`;

/** Records one event for each row of `changed_order`, in the statement that gives the order its next version (G3). */
export const recordEvent = ({ source, note }: { source: string; note: string }): string => `recorded_event as (
    insert into event (order_uuid, ${versionNames.join(", ")}, occurred_at, source, note)
    select id, ${versionNames.join(", ")}, changed_at, ${source}, ${note} from changed_order
  )`;

/** An SQL expression for each field. Optional fields may be left out. */
type Expressions<T> = { [Name in keyof T]: string };

/** Builds the column `payment` of an order and its events. The type requires every field that is always present. */
export const paymentObject = (fields: Expressions<StoredPayment>): string =>
  `jsonb_build_object(${Object.entries(fields)
    .map(([name, expression]) => `'${name}', ${expression}`)
    .join(", ")})`;

/** Builds the column `payment` from a row of the table `payment`. */
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

/** A state in the order's history, with the source of its evidence and the note of a person's decision. For the merchant only. */
export type PastEvent = StatusEvent & { source?: Source; note?: string };

export function toPastEvent(order: OrderRow & WithEpoch, event: EventRow): PastEvent {
  const { source, note } = event;
  return { ...stateOf(order, event), ...(source !== null && { source }), ...(note !== null && { note }) };
}

function stateOf(
  order: Pick<OrderRow, (typeof orderNames)[number]> & WithEpoch,
  state: Selectable<VersionColumns> & Pick<EventRow, "occurred_at">,
): StatusEvent {
  const { live, ...payment } = state.payment;
  return {
    id: order.id,
    orderId: order.order_id,
    epoch: order.epoch,
    version: state.version,
    status: state.status,
    settled: isSettled(state.status),
    ...(state.reason && { reason: state.reason }),
    amountMinor: order.amount_minor,
    currency: order.currency,
    live,
    payment,
    ...(state.also_paid.length > 0 && { alsoPaid: state.also_paid }),
    ...(state.results && { results: state.results }),
    openedAt: order.opened_at.toISOString(),
    occurredAt: state.occurred_at.toISOString(),
  };
}

/** The columns of a payment that its adapter needs. */
export const providerPaymentNames = [
  "id",
  "provider",
  "attempt",
  "amount_minor",
  "currency",
  "phone",
  "return_url",
  "reference",
  "status",
] as const;

/** The columns of its order that the adapter needs. */
export const providerOrderNames = ["order_id", "description"] as const;

/** A payment as its adapter sees it. */
export type ProviderRow = Pick<Selectable<Tables["payment"]>, (typeof providerPaymentNames)[number]> &
  Pick<OrderRow, (typeof providerOrderNames)[number]>;

/** The columns of a payment `p` and its order `o` that make a `ProviderRow`. */
export const providerColumns = `${columns("p", providerPaymentNames)}, ${columns("o", providerOrderNames)}`;

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

/** A due payment that was claimed. */
export type DueRow = ProviderRow & { may_ask: boolean; is_over: boolean; is_long_over: boolean; left_s: number };

export const toDuePayment = (row: DueRow): DuePayment => ({
  ...toPayment(row),
  status: row.status,
  mayAsk: row.may_ask,
  isOver: row.is_over,
  isLongOver: row.is_long_over,
  leftMs: Math.max(0, row.left_s * 1_000),
});
