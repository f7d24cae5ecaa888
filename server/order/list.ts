/** Lists of orders: the newest first, or by change. Each kind of list reads the range of an index that has the fewest orders. */
import { type Kysely, sql } from "kysely";
import { statuses } from "../../client-sdk/protocol.ts";
import type { Status, StatusEvent } from "./order.ts";
import {
  conditionsOf,
  hasCustomerEmail,
  hasCustomerId,
  isPaidWithin,
  mayNeedAttention,
  type OrderFilter,
  receiptsOf,
} from "./order-filter.ts";
import {
  all,
  inOrder,
  merged,
  type PageRead,
  type Place,
  type Range,
  readMax,
  readPage,
  readPlace,
  type Sql,
  writePlace,
} from "./page.ts";
import { type OrderRow, toEvent, type WithEpoch } from "./row.ts";
import type { Tables } from "./tables.ts";

export type { OrderFilter };

export interface OrderPage {
  data: StatusEvent[];
  nextCursor: string | null;
}

/**
 * Lists the newest orders first, or with `changedSince` by change. A page may have fewer orders than its limit, or none, and still a
 * `nextCursor`. Throws `body_invalid` for a cursor that no list returned.
 */
export async function listOrders(db: Kysely<Tables>, filter: OrderFilter): Promise<OrderPage> {
  const { rows, nextCursor } = await listRows(db, filter);
  return { data: rows.map(toEvent), nextCursor };
}

/** An order with what only the merchant sees of it. */
export interface DetailedOrder extends Pick<OrderRow, "description" | "customer"> {
  order: StatusEvent;
  /** When the money of the payment moved that paid it. */
  paidAt: Date | null;
}

export interface DetailedPage {
  data: DetailedOrder[];
  nextCursor: string | null;
}

const paidAt = sql`(select paid_at from payment where found.status = 'succeeded' and payment.id = (found.payment ->> 'id')::uuid)`;

/** Lists the same orders with more of each. The customer's phone is not masked. */
export async function listDetailed(db: Kysely<Tables>, filter: OrderFilter): Promise<DetailedPage> {
  const { rows, nextCursor } = await listRows<{ paid_at: Date | null }>(db, filter, [sql`${paidAt} as paid_at`]);
  const data = rows.map((row) => ({
    order: toEvent(row),
    description: row.description,
    customer: row.customer,
    paidAt: row.paid_at,
  }));
  return { data, nextCursor };
}

type ListedRow = OrderRow & WithEpoch;

async function listRows<More = unknown>(
  db: Kysely<Tables>,
  filter: OrderFilter,
  more: readonly Sql[] = [],
): Promise<{ rows: (ListedRow & More)[]; nextCursor: string | null }> {
  const after = readPlace(filter.cursor);
  const { changedSince } = filter;
  const read = changedSince ? await byChange(db, changedSince, filter, after) : newestFirst(filter, after);
  const { rows, next } = await readPage<ListedRow & More>(db, { ...read, name: "order", more, limit: filter.limit });
  return { rows, nextCursor: next ? writePlace({ ...next, ...(read.until && { until: read.until }) }) : null };
}

/** What a kind of list reads. */
interface Read extends Pick<PageRead, "range" | "conditions" | "direction"> {
  /** The end of a list by change. */
  until?: Date;
}

/** PostgreSQL's clock. */
export async function readClock(db: Kysely<Tables>): Promise<Date> {
  const { rows } = await sql<{ at: Date }>`select clock_timestamp() as at`.execute(db);
  if (!rows[0]) throw new Error("the clock statement always returns one row");
  return rows[0].at;
}

type Conditions = ReturnType<typeof conditionsOf>;

/** A range of an index, and the conditions of the filter that it serves. */
interface Source {
  range: Range;
  serves: readonly (keyof Conditions)[];
  /** Further conditions on the orders of the range. */
  needs?: readonly Sql[];
}

