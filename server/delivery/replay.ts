/** Delivers the current state of subjects again, because the merchant asks for it. */
import type pg from "pg";
import { run } from "../order/statement.ts";
import { accepts, makeDue, messageJoins, orderSubjects } from "./subject.ts";

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

/** Orders of one statement. */
const batch = 500;

/** The orders of `subject` become due at the endpoint $1. `status`: the parameter with the status that they must have, or null. */
const replayed = (status: string): string => `due as (
    select e.id as endpoint_id, 'order' as kind, s.id as subject_id, s.version, true as is_replay, d.due_version as replaced
    from subject s
      join endpoint e on e.id = $1 and not e.is_deleted
      ${messageJoins}
    where (${status} is null or s.status = ${status}) and ${accepts("'order.' || s.status")}
  ),
  ${makeDue}`;

/** $1: the endpoint. $2: the order. $3: the status. */
const replayOrderStatement = {
  name: "replay-order",
  text: `with subject as materialized (${orderSubjects('select id from "order" where order_id = $2')}
  ),
  ${replayed("$3::text")}
  select count(*)::int as queued from queued`,
} as const;

/** $1: the endpoint. $2, $3: the time of the changes. $4: the order. $5: the status. $6: the place in the orders, by id. */
const replayStatement = {
  name: "replay",
  text: `with changed as materialized (
    select found.id from (
      select v.order_uuid as id from event v
      where v.xid >= event_xid_at($2::timestamptz - interval '10 seconds')
        and ($3::timestamptz is null or v.xid <= event_xid_at($3::timestamptz + interval '10 seconds'))
        and v.occurred_at >= $2 and v.occurred_at < coalesce($3::timestamptz, 'infinity')
      -- Events that are older than their column \`xid\`: the last one of each order counts.
      union
      select o.id from "order" o where o.changed_at >= $2 and o.changed_at < coalesce($3::timestamptz, 'infinity')
    ) found
    where $4::text is null or found.id = (select id from "order" where order_id = $4)
  ),
  chosen as materialized (select id from changed where id > $6::uuid order by id limit ${batch}),
  subject as materialized (${orderSubjects("select id from chosen")}
  ),
  ${replayed("$5::text")}
  select (select count(*)::int from queued) as queued, (select count(*)::int from chosen) as chosen,
    (select id from chosen order by id desc limit 1) as last`,
} as const;

const before = "00000000-0000-0000-0000-000000000000";

interface ReplayRow {
  queued: number;
  chosen: number;
  last: string | null;
}

/** Returns the number of orders that will be sent. Throws `store_unavailable`. */
export async function replay(pool: pg.Pool, endpointId: string, asked: Replay): Promise<number> {
  if (asked.since !== undefined) return replaySince(pool, endpointId, asked);
  const values = [endpointId, asked.orderId, asked.status];
  const [row] = await run<Pick<ReplayRow, "queued">>(pool, replayOrderStatement, values);
  return row?.queued ?? 0;
}

async function replaySince(
  pool: pg.Pool,
  endpointId: string,
  { since, until, orderId, status }: Extract<Replay, { since: Date }>,
): Promise<number> {
  let total = 0;
  for (let place: string | null = before; place !== null; ) {
    const values: unknown[] = [endpointId, since, until, orderId, status, place];
    const [row]: ReplayRow[] = await run(pool, replayStatement, values);
    total += row?.queued ?? 0;
    place = row?.chosen === batch ? row.last : null;
  }
  return total;
}
