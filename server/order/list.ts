/**
 * Pages of orders. Each page reads one index from one place on, and at most 1,000 orders of it, whatever the number of orders.
 */
import {
  type Expression,
  type ExpressionBuilder,
  type Kysely,
  type SelectQueryBuilder,
  type SqlBool,
  sql,
} from "kysely";
import { z } from "zod";
import { statuses } from "../../client-sdk/protocol.ts";
import { placeTime, readCursor, writeCursor } from "../cursor.ts";
import type { Status, StatusEvent } from "./order.ts";
import { type OrderRow, toEvent, type WithEpoch } from "./row.ts";
import type { Tables } from "./tables.ts";

export interface OrderFilter {
  status?: Status | undefined;
  provider?: string | undefined;
  /** Includes orders opened at this time or later. */
  from?: Date | undefined;
  /** Includes orders opened before this time. */
  to?: Date | undefined;
  /** Lists by change, oldest first, from 10 s before this time on. A later read may therefore repeat orders. */
  changedSince?: Date | undefined;
  /** The `nextCursor` of the previous page, read with the same filter. */
  cursor?: string | undefined;
  limit: number;
}

export interface OrderPage {
  data: StatusEvent[];
  nextCursor: string | null;
}

/** Orders that one page reads at most, because a condition that no index serves may fit few orders, or none, among millions. */
const readMax = 1_000;

/** An order that the page has read. The one in the place `readMax` may fit no condition: the next page begins after it. */
type ReadRow = OrderRow & WithEpoch & { is_match: boolean; place: number };

/**
 * Lists the newest orders first, or with `changedSince` by change. A page may have fewer orders than its limit, or none, and still a
 * `nextCursor`. Throws `body_invalid` for a cursor that no list returned.
 */
export async function listOrders(db: Kysely<Tables>, filter: OrderFilter): Promise<OrderPage> {
  const { changedSince, limit } = filter;
  const { rows, until } = await (changedSince ? listByChange(db, changedSince, filter) : listNewest(db, filter));
  const matches = rows.filter(({ is_match }) => is_match);
  const lastRead = rows.at(-1)?.place === readMax ? rows.at(-1) : undefined;
  const last = matches.length > limit ? matches[limit - 1] : lastRead;
  return {
    data: matches.slice(0, limit).map(toEvent),
    nextCursor: last
      ? writeCursor([changedSince ? last.changed_at : last.opened_at, last.id, ...(until ? [until] : [])])
      : null,
  };
}

/** PostgreSQL's clock. */
export async function readClock(db: Kysely<Tables>): Promise<Date> {
  const { rows } = await sql<{ at: Date }>`select clock_timestamp() as at`.execute(db);
  if (!rows[0]) throw new Error("the clock statement always returns one row");
  return rows[0].at;
}

/** The orders of one index from one place on, in its order. */
type Range = SelectQueryBuilder<Tables, "order", OrderRow>;

type Condition = (order: ExpressionBuilder<Tables, "order">) => Expression<SqlBool>;

interface Sorting {
  time: "opened_at" | "changed_at";
  direction: "asc" | "desc";
}

const sorted = <DB, From extends keyof DB, Row>(
  rows: SelectQueryBuilder<DB, From, Row>,
  { time, direction }: Sorting,
) => rows.orderBy(sql.ref(time), direction).orderBy(sql.ref("id"), direction);

interface PageRead extends Sorting {
  range: Range;
  /** The conditions that the index does not serve. */
  conditions: readonly Condition[];
  limit: number;
}

/** Reads the orders of a range until `limit` + 1 fit the conditions, at most `readMax` of them. */
function readPage(db: Kysely<Tables>, { range, conditions, limit, ...sorting }: PageRead): Promise<ReadRow[]> {
  const { time, direction } = sorting;
  const read = db
    .selectFrom(range.limit(conditions.length > 0 ? readMax : limit + 1).as("order"))
    .selectAll()
    .select((order) => [
      order
        .and(conditions.map((condition) => condition(order)))
        .$castTo<boolean>()
        .as("is_match"),
      order.fn
        .agg<number>("row_number")
        .over((over) => over.orderBy(time, direction).orderBy("id", direction))
        .as("place"),
    ]);
  return sorted(
    db
      .selectFrom(read.as("read"))
      .selectAll()
      .select((row) => row.selectFrom("timeline").select("epoch").$asScalar().$notNull().as("epoch"))
      .where((row) => row.or([row("is_match", "=", true), row("place", "=", readMax)])),
    sorting,
  )
    .limit(limit + 1)
    .execute();
}

interface ReadRows {
  rows: ReadRow[];
  until?: Date;
}

const newestFirst = { time: "opened_at", direction: "desc" } as const;

