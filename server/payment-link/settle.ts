/**
 * Makes links `paid` and `expired`. A link is paid when its order is, whoever paid it and whenever, also after it was cancelled or has
 * expired: then money has arrived. The order's statement leaves the link alone, so that no webhook waits for it. A later statement, of any
 * node, finds the order by the mark `pays_link`.
 *
 * Guarantees: a committed success makes its link paid, whatever node dies. Any number of nodes may settle at once. A statement never waits
 * for an order, and `settleDue` for no link either, so that no payment waits for two of them.
 */
import type pg from "pg";
import { makeLinksDue } from "../delivery/link-message.ts";
import { run } from "../order/statement.ts";

/** Links of one statement for each status. */
const batch = 500;

/** The columns that every change of a link sets. */
export const nextVersion = `version = l.version + 1, xid = pg_current_xact_id(),
    changed_at = greatest(date_trunc('milliseconds', clock_timestamp()), l.changed_at)`;

/** Whether the order of a link `l` is paid. No order of a reusable link has the link's order id. */
export const isOrderPaid = `exists (select from "order" o
      where o.order_id = l.order_id and o.payment_link_id = l.id and o.status = 'succeeded')`;

export const isOver = "coalesce(l.expires_at <= clock_timestamp(), false)";

const settleDueStatement = {
  name: "settle-payment-links",
  text: `with paid_order as materialized (
    select id, payment_link_id from "order" where pays_link and status = 'succeeded' limit ${batch} for no key update skip locked
  ),
  paid_link as materialized (
    -- One index probe for each order.
    select l.id, l.place, o.id as order_uuid from paid_order o cross join lateral (
      select id, ctid as place from payment_link where id = o.payment_link_id offset 0 for no key update skip locked
    ) l
  ),
  expired_link as materialized (
    select id, ctid as place from payment_link where status = 'open' and expires_at <= statement_timestamp()
    order by expires_at limit ${batch} for no key update skip locked
  ),
  settled_order as (update "order" o set pays_link = null from paid_link where o.id = paid_link.order_uuid),
  changed_link as (
    update payment_link l set status = case when l.id in (select id from paid_link) then 'paid' else 'expired' end, ${nextVersion}
    where l.ctid = any (array(select place from paid_link union select place from expired_link)) and l.status <> 'paid'
    returning l.id, l.version, l.status, l.plan_uuid
  ),
  ${makeLinksDue}
  select (select count(*)::int from changed_link) as changed,
    greatest((select count(*) from paid_order), (select count(*) from expired_link)) = ${batch} as is_full`,
} as const;

/** Settles the links that are due. Returns how many changed, and whether more may be due. Throws `store_unavailable`. */
export async function settleDue(pool: pg.Pool): Promise<{ changed: number; isUnfinished: boolean }> {
  type Row = { changed: number; is_full: boolean };
  const [row] = await run<Row>(pool, settleDueStatement, []);
  return { changed: row?.changed ?? 0, isUnfinished: row?.is_full ?? false };
}

/** Leaves the mark of the order, because it does not lock the order. */
const settleOneStatement = {
  name: "settle-payment-link",
  text: `with locked_link as materialized (
    select id, order_id, status, expires_at from payment_link where id = $1 for no key update
  ),
  next as materialized (
    select l.id, case when ${isOrderPaid} then 'paid' when l.status = 'open' and ${isOver} then 'expired' else l.status end as status
    from locked_link l
  ),
  changed_link as (
    update payment_link l set status = next.status, ${nextVersion} from next where l.id = next.id and l.status <> next.status
    returning l.id, l.version, l.status, l.plan_uuid
  ),
  ${makeLinksDue}
  select id from changed_link`,
} as const;

/** Settles one link. Returns whether it changed. Throws `store_unavailable`. */
export const settleOne = async (pool: pg.Pool, id: string): Promise<boolean> =>
  (await run(pool, settleOneStatement, [id])).length > 0;
