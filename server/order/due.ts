/** Statements about single payments: which are due to be asked about, which may be asked for or completed, which one a reference names. */

import { halvingsNow, intervalNow } from "./query-pace.ts";
import { providerColumns } from "./row.ts";
import { completionEnd, nextLateCheck, overAt } from "./schedule.ts";

/** As the index `payment_due` has it. */
export const open = "status in ('pending', 'processing')";

/** `due_provider (provider)`, ending in a null: those that have payments to check, found by one index probe each. */
export const dueProviders = `due_provider as (
    (select provider from payment where check_at is not null order by provider limit 1)
    union all
    select (select p.provider from payment p where p.check_at is not null and p.provider > d.provider
            order by p.provider limit 1)
    from due_provider d where d.provider is not null
  )`;

/** Ranks at most so many of a provider's longest due payments, open ones and settled ones apart. */
const rankedMax = 1_000;

/** At most so many payments of a provider are taken without a query, in one statement. */
const unaskedMax = 100;

/** At most so many payments of a provider that this node does not offer, in one statement. No query is sent for them. */
const orphansMax = 100;

/** Queries are counted from up to so long ago, because due payments are looked for twice a second. */
const creditS = 0.5;

/**
 * Takes payments that are due to be asked about, as $1 allows for each provider, each payment by one process. Taking moves
 * the check to its next time, so the lease is the schedule, and what a killed process took falls due again. What the pace
 * does not allow stays due: it is late, never lost. Of the 1,000 longest due, open payments come before settled ones, and
 * those whose deadline is nearest first; a payment that had its webhook is settled. Where the pace allows no query, open
 * payments past twice their time are taken all the same, to be ended without one (`may_ask` is false).
 *
 * Late money of a payment that failed or expired is asked for 5 min, 1 h and 24 h after its deadline, and the receipt of a
 * success every minute until it is answered once, for an hour.
 */
export const claimDueStatement = {
  name: "claim-due",
  text: `with recursive allowance as (
    select * from jsonb_to_recordset($1::jsonb) as allowance (
      provider text, free int, interval_s float8, burst int, checks_s float8[], every_s float8, needs_reference boolean)
  ),
  ${dueProviders},
  pace as materialized (
    select provider, next_at, ${halvingsNow("q")} as halvings from query_pace q
    where provider in (select provider from due_provider) order by provider for no key update
  ),
  -- room: what this node can ask at once; paced: what the pace allows now, null where nothing limits it.
  allowed as materialized (
    select d.provider, i.interval_s, coalesce(t.checks_s, '{}') as checks_s, coalesce(t.every_s, 60) as every_s,
      coalesce(t.needs_reference, false) as needs_reference, coalesce(t.free, ${orphansMax}) as room,
      case when i.interval_s is not null then greatest(0, 1 + floor(
        ((case when halvings > 0 then 1 else t.burst end - 1) * i.interval_s
          - greatest(0, extract(epoch from next_at - clock_timestamp()))) / i.interval_s)::int) end as paced
    from due_provider d
      left join allowance t on t.provider = d.provider
      left join pace p on p.provider = d.provider
      cross join lateral (select ${intervalNow("t.interval_s", "coalesce(halvings, 0)")} as interval_s) i
    where d.provider is not null
  ),
  waiting as (
    select a.provider, w.*, least(a.room, coalesce(a.paced, a.room)) as permits, coalesce(a.paced < a.room, false) as is_paced,
      row_number() over (partition by a.provider, w.is_unasked order by w.is_open desc, w.expires_at) as rank
    from allowed a cross join lateral (
      (select id, expires_at, true as is_open, reference is null and a.needs_reference as is_unasked,
         statement_timestamp() >= ${overAt("payment")} as is_long_over
       from payment where provider = a.provider and ${open} and check_at <= statement_timestamp()
       order by check_at limit ${rankedMax})
      union all
      (select id, expires_at, false, reference is null and a.needs_reference, false
       from payment where provider = a.provider and (${open}) is false and check_at <= statement_timestamp()
       order by check_at limit ${rankedMax})
    ) w
  ),
  taken as materialized (
    select w.id, w.provider, w.is_unasked, w.is_unasked or w.rank <= w.permits as may_ask, clock_timestamp() as at
    from waiting w cross join lateral (
      select from payment where id = w.id and check_at <= statement_timestamp() offset 0 for no key update skip locked
    ) locked
    where case when w.is_unasked then w.rank <= ${unaskedMax}
               else w.rank <= w.permits or w.is_paced and w.is_long_over and w.rank <= w.permits + ${unaskedMax} end
  ),
  spent as (
    update query_pace q
    set next_at = greatest(q.next_at, clock_timestamp() - interval '${creditS} seconds') + s.queries * a.interval_s * interval '1 second'
    from (select provider, count(*) as queries from taken where may_ask and not is_unasked group by provider) s
      join allowed a on a.provider = s.provider
    where q.provider = s.provider and a.interval_s is not null
  )
  update payment p set check_at = case
    when p.status in ('pending', 'processing') then case
      when t.at < p.expires_at then least(p.expires_at, coalesce(
        (select min(at) from unnest(a.checks_s) s, lateral (select p.started_at + s * interval '1 second' as at) c where at > t.at),
        t.at + a.every_s * interval '1 second'))
      when t.at < ${overAt("p")} then least(${overAt("p")}, t.at + a.every_s * interval '1 second')
      else t.at + a.every_s * interval '1 second' end
    when p.status in ('expired', 'failed') then ${nextLateCheck("p", "t.at")}
    when p.status = 'succeeded' and t.at < ${completionEnd("p")} then t.at + a.every_s * interval '1 second'
  end
  from taken t join allowed a on a.provider = t.provider, "order" o
  -- By id, so that the planner reads rows and no tables.
  where p.id = t.id and p.id = any (array(select id from taken)) and o.id = p.order_uuid
  returning ${providerColumns}, t.may_ask,
    t.at >= p.expires_at as is_over,
    t.at >= ${overAt("p")} as is_long_over,
    extract(epoch from ${overAt("p")} - t.at)::float8 as left_s`,
} as const;