async function listNewest(db: Kysely<Tables>, filter: OrderFilter): Promise<ReadRows> {
  const { status, provider, limit } = filter;
  const { ofStatus, ofProvider, opensFrom, opensBefore } = conditionsOf(filter);
  const after = filter.cursor === undefined ? undefined : readPlace(filter.cursor);
  // With both ends PostgreSQL would expect fewer orders than there are, and would sort them all instead of reading the first ones.
  const end = after ? [() => sql<boolean>`(opened_at, id) < (${after.at}, ${after.id}::uuid)`] : opensBefore;
  const newest = (ofIndex: readonly Condition[]): Range =>
    sorted(ordersOf(db, [...ofIndex, ...opensFrom, ...end]), newestFirst);
  const read = async (range: Range, conditions: readonly Condition[] = []): Promise<ReadRows> => ({
    rows: await readPage(db, { ...newestFirst, range, conditions, limit }),
  });
  // Most of a provider's orders succeed, and few orders have any other status.
  const isByProvider = provider !== undefined && (status === undefined || status === "succeeded");
  if (isByProvider) return read(newest(ofProvider), ofStatus);
  if (status !== undefined) return read(newest(ofStatus), ofProvider);
  return read(newestOfAll(db, (each) => newest(hasStatus(each)).limit(limit + 1)));
}

/**
 * Merges the newest orders of each status. There is no index of all orders by their opening, because PostgreSQL would also use it to look
 * for the orders of a provider, and read a million orders when that provider has no recent ones.
 */
function newestOfAll(db: Kysely<Tables>, newestOf: (status: Status) => Range): Range {
  const [first, ...others] = statuses.map((status) => db.selectFrom(newestOf(status).as("order")).selectAll());
  if (!first) throw new Error("there is at least one status");
  const all = others.reduce((some, one) => some.unionAll(one), first);
  return sorted(db.selectFrom(all.as("order")).selectAll(), newestFirst);
}

const firstChangeFirst = { time: "changed_at", direction: "asc" } as const;

/**
 * Lists orders by change, oldest first. A backend that passes its last known change as `since` sees the newest state of every
 * order at least once.
 *
 * A change becomes visible at its commit, up to 5 s after its time, because a statement runs for at most 5 s. A read therefore
 * starts 10 s before `since`. All its pages end at the time at which the first one was read. Without this end, the last change of a
 * slow reader could be more than 10 s after a change that committed behind its earlier pages.
 */
async function listByChange(db: Kysely<Tables>, since: Date, filter: OrderFilter): Promise<ReadRows> {
  const { limit } = filter;
  const after = filter.cursor === undefined ? undefined : readPlace(filter.cursor);
  const until = after?.until ?? (await readClock(db));
  const start: Condition = after
    ? () => sql<boolean>`(changed_at, id) > (${after.at}, ${after.id}::uuid)`
    : (order) => order("changed_at", ">=", new Date(since.getTime() - 10_000));
  const end: Condition[] = after?.until ? [(order) => order("changed_at", "<=", until)] : [];
  const range = sorted(ordersOf(db, [start, ...end]), firstChangeFirst);
  const { ofStatus, ofProvider, opensFrom, opensBefore } = conditionsOf(filter);
  const conditions = [...ofStatus, ...ofProvider, ...opensFrom, ...opensBefore];
  return { rows: await readPage(db, { ...firstChangeFirst, range, conditions, limit }), until };
}

const ordersOf = (db: Kysely<Tables>, conditions: readonly Condition[]): Range =>
  db
    .selectFrom("order")
    .selectAll()
    .where((order) => order.and(conditions.map((condition) => condition(order))));

const hasStatus = (status: Status | undefined): Condition[] =>
  status === undefined ? [] : [(order) => order("status", "=", status)];

/** At most one condition for each part of the filter. */
function conditionsOf({ status, provider, from, to }: OrderFilter) {
  const ofProvider: Condition[] =
    provider === undefined ? [] : [() => sql<boolean>`payment ->> 'provider' = ${provider}`];
  const opensFrom: Condition[] = from === undefined ? [] : [(order) => order("opened_at", ">=", from)];
  const opensBefore: Condition[] = to === undefined ? [] : [(order) => order("opened_at", "<", to)];
  return { ofStatus: hasStatus(status), ofProvider, opensFrom, opensBefore };
}

/** `until`: the end of a list by change, which its first page has set. */
const place = z.tuple([placeTime, z.uuid(), placeTime.optional()]);

function readPlace(cursor: string): { at: Date; id: string; until?: Date } {
  const [at, id, until] = readCursor(place, cursor);
  return { at, id, ...(until && { until }) };
}
