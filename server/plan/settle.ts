/**
 * Makes plans follow their instalments and the clock: `past_due`, started, `completed`. Due work is a column: a payment link whose
 * `seen_version` is not its `version`, and `past_due_at` of a plan. So a change of a link by any node, also one that knows no plans, is taken
 * into account whatever node dies.
 *
 * Guarantees: any number of nodes may settle at once. A statement computes from the links of its snapshot, so it changes only plans that
 * are still of the version of its snapshot; the others stay due. `settleDuePlans` waits for no plan.
 */
import type pg from "pg";
import { makePlansDue, planMessageColumns } from "../delivery/plan-message.ts";
import { run } from "../order/statement.ts";
import { nextVersion as nextLinkVersion, settleOne } from "../payment-link/settle.ts";
import { nextVersion, startedIf } from "./version.ts";

/** Plans of one statement for each reason. */
const batch = 500;

/**
 * The status of a plan with the facts `f`: nothing to pay any more, else stopped by the merchant, else by the clock. An instalment that the
 * merchant has cancelled as a payment link is not owed. A cancelled plan is completed only by the money of all instalments.
 */
const nextStatus = `case
        when f.open = 0 and p.grows_at is null and f.paid > 0 and (p.status <> 'cancelled' or f.cancelled = 0) then 'completed'
        when f.open = 0 and p.grows_at is null then 'cancelled'
        when p.status in ('paused', 'cancelled') then p.status
        when f.overdue_at <= (select plan_now()) then 'past_due'
        else 'active' end`;

/**
 * Settles the plans of the select `chosen (id)`. A paid link that covers instalments makes all of them paid, in one version of the plan. A
 * covering link one of whose instalments is no longer open is cancelled.
 */
const settle = (chosen: string, lock: "" | "skip locked"): string => `locked_plan as materialized (
    select p.id, p.version from (${chosen}) chosen cross join lateral (
      select id, version from plan where id = chosen.id offset 0 for no key update ${lock}
    ) p
  ),
  unseen_link as materialized (
    select l.* from locked_plan k cross join lateral (
      select id, ctid as place, plan_uuid, version, status, covers from payment_link
      where plan_uuid = k.id and seen_version <> version offset 0
    ) l
  ),
  covered_link as materialized (
    select distinct on (l.id) l.id, l.place, u.plan_uuid, u.id as covered_by from unseen_link u cross join lateral (
      select id, ctid as place from payment_link
      where plan_uuid = u.plan_uuid and plan_n = any (u.covers) and status <> 'paid' offset 0 for no key update
    ) l
    where u.status = 'paid' order by l.id
  ),
  obsolete_link as materialized (
    select c.place from locked_plan k cross join lateral (
      select ctid as place from payment_link c where plan_uuid = k.id and plan_n is null and status = 'open' and exists (
        select from payment_link l where l.plan_uuid = k.id and l.plan_n = any (c.covers)
          and (l.status <> 'open' or l.id in (select id from covered_link)))
      offset 0 for no key update
    ) c
  ),
  next as materialized (
    select p.id, p.place, p.version, p.status, f.paid, f.overdue_at, ${nextStatus} as next_status
    from locked_plan k
      cross join lateral (
        select id, ctid as place, version, status, grows_at from plan where id = k.id and version = k.version offset 0
      ) p
      cross join lateral (
        select count(*) filter (where status = 'open') as open, count(*) filter (where status = 'paid') as paid,
          count(*) filter (where status = 'cancelled') as cancelled, min(overdue_at) filter (where status = 'open') as overdue_at
        from (
          select overdue_at, case when id in (select id from covered_link) then 'paid' else status end as status
          from payment_link where plan_uuid = p.id and plan_n is not null
        ) instalment
      ) f
  ),
  changed_plan as (
    update plan p set ${nextVersion("n.next_status")}, ${startedIf("n.paid > 0")},
      grows_at = case when n.next_status not in ('completed', 'cancelled') then p.grows_at end,
      collects_at = case when n.next_status not in ('completed', 'cancelled') then p.collects_at end,
      past_due_at = case when n.next_status = 'active' then n.overdue_at end
    from next n
    -- By a list of places, because the planner would read the whole table.
    where p.ctid = any (array(select place from next)) and p.id = n.id and (n.next_status <> n.status
      or exists (select from unseen_link u where u.plan_uuid = n.id and u.covers is null)
      or exists (select from covered_link c where c.plan_uuid = n.id))
    returning ${planMessageColumns}
  ),
  seen_link as (
    -- A link that has changed since the snapshot stays due, and so does a covering link until all its instalments are paid.
    update payment_link l set seen_version = u.version from unseen_link u left join changed_plan c on c.id = u.plan_uuid
    where l.ctid = any (array(select place from unseen_link)) and l.id = u.id and l.seen_version < u.version
      and case when u.covers is null then c.id is not null and not exists (select from covered_link where id = u.id)
        else not exists (select from covered_link where covered_by = u.id) end
  ),
  paid_link as (
    update payment_link l set status = 'paid', covered_by = c.covered_by, ${nextLinkVersion}, seen_version = l.version + 1
    from covered_link c join changed_plan p on p.id = c.plan_uuid
    where l.ctid = any (array(select place from covered_link)) and l.id = c.id
  ),
  cancelled_link as (
    update payment_link l set status = 'cancelled', ${nextLinkVersion}, seen_version = l.version + 1
    where l.ctid = any (array(select place from obsolete_link))
  ),
  ${makePlansDue}`;

const settleDueStatement = {
  name: "settle-plans",
  text: `with due_plan as materialized (
    select id from plan where past_due_at <= plan_now() order by past_due_at limit ${batch}
  ),
  paid_plan as materialized (select plan_uuid as id from payment_link where seen_version <> version limit ${batch}),
  ${settle("select id from due_plan union select id from paid_plan", "skip locked")}
  select (select count(*)::int from changed_plan) as changed,
    greatest((select count(*) from due_plan), (select count(*) from paid_plan)) = ${batch} as is_full`,
} as const;

/** Settles the plans that are due. Returns how many changed, and whether more may be due. Throws `store_unavailable`. */
export async function settleDuePlans(pool: pg.Pool): Promise<{ changed: number; isUnfinished: boolean }> {
  type Row = { changed: number; is_full: boolean };
  const [row] = await run<Row>(pool, settleDueStatement, []);
  return { changed: row?.changed ?? 0, isUnfinished: row?.is_full ?? false };
}

const settleOneStatement = {
  name: "settle-plan",
  text: `with ${settle("select $1::uuid as id", "")}
  select id from changed_plan`,
} as const;

/** An instalment of a plan `p` whose order is paid, and whose link does not show it yet: its id. */
export const unsettledLinks = `select l.id from payment_link l cross join lateral (
        select from "order" o where o.payment_link_id = l.id and o.pays_link and o.status = 'succeeded' offset 0
      ) paid_order
      where l.plan_uuid = p.id and l.status <> 'paid'`;

const unsettledStatement = {
  name: "read-unsettled-instalments",
  text: `select unsettled.id from plan p cross join lateral (${unsettledLinks}) unsettled where p.id = $1`,
} as const;

/** Settles one plan, and its instalments first. Throws `store_unavailable`. */
export async function settlePlan(pool: pg.Pool, id: string): Promise<void> {
  for (const link of await run<{ id: string }>(pool, unsettledStatement, [id])) await settleOne(pool, link.id);
  await run(pool, settleOneStatement, [id]);
}
