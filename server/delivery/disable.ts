/** Disables endpoints that refuse or fail, and tells the other endpoints. */
import type pg from "pg";
import { run } from "../order/statement.ts";
import { accepts, makeDue } from "./subject.ts";

/** Every other enabled endpoint that receives `endpoint.disabled` gets the message about each row of `disabled`. */
const tellOthers = `due as (
    select e.id as endpoint_id, 'endpoint' as kind, disabled.id as subject_id, disabled.version, false as is_replay,
      null::int as replaced
    from disabled join endpoint e on e.id <> disabled.id and e.enabled and not e.is_deleted
    where ${accepts("'endpoint.disabled'")}
  ),
  ${makeDue}
  select id from disabled`;

/** $1: an endpoint that answered 410. $2: its URL then, because another one has not answered. */
const disableGoneStatement = {
  name: "disable-gone",
  text: `with disabled as (
    update endpoint set enabled = false, disabled_because = 'gone', version = version + 1, changed_at = clock_timestamp()
    where id = $1 and url = $2 and enabled returning id, version
  ),
  ${tellOthers}`,
} as const;

/** Something is due at the endpoint `e`, also what has no attempt left. One index probe, because the order keeps it from being a scan. */
const hasDue =
  "coalesce((select true from delivery d where d.endpoint_id = e.id and d.attempt_at is not null order by d.attempt_at limit 1), false)";

/**
 * A notification is never disabled, because its failures are not those of one receiver. An endpoint fails only while something is due: a
 * failure of what was then cleared must not count together with one of days later.
 */
const disableFailingStatement = {
  name: "disable-failing",
  text: `with quiet as (
    update endpoint e set failing_since = null where e.failing_since is not null and e.enabled and not e.is_deleted and not ${hasDue}
  ),
  disabled as (
    update endpoint e set enabled = false, disabled_because = 'failing', version = version + 1, changed_at = clock_timestamp()
    where e.notification is null and e.enabled and not e.is_deleted and e.failing_since < clock_timestamp() - interval '5 days' and ${hasDue}
    returning id, version
  ),
  ${tellOthers}`,
} as const;

/** No row if it was disabled before, or has another URL. */
export const disableGone = (pool: pg.Pool, endpointId: string, url: string): Promise<{ id: string }[]> =>
  run(pool, disableGoneStatement, [endpointId, url]);

/** Disables the endpoints that have failed for five days. */
export const disableFailing = (pool: pg.Pool): Promise<{ id: string }[]> => run(pool, disableFailingStatement, []);

/** Rows of one statement. */
const batch = 1_000;

/** Deletes the oldest rows of the deleted endpoints, and then the endpoints themselves. */
const removeStatements = (
  [
    ["delivery", "subject_id"],
    ["delivery_attempt", "id"],
  ] as const
).map(
  ([table, key]) =>
    ({
      name: `remove-${table}`,
      text: `delete from ${table} where ctid = any (array(
        select one.ctid from endpoint e cross join lateral (
          select ctid from ${table} where endpoint_id = e.id order by ${key} limit ${batch} for update skip locked) one
        where e.is_deleted limit ${batch}))
        returning 1 as one`,
    }) as const,
);

const removeEndpointStatement = {
  name: "remove-endpoint",
  text: `delete from endpoint e where is_deleted
    and not exists (select from delivery where endpoint_id = e.id)
    and not exists (select from delivery_attempt where endpoint_id = e.id)`,
} as const;

/** Runs one batch. Returns whether more may remain. The endpoint goes last, in a batch that finds nothing else to delete. */
export async function removeDeleted(pool: pg.Pool): Promise<boolean> {
  let isAnyDeleted = false;
  for (const statement of removeStatements) isAnyDeleted = (await run(pool, statement, [])).length > 0 || isAnyDeleted;
  if (!isAnyDeleted) await run(pool, removeEndpointStatement, []);
  return isAnyDeleted;
}
