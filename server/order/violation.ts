/** Finds orders whose rows break an invariant. There should be none: any order found here is a bug, or was changed by hand. */
import { statuses } from "../../client-sdk/protocol.ts";
import type { Database } from "../database/pool.ts";

/** An order that breaks an invariant, by the name that an alert shows. */
export interface StoredViolation {
  /**
   * `version_skipped`: the order's events have a gap, or end at another version than the order. `success_taken_back`: the
   * order was paid and is not paid now. `check_missing`: a payment is open past twice its time to the deadline, and no
   * check is due (part of G9).
   */
  invariant: "version_skipped" | "success_taken_back" | "check_missing";
  /** The order's uuid. */
  id: string;
}

/**
 * Reads a few hundred orders by index, whatever the size of the tables: those that changed last, and those open longest. Reads the
 * open orders of each status apart, because no index has the orders of several statuses by time.
 */
const violationStatement = {
  name: "violation",
  text: `with recently_changed as materialized (
      select id, version, status from "order" where changed_at > now() - interval '5 minutes' order by changed_at desc limit 300
    ),
    longest_open as materialized (
      select o.id, o.attempt from unnest('{${statuses.join(",")}}'::text[]) as each (status) cross join lateral (
        select id, attempt, opened_at from "order" where status = each.status order by opened_at limit 300
      ) o
      where is_open(each.status) order by o.opened_at limit 300
    )
    select case when history.was_paid and o.status <> 'succeeded' then 'success_taken_back' else 'version_skipped' end as invariant, o.id
    from recently_changed o cross join lateral (
      select count(*) as events, max(version) as newest, bool_or(status = 'succeeded') as was_paid
      from event where order_uuid = o.id) history
    where history.was_paid and o.status <> 'succeeded' or history.events <> o.version or history.newest <> o.version
    union all
    select 'check_missing', o.id from longest_open o
      join lateral (
        select status, started_at, expires_at, check_at from payment
        where order_uuid = o.id and attempt = o.attempt offset 0) latest on true
    where is_open(latest.status)
      and now() > latest.expires_at + (latest.expires_at - latest.started_at)
      and (latest.check_at is null or latest.check_at > now() + interval '5 minutes')`,
  // Half a second, because a shutdown waits for it.
  query_timeout: 500,
} as const;

/** Any number of nodes may run this at once. Throws what PostgreSQL throws. */
export async function findViolations({ pool }: Database): Promise<StoredViolation[]> {
  const { rows } = await pool.query<StoredViolation>(violationStatement);
  return rows;
}
