/**
 * The history of events as a feed: each version of each order, in the order of the transactions that wrote them.
 *
 * Guarantees: a reader that continues from its cursor receives every committed event at least once, also one whose transaction began
 * before others and ended after them. A cursor is the snapshot up to which the reader has everything, and the last event of the
 * transaction that the reader has in part. In a new epoch the database may have lost transactions whose numbers it uses again, so that a cursor of another epoch
 * continues a day before it: the reader receives those events once more. Events that are older than this feature are not in the feed,
 * nor those of another cluster from which the database was restored.
 *
 * `readOrderFeed` reads the messages of one order, by version.
 */
import type pg from "pg";
import { z } from "zod";
import { readCursor, unknownCursor, writeCursor } from "../cursor.ts";
import { run } from "../order/statement.ts";
import { type MerchantOrderRow, type Message, merchantOrderColumns, orderMessage } from "./message.ts";

/** Events that one page reads at most, because few of many may have the wanted type. */
const readMax = 500;

export interface FeedFilter {
  /** Only events from this time on. */
  since?: Date | undefined;
  type?: string | undefined;
  cursor?: string | undefined;
  limit: number;
}

export interface FeedPage {
  data: Message[];
  /** The place after each message of `data`. */
  cursors: string[];
  /** The place after the page. */
  nextCursor: string;
  /** Whether more can be read at once. */
  hasMore: boolean;
}

/** The type of an order's version `v`, beside the version `previous`. */
const typeColumn = "case when previous.status = v.status then 'order.updated' else 'order.' || v.status end as type";

/** No order has this id. */
const beforeAnyOrder = "'00000000-0000-0000-0000-000000000000'";

/**
 * What the reader has after the event `c`. Late events come first, so that after one of them nothing after `seen` was read: only the
 * late transactions before it are done. Of a transaction after `seen` that the reader has in part, it receives all events again.
 */
const seenAfter = `case when c.xid >= pg_snapshot_xmax(place.seen) then seen_before(place.now, c.xid)::text else (
    select min(running) || ':' || pg_snapshot_xmax(place.seen) || ':' || string_agg(running::text, ',' order by running)
    from pg_snapshot_xip(place.seen) running where running >= c.xid or not pg_visible_in_snapshot(running, place.now)
  ) end`;

/**
 * $1: the snapshot. $2, $3, $4: transaction, order and version of the last event seen. $5: the earliest time. $6: the type. $7: the epoch
 * of the snapshot. The last event limits only what its own transaction adds: other late transactions have smaller numbers than it.
 */
const feedStatement = {
  name: "read-feed",
  text: `with place as materialized (
    select case when is_valid then given.seen else (first || ':' || first || ':')::pg_snapshot end as seen, given.now, t.epoch,
      case when is_valid and pg_snapshot_xmax(given.seen) = $2::xid8 then $3::uuid else ${beforeAnyOrder} end as last_order
    from (select $1::pg_snapshot as seen, pg_current_snapshot() as now) given
      cross join timeline t
      cross join lateral (
        select t.epoch = $7::bigint and pg_snapshot_xmax(given.seen) <= pg_snapshot_xmax(given.now) as is_valid) checked
      cross join lateral (
        -- The smallest number of a transaction is 3.
        select case when not is_valid
          then greatest(3, event_xid_at(to_timestamp(t.epoch) - interval '1 day')::text::bigint) end as first) restart
  ),
  late_event as (
    select xid, order_uuid, version, occurred_at from event where xid = any (array(select pg_snapshot_xip(seen) from place))
      and (xid is distinct from $2::xid8 or (order_uuid, version) > ($3::uuid, $4::int))
  ),
  new_event as (
    select xid, order_uuid, version, occurred_at from event
    where (xid, order_uuid, version) > (select pg_snapshot_xmax(seen), last_order, coalesce($4::int, 0) from place)
      and xid < (select pg_snapshot_xmax(now) from place)
    order by xid, order_uuid, version limit ${readMax}
  ),
  read_event as materialized (
    select xid, order_uuid, version, occurred_at, row_number() over (order by xid, order_uuid, version)::int as nth
    from (table late_event union all table new_event) found
    order by xid, order_uuid, version limit ${readMax}
  ),
  typed_event as (
    select r.xid, r.order_uuid, r.version, r.nth, r.occurred_at, ${typeColumn}
    from read_event r
      join event v on v.order_uuid = r.order_uuid and v.version = r.version
      left join event previous on previous.order_uuid = r.order_uuid and previous.version = r.version - 1
  ),
  chosen as (
    select xid, order_uuid, version, nth, type, ($5::timestamptz is null or occurred_at >= $5) and ($6::text is null or type = $6) as is_match
    from typed_event
  )
  select c.xid::text, c.nth, c.is_match, c.type, ${seenAfter} as seen, place.now::text as now,
    place.epoch as place_epoch, ${merchantOrderColumns}
  from place left join (
    chosen c join "order" o on o.id = c.order_uuid join event v on v.order_uuid = c.order_uuid and v.version = c.version
  ) on c.is_match or c.nth = ${readMax}
  order by c.nth`,
} as const;

/** A transaction before those of the events from $1 on. */
const startStatement = {
  name: "feed-start",
  text: `select greatest(3, event_xid_at(coalesce($1::timestamptz, '-infinity') - interval '10 seconds')::text::bigint)::text as first, epoch
    from timeline`,
} as const;

