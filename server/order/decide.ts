/**
 * The statements that change orders. Each is one round trip and one commit, sent named, so PostgreSQL prepares it
 * once per connection.
 *
 * A statement's snapshot is older than the row lock it waits for, so nothing here decides by a row it has not locked:
 * `was` locks the payment and its order, `owner` locks the receipt, and the order's own columns are re-read by its update.
 * Every statement takes its locks in the order payment, order, receipts by their text, and a batch waits for receipts only,
 * so that no two statements wait for each other. The climb is the only dedupe: the second of two matches no row.
 */
import { logged, paymentJson, stateColumns } from "./row.ts";
import { completionDelay, confirmationApart, firstLateCheck, promptMatured } from "./schedule.ts";

const apart = confirmationApart("was");
const matured = promptMatured("was");

/** How many payments are told of in one statement at the most. */
export const batchMax = 32;

/**
 * What is told of payments as $1, a JSON array with these fields; $2: the providers whose bare success is enough; $3: those
 * whose query states a receipt. With `isBatch` a payment that is locked by another transaction, or whose order is, one that there is not, and all but one of
 * one order are passed over: nobody waits for another's lock but that of a receipt, and every order changes once.
 */
const decideWith = ({ isBatch }: { isBatch: boolean }): string => `evidence as (
    select * from jsonb_to_recordset($1::jsonb) as evidence (
      nth int, payment_id uuid, new_status text, new_reason text, new_reference text, new_receipt text, new_amount_minor bigint,
      new_currency text, new_action jsonb, source text, note text, sender text, proof text, headers jsonb, body text
    ) limit ${isBatch ? batchMax : 1}
  ),
  was as (
    select distinct on (p.order_uuid) p.*, evidence.* from evidence, lateral (
      select p.* from payment p join "order" o on o.id = p.order_uuid where p.id = evidence.payment_id
      offset 0 for no key update ${isBatch ? "skip locked" : ""}
    ) p
  ),
  owner as (
    insert into receipt as r (provider, receipt, payment_id)
    select provider, new_receipt, id from was
    where new_status = 'succeeded' and new_receipt is not null and (reference = new_reference) is not false
    order by provider, new_receipt
    on conflict (provider, receipt) do update set payment_id = r.payment_id
    returning r.*
  ),
  claimed as (
    -- Joined, so that the receipt is always locked before anything is decided.
    select was.*, owner.payment_id as owner_id
    from was left join owner on owner.provider = was.provider and owner.receipt = new_receipt
  ),
  weighed as (
    select was.*,
      (reference <> new_reference) is true as contradicted,
      new_status = 'succeeded' and (amount_minor = new_amount_minor and currency = new_currency) is true as is_full,
      case when new_status <> 'succeeded' then null
           when currency <> new_currency then 'currency_mismatch'
           when amount_minor <> new_amount_minor then 'amount_mismatch'
           -- Stated, but not to be read. Where a query can state it, that is asked first.
           when new_reason in ('amount_mismatch', 'currency_mismatch') and (source = 'query' or provider = any ($2::text[]))
             then new_reason
           when id <> owner_id then 'receipt_reused' end as mismatch,
      -- What only a query says of a failure must be said twice, of a prompt that is not fresh.
      source = 'query' and new_status in ('failed', 'expired') and climb(new_status) > climb(status) and (
        suspected = new_status || ' ' || new_reason
        and suspected_at <= clock_timestamp() - ${apart}
        and started_at <= clock_timestamp() - ${matured}
      ) is not true as is_doubted,
      greatest(clock_timestamp() + ${apart}, started_at + ${matured}) as asked_again_at
    from claimed was
  ),
  aimed as (
    select *,
      case when contradicted or is_doubted then null
           -- Its money is being moved this very moment: what became of it comes next.
           when source in ('clock', 'payer') and completing_at > clock_timestamp() - interval '1 minute' then null
           -- What a person has rejected, only full evidence brings back.
           when status = 'failed' and reason = 'rejected' and new_status = 'succeeded' and not is_full then null
           when source = 'person' then case when status = 'review' then new_status end
           when mismatch is not null then 'review'
           when new_status <> 'succeeded' or is_full then new_status
           when provider = any ($2::text[]) and status <> 'review' then 'succeeded' end as target,
      new_status = 'succeeded' and not contradicted
        and (is_full or mismatch is not null or provider = any ($2)) as is_believed
    from weighed
  ),
  decided as (
    select *,
      (climb(target) > climb(status)) is true as climbs,
      status = 'succeeded' and mismatch is not null and not contradicted
        and coalesce(reason, '') not in ('amount_mismatch', 'currency_mismatch', 'receipt_reused') as is_scarred,
      is_believed and (receipt is null and new_receipt is not null
        or amount_paid_minor is null and new_amount_minor is not null) as learns,
      -- Not because of a query's own answer: the schedule asks again.
      (contradicted or new_status = 'succeeded' and target is null) and source <> 'query'
        and status not in ('succeeded', 'review') and reason is distinct from 'rejected' as asks
    from aimed
  ),
  changed as (
    update payment p set
      status = case when j.climbs then j.target else p.status end,
      reason = case when j.climbs or j.is_scarred then
                 case when j.mismatch is not null then j.mismatch
                      -- Accepted by a person: the mismatch stays visible to the merchant's backend.
                      when j.source = 'person' then p.reason
                      when j.target = 'succeeded' and j.status in ('failed', 'expired') then 'late'
                      else new_reason end
               else p.reason end,
      reference = case when j.contradicted then p.reference else coalesce(p.reference, new_reference) end,
      -- Set once, by the first success that is believed; but what lifts a review says what was really paid.
      receipt = case when not j.is_believed then p.receipt
                     when j.climbs and j.status = 'review' then coalesce(new_receipt, p.receipt)
                     else coalesce(p.receipt, new_receipt) end,
      amount_paid_minor = case when not j.is_believed then p.amount_paid_minor
                               when j.climbs and j.status = 'review' then coalesce(new_amount_minor, p.amount_paid_minor)
                               else coalesce(p.amount_paid_minor, new_amount_minor) end,
      action = coalesce(p.action, new_action),
      suspected = case when j.is_doubted then new_status || ' ' || new_reason end,
      suspected_at = case when not j.is_doubted then null
                          when p.suspected = new_status || ' ' || new_reason then p.suspected_at
                          else clock_timestamp() end,
      check_at = case when j.climbs and j.target = 'succeeded' and (
                        coalesce(p.receipt, new_receipt) is null and p.provider = any ($3::text[])
                        or coalesce(p.amount_paid_minor, new_amount_minor) is null and p.provider <> all ($2)
                      ) then clock_timestamp() + ${completionDelay("p")}
                      when j.climbs and j.target in ('succeeded', 'review') then null
                      when j.climbs and j.target in ('expired', 'failed') then greatest(p.expires_at, clock_timestamp()) + ${firstLateCheck}
                      when j.asks then least(p.check_at, clock_timestamp())
                      when j.is_doubted then least(p.check_at, j.asked_again_at)
                      else p.check_at end
    from decided j
    where p.id = j.id
      and (j.climbs or j.is_scarred or j.learns or j.asks or j.is_doubted or p.reference is null and new_reference is not null
           or j.source = 'query' and p.suspected is not null)
    returning p.*, j.climbs, j.is_scarred, j.learns, j.source, j.note, j.nth
  ),
  changed_order as (
    update "order" o set
      version = o.version + 1,
      status = case when o.status = 'succeeded' then o.status else c.status end,
      reason = case when o.status = 'succeeded' and o.payment ->> 'id' <> c.id::text then 'paid_twice'
                    when c.climbs or c.is_scarred then c.reason
                    else o.reason end,
      also_paid = case when o.status = 'succeeded' and o.payment ->> 'id' <> c.id::text then o.also_paid || c.id
                       else o.also_paid end,
      payment = case when o.status = 'succeeded' and o.payment ->> 'id' <> c.id::text then o.payment
                     else ${paymentJson("c")} end,
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from changed c
    where o.id = c.order_uuid and (c.climbs or c.is_scarred or c.learns) and
      case c.status
        when 'succeeded' then o.status <> 'succeeded' or o.payment ->> 'id' = c.id::text or c.climbs
        when 'review' then o.status not in ('succeeded', 'review') or o.status = 'review' and o.payment ->> 'id' = c.id::text
        else o.attempt = c.attempt and o.status not in ('succeeded', 'review')
      end
    returning o.*, c.source, c.note, c.nth
  ),
  ${logged({ source: "source", note: "note" })},
  done as (
    select evidence.*, j.status as was_status, j.reason as was_reason,
      case when j.id is null then 'unmatched'
           when j.contradicted or j.new_status = 'succeeded' and j.target is null then 'hint'
           when c.climbs or c.is_scarred or c.learns then 'applied'
           else 'repeat' end as result
    from evidence ${isBatch ? "" : "left "}join decided j on j.nth = evidence.nth left join changed c on c.nth = evidence.nth
  )`;