/** Whether a payment may still be asked for: not when its order was paid, or may have been, in the meantime. */
export const payableStatement = {
  name: "payable",
  text: `select o.status not in ('succeeded', 'review') as wanted
         from payment p join "order" o on o.id = p.order_uuid where p.id = $1`,
} as const;

/**
 * What was agreed of a payment, and whether a success that states so much would make it succeed, or complete its success, as
 * `decideWith` (decide.ts) has it. Not one whose receipt is another payment's: that could come any number of times.
 */
export const assessSuccessStatement = {
  name: "assess-success",
  text: `select amount_minor, currency, reference,
    (reference = $4::text) is not false
    and ((amount_minor = $2::bigint and currency = $3::text) is true
      or (amount_minor = $2) is not false and (currency = $3) is not false and provider = any ($6::text[])
        and status <> 'review' and reason is distinct from 'rejected')
    and (status <> 'succeeded' or receipt is null and $5::text is not null or amount_paid_minor is null and $2 is not null)
    and not u.is_used as is_decisive,
    u.is_used as is_receipt_used
  from payment p, lateral (
    select exists (select from receipt r where r.provider = p.provider and r.receipt = $5 and r.payment_id <> p.id) as is_used
  ) u
  where id = $1`,
} as const;

/** Makes an open payment due to be asked about now. */
export const checkNowStatement = {
  name: "check-now",
  text: `update payment set check_at = least(check_at, clock_timestamp())
         where id = $1 and status not in ('succeeded', 'review') and reason is distinct from 'rejected'`,
} as const;

/**
 * A payment that was taken and could not be asked about is due again at once, and waits for the pace. Not one that was
 * completed meanwhile.
 */
export const deferStatement = {
  name: "defer-check",
  text: `update payment set check_at = least(check_at, clock_timestamp())
         where id = $1 and status <> 'review' and (status <> 'succeeded' or receipt is null)`,
} as const;

/** A success was asked about once, for its receipt. */
export const endReceiptCheckStatement = {
  name: "end-receipt-check",
  text: "update payment set check_at = null where id = $1 and status = 'succeeded'",
} as const;

/**
 * The payer has come back, having agreed or not ($2). Says once in a payment's life that its money may be moved: while
 * it is processing, the latest attempt, and its order unpaid. The locks are taken as everywhere: payment, then order.
 */
export const recordReturnStatement = {
  name: "record-return",
  text: `with was as (
    select * from payment where id = $1::uuid for no key update
  ),
  owner as (
    select o.* from "order" o join was on o.id = was.order_uuid for no key update of o
  ),
  begun as (
    update payment p set completing_at = clock_timestamp() from owner o
    where $2::boolean and p.id = $1 and p.completing_at is null and p.status = 'processing'
      and o.status not in ('succeeded', 'review') and o.attempt = p.attempt
    returning p.id
  )
  select ${providerColumns}, exists (select from begun) as completes from was p, owner o`,
} as const;

/** The payment that a provider knows by this reference. */
export const locateStatement = {
  name: "locate",
  text: "select id from payment where provider = $1 and reference = $2",
} as const;

/** The payment whose id ends so, by the index `payment_own_reference`. */
export const locateOwnStatement = {
  name: "locate-own",
  text: "select id from payment where provider = $1 and provider = 'lipana' and right(id::text, 12) = $2",
} as const;

/** What saying that the money may move has led to is known: clock and payer may end the payment again. It is not said twice. */
export const clearCompletionLockStatement = {
  name: "clear-completion-lock",
  text: "update payment set completing_at = completing_at - interval '1 minute' where id = $1",
} as const;