interface FeedRow extends MerchantOrderRow {
  /** Null in the one row of an empty page. */
  xid: string | null;
  nth: number;
  is_match: boolean;
  type: string;
  /** What was seen before this event's transaction. */
  seen: string;
  now: string;
  place_epoch: number;
}

const digits = z.string().regex(/^\d{1,19}$/);
const snapshot = z.string().regex(/^\d{1,19}:\d{1,19}:[\d,]{0,20000}$/);
const placeShape = z.tuple([z.int().min(0), snapshot, z.tuple([digits, z.uuid(), z.int().min(0)]).optional()]);

/** The epoch, the snapshot that a reader has, and the last event that it has of the transaction after it. */
type Place = z.infer<typeof placeShape>;

/** Events that one call of `removeForeign` takes out of the feed. */
const foreignMax = 1_000;

/** A transaction that has not begun cannot have written an event: it is of the cluster from which the database was restored. */
const removeForeignStatement = {
  name: "feed-remove-foreign",
  text: `with foreign_event as materialized (
    select order_uuid, version from event where xid >= pg_snapshot_xmax(pg_current_snapshot())
    order by xid, order_uuid, version limit ${foreignMax} for no key update skip locked
  ),
  removed as (
    update event set xid = null from foreign_event f where event.order_uuid = f.order_uuid and event.version = f.version
  )
  select count(*)::int = ${foreignMax} as is_more from foreign_event`,
} as const;

/**
 * Takes events of another cluster out of the feed, as if they were older than it: their transactions would hide those of this cluster.
 * Smallest numbers first, because this cluster reaches those first. Returns whether more remain. Throws `store_unavailable`.
 */
export async function removeForeign(pool: pg.Pool): Promise<boolean> {
  const [removed] = await run<{ is_more: boolean }>(pool, removeForeignStatement, []);
  return removed?.is_more ?? false;
}

/** The cursor of a reader that wants only what happens from now on. */
export async function currentPlace(pool: pg.Pool): Promise<string> {
  const statement = { name: "feed-now", text: "select pg_current_snapshot()::text as now, epoch from timeline" };
  const [row] = await run<{ now: string; epoch: number }>(pool, statement, []);
  return writeCursor([row?.epoch ?? 0, row?.now ?? "1:1:"]);
}

/** Reads one page. Throws `body_invalid` for a cursor that the feed did not return. */
export async function readFeed(pool: pg.Pool, { since, type, cursor, limit }: FeedFilter): Promise<FeedPage> {
  const [epoch, seen, last] = cursor === undefined ? await firstPlace(pool, since) : readCursor(placeShape, cursor);
  const values = [seen, last?.[0], last?.[1], last?.[2], since, type, epoch];
  const rows = await run<FeedRow>(pool, feedStatement, values).catch(refuseCursor);
  const found = rows.filter((row) => row.xid !== null);
  const matches = found.filter((row) => row.is_match);
  const shown = matches.slice(0, limit);
  const cut = matches.length > limit ? shown.at(-1) : found.find(({ nth }) => nth === readMax);
  return {
    data: shown.map((row) => orderMessage(row.type, row)),
    cursors: shown.map(placeAfter),
    nextCursor: cut ? placeAfter(cut) : writeCursor([rows[0]?.place_epoch ?? epoch, rows[0]?.now ?? seen]),
    hasMore: cut !== undefined,
  };
}

const placeAfter = ({ place_epoch, seen, xid, id, version }: FeedRow): string =>
  writeCursor([place_epoch, seen, [xid ?? "0", id, version]]);

/** The cursor of a reader that wants what happened from a time on. */
export const placeSince = async (pool: pg.Pool, since: Date): Promise<string> =>
  writeCursor(await firstPlace(pool, since));

async function firstPlace(pool: pg.Pool, since: Date | undefined): Promise<Place> {
  const [row] = await run<{ first: string; epoch: number }>(pool, startStatement, [since]);
  const { first = "3", epoch = 0 } = row ?? {};
  return [epoch, `${first}:${first}:`];
}

/** A snapshot that has the form of one and is none: numbers out of order, or too large. */
function refuseCursor(error: unknown): never {
  if (error instanceof Error && "code" in error && /^22/.test(String(error.code))) {
    throw unknownCursor(error);
  }
  throw error;
}

/** Versions of an order that one read returns at most, because each is a whole state. */
const orderFeedMax = 100;

/** $1: the order. $2: the version after which to read. */
const orderFeedStatement = {
  name: "read-order-feed",
  text: `select ${typeColumn}, ${merchantOrderColumns}
    from "order" o
      join event v on v.order_uuid = o.id and v.version > $2
      left join event previous on previous.order_uuid = o.id and previous.version = v.version - 1
    where o.id = $1
    order by v.version desc limit ${orderFeedMax}`,
} as const;

/** Reads the newest messages about one order, after a version, oldest first. Their types are those of the feed. */
export async function readOrderFeed(pool: pg.Pool, orderUuid: string, afterVersion: number): Promise<Message[]> {
  const rows = await run<MerchantOrderRow & { type: string }>(pool, orderFeedStatement, [orderUuid, afterVersion]);
  return rows.map((row) => orderMessage(row.type, row)).reverse();
}
