/**
 * Claims payments whose provider must be queried now. A claim moves `check_at` to the next scheduled check, so that the schedule is
 * also the lease: a payment that a killed process has claimed is due again at its next check (G9). Any number of processes may claim
 * at once; each payment goes to one of them. A payment that the pace does not allow stays due: its query is late, never lost.
 */
import type pg from "pg";
import type { DuePayment } from "./order.ts";
import { creditS, halvingsNow, intervalNow } from "./query-pace.ts";
import { type DueRow, providerColumns, toDuePayment } from "./row.ts";
import { type Allowance, nextLateCheck, overAt, receiptCheckEnd, toClaim } from "./schedule.ts";
import { run } from "./statement.ts";

/** `due_provider (provider)`: the providers that have payments to check, and a final null. One index probe for each. */
export const dueProviders = `due_provider as (
    (select provider from payment where check_at is not null order by provider limit 1)
    union all
    select (select p.provider from payment p where p.check_at is not null and p.provider > d.provider
            order by p.provider limit 1)
    from due_provider d where d.provider is not null
  )`;

/** `used_provider (provider)`: the providers that have payments, and a final null. One index probe for each. */
export const usedProviders = `used_provider as (
    (select provider from payment order by provider limit 1)
    union all
    select (select p.provider from payment p where p.provider > u.provider order by p.provider limit 1)
    from used_provider u where u.provider is not null
  )`;

/** Payments of a provider that are ranked: the 1,000 open and 1,000 settled ones due longest, because the statement must not read all. */
const rankedMax = 1_000;

/** Payments of a provider that one statement claims without a query. 100, because neither the pace nor the node limits them. */
const unaskedMax = 100;

/** Payments that one statement claims of a provider that this node has not enabled. They are not queried. */
const orphansMax = 100;

/**
 * $1: the allowance of each enabled provider. Open payments are claimed before settled ones, because no webhook has settled them;
 * among them the nearest deadline comes first. An open payment past twice its time to the deadline is claimed even if the pace allows
 * no query, and then ends without one (`may_ask` is false).
 *
 * The next check of an open payment follows its schedule. A failed or expired payment is checked 5 min, 1 h and 24 h after its
 * deadline, a success without a receipt every minute until one hour after its deadline.
 */
const claimDueStatement = {
  name: "claim-due",
  text: `with recursive allowance as (
    select a.provider, a.free, a.interval_s, a.burst, a.checks_s, a.every_s, a.needs_reference
    from jsonb_to_recordset($1::jsonb) as a (
      provider text, free int, interval_s float8, burst int, checks_s float8[], every_s float8, needs_reference boolean)
  ),
  ${dueProviders},
  pace as materialized (
    select provider, next_at, ${halvingsNow("q")} as halvings from query_pace q
    where provider in (select provider from due_provider) order by provider for no key update
  ),
  -- node_permits: queries that this node can send at once. pace_permits: queries that the pace allows now, null where nothing limits it.
  allowed as materialized (
    select d.provider, i.interval_s, coalesce(t.checks_s, '{}') as checks_s, coalesce(t.every_s, 60) as every_s,
      coalesce(t.needs_reference, false) as needs_reference, coalesce(t.free, ${orphansMax}) as node_permits,
      case when i.interval_s is not null then greatest(0, 1 + floor(
        ((case when halvings > 0 then 1 else t.burst end - 1) * i.interval_s
          - greatest(0, extract(epoch from next_at - clock_timestamp()))) / i.interval_s)::int) end as pace_permits
    from due_provider d
      left join allowance t on t.provider = d.provider
      left join pace p on p.provider = d.provider
      cross join lateral (select ${intervalNow("t.interval_s", "coalesce(halvings, 0)")} as interval_s) i
    where d.provider is not null
  ),
  due_payment as (
    select a.provider, due.id, due.is_unasked, due.is_long_over,
      least(a.node_permits, coalesce(a.pace_permits, a.node_permits)) as permits,
      coalesce(a.pace_permits < a.node_permits, false) as is_paced,
      row_number() over (partition by a.provider, due.is_unasked order by due.is_open desc, due.expires_at) as rank
    from allowed a cross join lateral (
      (select id, expires_at, true as is_open, reference is null and a.needs_reference as is_unasked,
         statement_timestamp() >= ${overAt("payment")} as is_long_over
       from payment where provider = a.provider and is_open(status) and check_at <= statement_timestamp()
       order by check_at limit ${rankedMax})
      union all
      (select id, expires_at, false, reference is null and a.needs_reference, false
       from payment where provider = a.provider and is_open(status) is false and check_at <= statement_timestamp()
       order by check_at limit ${rankedMax})
    ) due
  ),
  claimed as materialized (
    select due.id, due.provider, due.is_unasked, due.is_unasked or due.rank <= due.permits as may_ask, clock_timestamp() as at
    from due_payment due cross join lateral (
      select from payment where id = due.id and check_at <= statement_timestamp() offset 0 for no key update skip locked
    ) locked
    where case when due.is_unasked then due.rank <= ${unaskedMax}
               else due.rank <= due.permits or due.is_paced and due.is_long_over and due.rank <= due.permits + ${unaskedMax} end
  ),
  spent_pace as (
    update query_pace q
    set next_at = greatest(q.next_at, clock_timestamp() - interval '${creditS} seconds') + sent.queries * a.interval_s * interval '1 second'
    from (select provider, count(*) as queries from claimed where may_ask and not is_unasked group by provider) sent
      join allowed a on a.provider = sent.provider
    where q.provider = sent.provider and a.interval_s is not null
  )
  update payment p set check_at = case
    when is_open(p.status) then case
      when c.at < p.expires_at then least(p.expires_at, coalesce(
        (select min(at) from unnest(a.checks_s) s, lateral (select p.started_at + s * interval '1 second' as at) s_at where at > c.at),
        c.at + a.every_s * interval '1 second'))
      when c.at < ${overAt("p")} then least(${overAt("p")}, c.at + a.every_s * interval '1 second')
      else c.at + a.every_s * interval '1 second' end
    when p.status in ('expired', 'failed') then ${nextLateCheck("p", "c.at")}
    when p.status = 'succeeded' and c.at < ${receiptCheckEnd("p")} then c.at + a.every_s * interval '1 second'
  end
  from claimed c join allowed a on a.provider = c.provider, "order" o
  -- Also by a list of ids, because the planner would otherwise read whole tables.
  where p.id = c.id and p.id = any (array(select id from claimed)) and o.id = p.order_uuid
  returning ${providerColumns}, c.may_ask,
    c.at >= p.expires_at as is_over,
    c.at >= ${overAt("p")} as is_long_over,
    extract(epoch from ${overAt("p")} - c.at)::float8 as left_s`,
} as const;

/** Claims as many due payments as the allowances permit. */
export async function claimDue(pool: pg.Pool, allowances: readonly Allowance[]): Promise<DuePayment[]> {
  const values = [JSON.stringify(allowances.map(toClaim))];
  return (await run<DueRow>(pool, claimDueStatement, values)).map(toDuePayment);
}