function newestFirst(filter: OrderFilter, after: Place | undefined): Read {
  const conditions = conditionsOf(filter);
  const { range, serves, needs = [] } = sourceOf(filter, conditions, after);
  const others = Object.entries(conditions).filter(([name]) => !(serves as readonly string[]).includes(name));
  return { range, conditions: [...needs, ...others.flatMap(([, condition]) => condition)] };
}

/** The source with the fewest orders, as far as the filter shows. */
function sourceOf(filter: OrderFilter, conditions: Conditions, after: Place | undefined): Source {
  const { status, provider, reason, receipt, phones, customer, paidFrom, paidTo } = filter;
  const { ofStatus, ofProvider, ofReason, opensFrom, opensBefore } = conditions;
  // With both ends PostgreSQL would expect fewer orders than there are, and would sort them all instead of reading the first ones.
  const end = after
    ? [sql`("order".opened_at, "order".id) < (${after.at}::timestamptz, ${after.id}::uuid)`]
    : opensBefore;
  const opened = [...opensFrom, ...end];
  const within: (keyof Conditions)[] = after ? ["opensFrom"] : ["opensFrom", "opensBefore"];
  const newest = (ofIndex: readonly Sql[]): Range => newestWhere(all([...ofIndex, ...opened]));
  if (receipt !== undefined) return { range: ofReceipt(receipt, after), serves: ["ofReceipt"] };
  if (phones) return { range: ofPhones(phones, after), serves: ["ofPhone"] };
  if (customer !== undefined) return { range: ofCustomer(customer, newest), serves: ["ofCustomer", ...within] };
  // Its condition is checked again, because the index also has mismatches that a person has accepted.
  if (filter.needsAttention) return { range: inAttention(newest), serves: within };
  if (reason !== undefined) return { range: newest(ofReason), serves: ["ofReason", ...within] };
  if (paidFrom ?? paidTo) return { range: paidWithin(filter, after), serves: ["ofPaid"], needs: [isOfPaying] };
  // Most of a provider's orders succeed, and few orders have any other status.
  if (provider !== undefined && (status === undefined || status === "succeeded")) {
    return { range: newest(ofProvider), serves: ["ofProvider", ...within] };
  }
  if (status !== undefined) return { range: newest(ofStatus), serves: ["ofStatus", ...within] };
  return { range: newestOfAll(newest), serves: within };
}

const placedOrder = (at: string, id: string): Sql =>
  sql`"order".*, ${sql.ref(at)} as sort_at, ${sql.ref(id)} as sort_id`;

const newestWhere =
  (condition: Sql): Range =>
  (limit) =>
    sql`select ${placedOrder("order.opened_at", "order.id")} from "order" where ${condition}
      ${inOrder("order.opened_at", "order.id")} limit ${limit}`;

/**
 * Merges the newest orders of each status. There is no index of all orders by their opening, because PostgreSQL would also use it to look
 * for the orders of a provider, and read a million orders when that provider has no recent ones.
 */
const newestOfAll = (newest: (ofIndex: readonly Sql[]) => Range): Range =>
  merged(statuses.map((status: Status) => newest([sql`"order".status = ${status}`])));

const ofCustomer = (customer: string, newest: (ofIndex: readonly Sql[]) => Range): Range =>
  merged([
    newest([hasCustomerId(customer)]),
    newest([
      hasCustomerEmail(customer),
      sql`(${hasCustomerId(customer)}) is not true`,
      sql`"order".customer ->> 'email' is not null`,
    ]),
  ]);

/** The orders of the index, and those that are paid while another payment of theirs waits for a decision: of these the newest 1,000. */
const inAttention = (newest: (ofIndex: readonly Sql[]) => Range): Range =>
  merged([
    newest([mayNeedAttention]),
    newest([
      sql`(${mayNeedAttention}) is not true`,
      sql`"order".id = any (array(
        select order_uuid from payment where status = 'review' order by started_at desc limit ${sql.lit(readMax)}))`,
    ]),
  ]);

