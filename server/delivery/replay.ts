/**
 * Delivers the current state of subjects again, because the merchant asks for it.
 *
 * Guarantees: a replay reads each order of its period once, in statements that are bounded, and counts it once. An order that changes
 * meanwhile is not lost: its place in the replay is its first event of the period, which does not change.
 */
import type pg from "pg";
import { run } from "../order/statement.ts";
import { accepts, concerns, makeDue, messageJoins, orderSubjects } from "./subject.ts";

/** `status`: only orders with this status now. */
export type Replay = { status?: string | undefined } & (
  | {
      /** Orders that changed at this time or later. */
      since: Date;
      /** Orders that changed before this time. */
      until?: Date | undefined;
      orderId?: string | undefined;
    }
  /** One order, whenever it changed. */
  | { since?: undefined; orderId: string }
);

/** Events or orders of one statement, at least. More if one transaction wrote more events. */
const batch = 500;

/** The orders of `chosen` become due at the endpoint $1. $2, $3: the period. $4: the status that they must have, or null. */
const replayed = `subject as materialized (${orderSubjects("select id from chosen")}
  ),
  due as (
    select e.id as endpoint_id, 'order' as kind, s.id as subject_id, s.version, true as is_replay, d.due_version as replaced
    from subject s
      join endpoint e on e.id = $1 and not e.is_deleted
      ${messageJoins}
    where ($4::text is null or s.status = $4) and ${accepts("'order.' || s.status")} and ${concerns}
  ),
  ${makeDue}`;

/** Whether the time is in the period. */
const isWithin = (time: string): string =>
  `${time} >= $2::timestamptz and ${time} < coalesce($3::timestamptz, 'infinity')`;

/** $5: the order. Without $2 any period counts. */
const replayOrderStatement = {
  name: "replay-order",
  text: `with chosen as materialized (
    select o.id from "order" o
    where o.order_id = $5
      and ($2::timestamptz is null or exists (select from event v where v.order_uuid = o.id and ${isWithin("v.occurred_at")}))
  ),
  ${replayed}
  select count(*)::int as queued from queued`,
} as const;

/**
 * $5: the first transaction to read. $6: the last one of the period. An order counts at its first event of the period; events that
 * are older than their column `xid` do not count here.
 */
const replayEventsStatement = {
  name: "replay-events",
  text: `with read as materialized (
    select xid, order_uuid, version, occurred_at from event where xid >= $5::xid8 and xid <= $6::xid8
    order by xid fetch first ${batch} rows with ties
  ),
  chosen as materialized (
    select r.order_uuid as id from read r
      left join lateral (
        select occurred_at from event where order_uuid = r.order_uuid and version = r.version - 1 and xid is not null offset 0
      ) previous on true
    where ${isWithin("r.occurred_at")} and coalesce(previous.occurred_at < $2, true)
  ),
  ${replayed}
  select (select count(*)::int from queued) as queued, 
    case when count(*) >= ${batch} then (max(xid)::text::bigint + 1)::text end as next
  from read`,
} as const;

/**
 * The orders whose last event is older than its column `xid`, by the time of that event. $5, $6: the time and id of the last order
 * that was read.
 */
const replayOldStatement = {
  name: "replay-old-orders",
  text: `with read as materialized (
    select o.id, o.changed_at, o.version from "order" o
    where (o.changed_at, o.id) > ($5::timestamptz, $6::uuid) and ${isWithin("o.changed_at")}
    order by o.changed_at, o.id limit ${batch}
  ),
  chosen as materialized (
    select r.id from read r where (select xid from event where order_uuid = r.id and version = r.version) is null
  ),
  ${replayed}
  select (select count(*)::int from queued) as queued, last.changed_at::text as last_at, last.id as last_id
  from (select) one left join (
    select changed_at, id from read order by changed_at, id offset ${batch - 1}
  ) last on true`,
} as const;

/**
 * $1, $2: the period. Returns its part whose events may be older than their column `xid`, if it has one. Events from before the epoch
 * may have lost it (`removeForeign`), beside others that have kept it.
 */
const oldPeriodStatement = {
  name: "replay-old-period",
  text: `select until::text from (
      select least($2::timestamptz,
        (select greatest(occurred_at, to_timestamp(epoch)) from event where xid is not null order by xid limit 1) + interval '10 seconds',
        'infinity') as until
      from timeline
    ) old where until > $1::timestamptz`,
} as const;

/** $1, $2: the period. Returns its transactions: those of events of 10 s around a time may be on either side of it. */
const rangeStatement = {
  name: "replay-range",
  text: `select event_xid_at($1::timestamptz - interval '10 seconds')::text as first,
    coalesce(event_xid_at($2::timestamptz + interval '10 seconds'), (select max(xid) from event))::text as last`,
} as const;

interface Period {
  pool: pg.Pool;
  endpointId: string;
  since: Date;
  until: Date | undefined;
  status: string | undefined;
}

/** Returns the number of orders that will be sent. Throws `store_unavailable`. */
export async function replay(pool: pg.Pool, endpointId: string, asked: Replay): Promise<number> {
  const { since, orderId, status } = asked;
  const until = since && asked.until;
  if (since === undefined || orderId !== undefined) {
    const values = [endpointId, since, until, status, orderId];
    const [row] = await run<{ queued: number }>(pool, replayOrderStatement, values);
    return row?.queued ?? 0;
  }
  const period = { pool, endpointId, since, until, status };
  // First, so that an order which changes meanwhile has a newer event that is read then.
  const old = await replayOldOrders(period);
  return old + (await replayEvents(period));
}

async function replayOldOrders({ pool, endpointId, since, until, status }: Period): Promise<number> {
  const [old] = await run<{ until: string }>(pool, oldPeriodStatement, [since, until]);
  let total = 0;
  let place: readonly [string, string] | undefined = old && ["-infinity", "00000000-0000-0000-0000-000000000000"];
  while (place) {
    type Page = { queued: number; last_at: string | null; last_id: string | null };
    const values: unknown[] = [endpointId, since, old?.until, status, ...place];
    const [page]: Page[] = await run(pool, replayOldStatement, values);
    total += page?.queued ?? 0;
    place = page?.last_at && page.last_id ? [page.last_at, page.last_id] : undefined;
  }
  return total;
}

async function replayEvents({ pool, endpointId, since, until, status }: Period): Promise<number> {
  const [range] = await run<{ first: string; last: string | null }>(pool, rangeStatement, [since, until]);
  let total = 0;
  let place: string | null | undefined = range?.first;
  while (place) {
    const values: unknown[] = [endpointId, since, until, status, place, range?.last];
    const [page]: { queued: number; next: string | null }[] = await run(pool, replayEventsStatement, values);
    total += page?.queued ?? 0;
    place = page?.next;
  }
  return total;
}
