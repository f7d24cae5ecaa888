/**
 * The fan-out makes new versions of orders due at the endpoints that receive them.
 *
 * Guarantees: every committed event is read at least once, whatever node wrote it, in whatever order the transactions commit, and
 * whatever the clocks show: the next read begins with what the snapshot of the last one did not see. An endpoint receives what the
 * transaction that created it did not see: when the fan-out first sees an endpoint, it goes back to that transaction. Reading an event
 * again changes nothing. One node fans out at a time; the others leave it to that node.
 */
import type pg from "pg";
import { run } from "../order/statement.ts";
import { accepts, concerns, isSinceCreation, makeDue, messageJoins, orderSubjects } from "./subject.ts";

/** Events of one pass, at least. More if one transaction wrote more. */
const eventsMax = 1_000;

/** Orders of one pass of a sweep. */
const sweptMax = 500;

/** The key of the advisory lock. An arbitrary number, the same in every process. */
const fanOutLock = 7_458_003;

/** Subjects that an endpoint `e` must receive and does not have, as `due`, of those that are `wanted`. */
const dueOrders = (wanted: string): string => `due as (
    select e.id as endpoint_id, 'order' as kind, s.id as subject_id, s.version, false as is_replay, d.due_version as replaced
    from subject s
      join endpoint e on not e.is_deleted
      ${messageJoins}
    where s.version > coalesce(greatest(m.acked, d.due_version), 0) and ${isSinceCreation("s.changed_xid", "s.changed_at")}
      and ${accepts("m.type")} and ${concerns} and ${wanted}
  ),
  ${makeDue}`;

/**
 * Reads the transactions that were in progress at the last snapshot, and those that began after it. The snapshot of this statement
 * is the next one, unless more events remain: then it is cut at the last transaction of this pass.
 */
const fanOutStatement = {
  name: "fan-out",
  text: `with place as materialized (
    select f.seen, f.xmin as written_by, f.epoch <> t.epoch as is_new_epoch, f.swept_at is not null as is_sweeping, pg_current_snapshot() as now,
      exists (select from endpoint where not is_joined and not is_deleted) as has_new_endpoint
    from fan_out f, timeline t where pg_try_advisory_xact_lock(${fanOutLock})
  ),
  late_event as (
    select xid, order_uuid from event where xid = any (array(select pg_snapshot_xip(seen) from place))
  ),
  new_event as materialized (
    select xid, order_uuid from event
    where xid >= (select pg_snapshot_xmax(seen) from place) and xid < (select pg_snapshot_xmax(now) from place)
    order by xid fetch first ${eventsMax} rows with ties
  ),
  subject as materialized (${orderSubjects("select order_uuid from late_event union select order_uuid from new_event")}
  ),
  ${dueOrders("true")},
  read as (select count(*) >= ${eventsMax} as is_full, max(xid) as last, count(*) > 0 as is_any from new_event),
  moved as (
    update fan_out f set seen = case when is_full then seen_before(now, (last::text::bigint + 1)::text::xid8) else now end
    from read, place
    -- This statement's snapshot is older than its lock: another node may have moved the place since, also back for a new endpoint.
    where (is_any or exists (select from late_event)) and f.xmin = place.written_by
  )
  select is_new_epoch, is_sweeping, has_new_endpoint, is_full, (select count(*)::int from queued) as queued from place, read`,
} as const;

/** Goes back to what the new endpoints' transactions did not see, because the fan-out may have passed it before they were committed. */
const joinStatement = {
  name: "fan-out-join",
  text: `with held as materialized (select where pg_try_advisory_xact_lock(${fanOutLock})),
  joined as (
    update endpoint set is_joined = true from held where not is_joined and not is_deleted returning created_epoch, created_snapshot
  )
  update fan_out f set seen = seen_before(f.seen, least(pg_snapshot_xmax(f.seen), first))
  from (
    select min(pg_snapshot_xmin(created_snapshot)) as first from joined join timeline t on t.epoch = created_epoch
  ) created
  where first is not null`,
} as const;

