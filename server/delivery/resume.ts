/**
 * Resumes the deliveries of endpoints that were enabled: makes everything due at once that waits for a later attempt or has no attempt
 * left. The engine does it in batches, because there may be any number of deliveries.
 */
import type pg from "pg";
import { dueNow } from "../order/schedule.ts";
import { run } from "../order/statement.ts";

/** The place before all deliveries, as SQL: an endpoint with it in `resumed_to` is resumed from the beginning. */
export const beforeAll = "'00000000-0000-0000-0000-000000000000'::uuid";

/** Deliveries of one batch. */
const batch = 1_000;

/**
 * One batch of one endpoint, in the order of the deliveries, so that one which fails meanwhile is not made due again. An attempt in
 * flight goes on; its record sees that its failures no longer count.
 */
const resumeStatement = {
  name: "resume-deliveries",
  text: `with resuming as materialized (
    select id, resumed_to from endpoint where resumed_to is not null and not is_deleted order by id limit 1 for no key update skip locked
  ),
  chosen as materialized (
    select d.endpoint_id, d.subject_id
    from resuming r cross join lateral (
      select endpoint_id, subject_id from delivery
      where endpoint_id = r.id and subject_id > r.resumed_to and due_version is not null and attempts > 0
      order by subject_id limit ${batch}
    ) d
  ),
  resumed as (
    update delivery d set attempts = 0,
      attempt_at = case when d.claimed_until > clock_timestamp() then d.attempt_at else ${dueNow} end
    from chosen where d.endpoint_id = chosen.endpoint_id and d.subject_id = chosen.subject_id
      and d.due_version is not null
  )
  update endpoint e set resumed_to = (select subject_id from chosen order by subject_id offset ${batch - 1})
  from resuming r where e.id = r.id
  returning 1 as one`,
} as const;

/** Resumes one batch. Returns whether an endpoint had one. Throws `store_unavailable`. */
export const resumeDeliveries = async (pool: pg.Pool): Promise<boolean> =>
  (await run(pool, resumeStatement, [])).length > 0;