/** The webhook's bytes, in the same commit, whatever became of it. */
const kept = `kept as (
    insert into webhook (provider, payment_id, reference, proof, headers, body, result, offer_at)
    select sender, payment_id, new_reference, proof, headers, decode(body, 'base64'), result,
           case when result = 'unmatched' then clock_timestamp() + interval '30 seconds' end
    from done
  )`;

/** What became of each, what its payment was before, and the order where watchers have something new to see. */
const answer = `select result, was_status, was_reason, ${stateColumns("changed_order")}, done.nth
  from done left join changed_order on changed_order.nth = done.nth`;

/** Records what happened to a payment. */
export const advanceStatement = {
  name: "advance",
  text: `with ${decideWith({ isBatch: false })} ${answer}`,
} as const;

/** The same, as a webhook tells it. */
export const advanceWithWebhookStatement = {
  name: "advance-with-webhook",
  text: `with ${decideWith({ isBatch: false })}, ${kept} ${answer}`,
} as const;

/** As several webhooks tell it of several payments; no row for those that are passed over. */
export const advanceBatchStatement = {
  name: "advance-batch",
  text: `with ${decideWith({ isBatch: true })}, ${kept} ${answer}`,
} as const;

/**
 * A person rejects a payment that is in review, the only step down there is. The caller holds the locks of the payment
 * and then of the order, in a transaction whose next statement therefore sees the other attempts as they are now:
 * the order is in review if another attempt is, else what its latest attempt is; a paid order stays as it is.
 */