/** After a new epoch the stored snapshot may be of another server, so that all orders are looked at instead. */
const startSweepStatement = {
  name: "fan-out-start-sweep",
  text: `update fan_out set seen = pg_current_snapshot(), epoch = (select epoch from timeline),
    swept_at = (select min(created_at) from endpoint where not is_deleted), swept_id = '00000000-0000-0000-0000-000000000000'
    where epoch <> (select epoch from timeline)`,
} as const;

const sweepStatement = {
  name: "fan-out-sweep",
  text: `with place as materialized (select swept_at, swept_id from fan_out),
  chosen as materialized (
    select o.id, o.changed_at from "order" o
    where (o.changed_at, o.id) > (select swept_at, swept_id from place)
    order by o.changed_at, o.id limit ${sweptMax}
  ),
  subject as materialized (${orderSubjects("select id from chosen")}
  ),
  -- A version that the filter did not want before it was changed is not due now; one that the endpoint acknowledged may be lost.
  ${dueOrders("(s.changed_at >= coalesce(e.filtered_at, '-infinity') or d.acked_version >= s.version)")},
  last as (select changed_at, id from chosen order by changed_at desc, id desc limit 1),
  moved as (
    update fan_out set swept_at = case when n = ${sweptMax} then last.changed_at end, swept_id = last.id
    from place, (select count(*) as n from chosen) counted left join last on true
    -- Another node may have moved it, or begun another sweep.
    where fan_out.swept_at = place.swept_at and fan_out.swept_id = place.swept_id
  )
  select count(*)::int = ${sweptMax} as is_more from chosen`,
} as const;

/** Without an endpoint nothing is due. The snapshot moves on rarely, so that the first endpoint finds few events to read. */
const skipStatement = {
  name: "fan-out-skip",
  text: `update fan_out set seen = pg_current_snapshot()
    where not exists (select from endpoint where not is_deleted)
      and pg_snapshot_xmax(pg_current_snapshot())::text::bigint > pg_snapshot_xmax(seen)::text::bigint + 10000`,
} as const;

const anyEndpointStatement = {
  name: "any-endpoint",
  text: `select exists (select from endpoint where not is_deleted) as "hasEndpoint",
    exists (select from endpoint where resumed_to is not null and not is_deleted) as "isResuming"`,
} as const;

/** Whether there is an endpoint at all, and one whose deliveries are to be resumed. Throws `store_unavailable`. */
export async function lookForEndpoints(pool: pg.Pool): Promise<{ hasEndpoint: boolean; isResuming: boolean }> {
  const [found] = await run<{ hasEndpoint: boolean; isResuming: boolean }>(pool, anyEndpointStatement, []);
  if (found?.hasEndpoint) return found;
  await run(pool, skipStatement, []);
  return { hasEndpoint: false, isResuming: false };
}

/** Runs one pass. Returns whether events or orders remain for another one, or another node is at work. Throws `store_unavailable`. */
export async function fanOut(pool: pg.Pool): Promise<{ isUnfinished: boolean }> {
  type Pass = { is_new_epoch: boolean; is_sweeping: boolean; has_new_endpoint: boolean; is_full: boolean };
  const [pass] = await run<Pass>(pool, fanOutStatement, []);
  if (pass?.has_new_endpoint) await run(pool, joinStatement, []);
  if (pass?.is_new_epoch) await run(pool, startSweepStatement, []);
  const isSwept = pass && (pass.is_new_epoch || pass.is_sweeping) ? await sweep(pool) : true;
  return { isUnfinished: !pass || pass.has_new_endpoint || pass.is_full || !isSwept };
}

/** Returns whether the sweep is complete. */
async function sweep(pool: pg.Pool): Promise<boolean> {
  const [swept] = await run<{ is_more: boolean }>(pool, sweepStatement, []);
  return !swept?.is_more;
}