/** Orders in the order of payments, which `payments` reads up to its limit. */
const ordersOf =
  (at: "started_at" | "paid_at", payments: Range): Range =>
  (limit) =>
    sql`select ${placedOrder(`payment.${at}`, "payment.id")}
      from (${payments(limit)}) payment join "order" on "order".id = payment.order_uuid
      ${inOrder(`payment.${at}`, "payment.id")}`;

const isBefore = (at: string, after: Place | undefined): Sql =>
  after ? sql`(${sql.ref(at)}, payment.id) < (${after.at}::timestamptz, ${after.id}::uuid)` : sql`true`;

/** The order's latest payment of those that fit: an order with several has one place. */
const isLatest = (
  condition: Sql,
): Sql => sql`not exists (select from payment later where later.order_uuid = payment.order_uuid
  and later.attempt > payment.attempt and ${condition})`;

const ofReceipt = (receipt: string, after: Place | undefined): Range => {
  const receipts = receiptsOf(receipt);
  return ordersOf(
    "started_at",
    (limit) => sql`select payment.id, payment.order_uuid, payment.started_at from payment
      where payment.receipt = any (${receipts}::text[]) and ${isBefore("payment.started_at", after)}
        and ${isLatest(sql`later.receipt = any (${receipts}::text[])`)}
      ${inOrder("payment.started_at", "payment.id")} limit ${limit}`,
  );
};

/** Reads each phone by itself, because the index has the order of one phone's payments only. */
const ofPhones = (phones: readonly string[], after: Place | undefined): Range =>
  ordersOf(
    "started_at",
    (limit) => sql`select payment.* from unnest(${phones}::text[]) as asked (phone) cross join lateral (
        select payment.id, payment.order_uuid, payment.started_at from payment
        where payment.phone = asked.phone and payment.phone ~ '^[+][0-9]+$' and ${isBefore("payment.started_at", after)}
          and ${isLatest(sql`later.phone = any (${phones}::text[])`)}
        ${inOrder("payment.started_at", "payment.id")} limit ${limit}
      ) payment
      ${inOrder("payment.started_at", "payment.id")} limit ${limit}`,
  );

/** The order's place is that of the payment that paid it: not that of a second payment. */
const isOfPaying = sql`"order".status = 'succeeded' and "order".sort_id::text = "order".payment ->> 'id'`;

/** By the time at which the money moved. */
const paidWithin = (filter: OrderFilter, after: Place | undefined): Range =>
  ordersOf(
    "paid_at",
    (limit) => sql`select payment.id, payment.order_uuid, payment.paid_at from payment
      where ${isPaidWithin(filter)} and ${isBefore("payment.paid_at", after)}
      ${inOrder("payment.paid_at", "payment.id")} limit ${limit}`,
  );

/**
 * Lists orders by change, oldest first. A backend that passes its last known change as `since` sees the newest state of every
 * order at least once.
 *
 * A change becomes visible at its commit, up to 5 s after its time, because a statement runs for at most 5 s. A read therefore
 * starts 10 s before `since`. All its pages end at the time at which the first one was read. Without this end, the last change of a
 * slow reader could be more than 10 s after a change that committed behind its earlier pages.
 */
async function byChange(db: Kysely<Tables>, since: Date, filter: OrderFilter, after: Place | undefined): Promise<Read> {
  const until = after?.until ?? (await readClock(db));
  const start = after
    ? sql`("order".changed_at, "order".id) > (${after.at}::timestamptz, ${after.id}::uuid)`
    : sql`"order".changed_at >= ${new Date(since.getTime() - 10_000)}::timestamptz`;
  const end = after?.until ? [sql`"order".changed_at <= ${until}::timestamptz`] : [];
  return {
    until,
    direction: "asc",
    range: (
      limit,
    ) => sql`select ${placedOrder("order.changed_at", "order.id")} from "order" where ${all([start, ...end])}
      ${inOrder("order.changed_at", "order.id", "asc")} limit ${limit}`,
    conditions: Object.values(conditionsOf(filter)).flat(),
  };
}