export const rejectStatement = {
  name: "reject",
  text: `with rejected as (
    update payment set status = 'failed', reason = 'rejected', check_at = null where id = $1 returning *
  ),
  c as (
    select p.* from (
      select * from rejected
      union all
      select p.* from payment p join rejected r on p.order_uuid = r.order_uuid and p.id <> r.id
    ) p
    order by p.status = 'review' desc, p.attempt desc limit 1
  ),
  changed_order as (
    update "order" o set
      version = o.version + 1, status = c.status, reason = c.reason, payment = ${paymentJson("c")},
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from c
    where o.id = c.order_uuid and o.status = 'review'
    returning o.*
  ),
  ${logged({ source: "'person'", note: "$2::text" })}
  select ${stateColumns("changed_order")} from changed_order`,
} as const;

/** The current state of many orders by id: one index probe each, whatever the table's size. */
export const currentStatement = {
  name: "current",
  text: `select ${stateColumns("o")} from unnest($1::uuid[]) as wanted (id)
         join lateral (select * from "order" where id = wanted.id offset 0) o on true`,
} as const;

/**
 * Orders changed since a moment (by default since 10 s ago), ids and versions in two lists of text, and the database's
 * clock. As JSON, PostgreSQL would take four times as long.
 */
export const changedStatement = {
  name: "changed",
  text: `select clock_timestamp() as at, array_agg(id)::text as ids, array_agg(version)::text as versions from "order"
         where changed_at >= coalesce($1::timestamptz, statement_timestamp()) - interval '10 seconds'
           -- Of a range, a planner that knows no better expects few rows, and takes the index.
           and changed_at <= 'infinity'`,
} as const;
