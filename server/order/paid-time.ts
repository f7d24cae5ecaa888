/** Adds the time of the money to successes without one: those that are older than the column, and those that a node of the previous version recorded. */
import type pg from "pg";
import { run } from "./statement.ts";

/** Rows of one commit. 500, because the statement locks them until its commit. */
const batch = 500;

/** The first event that states the money; a second payment of an order is named by `also_paid` only. */
const datePaymentsStatement = {
  name: "date-payments",
  text: `with dated as (
      update payment p set paid_at = coalesce(
        (select min(e.occurred_at) from event e where e.order_uuid = p.order_uuid
         and (e.payment ->> 'id' = p.id::text and is_final(e.status) or p.id = any (e.also_paid))),
        p.started_at)
      where p.id = any (array(
        select id from payment where status = 'succeeded' and paid_at is null
        -- In the order of the index of these, because PostgreSQL would otherwise look for few of them among all payments.
        order by id limit ${batch} for update skip locked))
      returning p.id
    )
    select count(*)::int = ${batch} as is_more from dated`,
} as const;

/** Adds the times of 500 successes. Returns whether more may remain. Throws `store_unavailable`. */
export async function datePayments(pool: pg.Pool): Promise<boolean> {
  const [dated] = await run<{ is_more: boolean }>(pool, datePaymentsStatement, []);
  return dated?.is_more ?? false;
}
