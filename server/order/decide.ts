/**
 * The full decision: turns evidence about payments into transitions, as the decision table in docs/architecture.md defines.
 * A test compares every cell of the table with these statements (test/order/decision-table.test.ts).
 *
 * Each statement is one round trip and one commit, and is sent named, so that PostgreSQL prepares it once per connection.
 * Any number of them may run at once:
 * - A statement's snapshot is older than the row lock that it waits for. Therefore it decides only by rows that it has locked:
 *   `locked_payment` locks the payment and its order, `receipt_owner` locks the receipt, and the update of the order reads
 *   the order's columns again.
 * - Every statement locks the payment, then the order, then receipts by their text, so that no two statements wait for each
 *   other. A batch waits for receipts only.
 * - The climb is the only deduplication (G6): of two statements with the same evidence the second one matches no row.
 * - Every change of an order adds one to its version, under the lock of its row (G3).
 */
import { columns, eventColumns, paymentJson, recordEvent, stateColumns } from "./row.ts";
import { confirmationApart, dueNow, firstLateCheck, promptMatured, receiptCheckDelay } from "./schedule.ts";

/** Payments in one batch. At most 32, because the statement holds its locks until all of them are written. */
export const batchMax = 32;

/** The fields of one piece of evidence in the JSON array $1, with PostgreSQL's types. An absent field is null. */
const evidenceFields = {
  nth: "int",
  payment_id: "uuid",
  new_status: "text",
  new_reason: "text",
  new_reference: "text",
  new_receipt: "text",
  new_amount_minor: "bigint",
  new_currency: "text",
  new_action: "jsonb",
  source: "text",
  note: "text",
  sender: "text",
  proof: "text",
  headers: "jsonb",
  body: "text",
} as const;

/** `evidence`: the array $1 as rows, at most `limit` of them. */
export const readEvidence = (limit: number): string => `evidence as (
    select ${columns("e", Object.keys(evidenceFields))}
    from jsonb_to_recordset($1::jsonb) as e (${Object.entries(evidenceFields)
      .map((field) => field.join(" "))
      .join(", ")})
    limit ${limit}
  )`;

/** The columns of a payment that the decision reads. */
const decidedColumns = [
  "id",
  "order_uuid",
  "provider",
  "live",
  "status",
  "reason",
  "reference",
  "receipt",
  "amount_minor",
  "currency",
  "amount_paid_minor",
  "started_at",
  "suspected",
  "suspected_at",
  "completing_at",
] as const;

/** The reasons of a success whose amount or currency is not the agreed one, or whose receipt belongs to another payment. */
const mismatchReasons = "('amount_mismatch', 'currency_mismatch', 'receipt_reused')";

/**
 * Compares the evidence `e` with what the payment `p` agreed.
 *
 * - `names_other_reference`: it is about another payment of the provider.
 * - `is_full`: a success that states the agreed amount and currency.
 * - `mismatch`: the reason to review a success. An unreadable amount is a mismatch only in a query's result, or where no query
 *   can state the amount.
 * - `needs_confirmation`: a failure that only one query has reported. A second query must report the same, at least 15 s later and
 *   60 s after the start, because some providers report "failed" for "not yet". The sandbox has shorter times.
 */
const comparison = `select
      (p.reference <> e.new_reference) is true as names_other_reference,
      e.new_status = 'succeeded' and (p.amount_minor = e.new_amount_minor and p.currency = e.new_currency) is true as is_full,
      case when e.new_status <> 'succeeded' then null
           when p.currency <> e.new_currency then 'currency_mismatch'
           when p.amount_minor <> e.new_amount_minor then 'amount_mismatch'
           when e.new_reason in ('amount_mismatch', 'currency_mismatch')
             and (e.source = 'query' or p.provider = any ($2::text[])) then e.new_reason
           when p.id <> receipt_owner.payment_id then 'receipt_reused' end as mismatch,
      e.source = 'query' and e.new_status in ('failed', 'expired') and climb(e.new_status) > climb(p.status) and (
        p.suspected = e.new_status || ' ' || e.new_reason
        and p.suspected_at <= clock_timestamp() - ${confirmationApart("p")}
        and p.started_at <= clock_timestamp() - ${promptMatured("p")}
      ) is not true as needs_confirmation,
      greatest(clock_timestamp() + ${confirmationApart("p")}, p.started_at + ${promptMatured("p")}) as confirm_at`;

/**
 * `target`: the status to which the evidence entitles the payment; null if the evidence is not enough for any. A mismatch leads to
 * a review, never to a success (G8).
 */
const target = `select
      case when compared.names_other_reference or compared.needs_confirmation then null
           -- bKash is moving the money at this moment: its answer decides.
           when e.source in ('clock', 'payer') and p.completing_at > clock_timestamp() - interval '1 minute' then null
           -- A person rejected the payment, or its order was paid before the request: only full evidence overrides that.
           when p.status = 'failed' and p.reason = 'rejected' and e.new_status = 'succeeded' and not compared.is_full then null
           when e.source = 'person' then case when p.status = 'review' then e.new_status end
           when compared.mismatch is not null then 'review'
           when e.new_status <> 'succeeded' or compared.is_full then e.new_status
           when p.provider = any ($2::text[]) and p.status <> 'review' then 'succeeded' end as status`;

/**
 * The effect of the decision on the payment.
 *
 * - `climbs`: the payment's status rises to the target.
 * - `adds_mismatch`: evidence after the success contradicts it; the success stays (G2) and gets the mismatch as its reason.
 * - `completes_success`: the evidence states a receipt or an amount that the payment lacks.
 * - `checks_now`: the evidence is a hint and the payment may still be paid, so the provider is queried at once. A query's own answer
 *   does not do so, because the schedule repeats the query.
 */
const effect = `select
      (climb(target.status) > climb(p.status)) is true as climbs,
      p.status = 'succeeded' and compared.mismatch is not null and not compared.names_other_reference
        and coalesce(p.reason, '') not in ${mismatchReasons} as adds_mismatch,
      success.is_accepted and (p.receipt is null and e.new_receipt is not null
        or p.amount_paid_minor is null and e.new_amount_minor is not null) as completes_success,
      (compared.names_other_reference or e.new_status = 'succeeded' and target.status is null) and e.source <> 'query'
        and not is_final(p.status) and p.reason is distinct from 'rejected' as checks_now`;

/** `is_accepted`: the evidence is a success whose receipt and amount are recorded. */
const success = `select e.new_status = 'succeeded' and not compared.names_other_reference
        and (compared.is_full or compared.mismatch is not null or p.provider = any ($2::text[])) as is_accepted`;

/**
 * Decides on the evidence $1. $2: providers that state no amount, so that a success without one is enough. $3: providers whose
 * query states a receipt.
 *
 * A batch skips a payment that does not exist, a payment that another transaction has locked, and a payment whose order another
 * transaction has locked, so that it waits for none of them. It also skips all but one payment of an order, so that it changes each
 * order once.
 */
const decide = ({ isBatch }: { isBatch: boolean }): string => `${readEvidence(isBatch ? batchMax : 1)},
  locked_payment as (
    select distinct on (p.order_uuid) evidence.nth, ${columns("p", decidedColumns)} from evidence, lateral (
      select ${columns("payment", decidedColumns)}
      from payment join "order" on "order".id = payment.order_uuid where payment.id = evidence.payment_id
      offset 0 for no key update ${isBatch ? "skip locked" : ""}
    ) p
  ),
  receipt_owner as (
    insert into receipt as r (provider, receipt, payment_id)
    select p.provider, e.new_receipt, p.id from locked_payment p join evidence e on e.nth = p.nth
    where e.new_status = 'succeeded' and e.new_receipt is not null and (p.reference = e.new_reference) is not false
    order by p.provider, e.new_receipt
    on conflict (provider, receipt) do update set payment_id = r.payment_id
    returning r.provider, r.receipt, r.payment_id
  ),
  decision as (
    select ${columns("e", ["nth", "new_status", "new_reason", "new_reference", "new_receipt", "new_amount_minor", "new_action", "source", "note"])},
      p.id, p.status as was_status, p.reason as was_reason,
      target.status as target, compared.mismatch, compared.names_other_reference, compared.needs_confirmation, compared.confirm_at,
      success.is_accepted, effect.climbs, effect.adds_mismatch, effect.completes_success, effect.checks_now
    from locked_payment p
      join evidence e on e.nth = p.nth
      -- Joined, so that the receipt is always locked before anything is decided.
      left join receipt_owner on receipt_owner.provider = p.provider and receipt_owner.receipt = e.new_receipt
      cross join lateral (${comparison}) compared
      cross join lateral (${target}) target
      cross join lateral (${success}) success
      cross join lateral (${effect}) effect
  ),
  changed_payment as (
    update payment p set
      status = case when d.climbs then d.target else p.status end,
      reason = case when d.climbs or d.adds_mismatch then
                 case when d.mismatch is not null then d.mismatch
                      -- A person accepted it: the mismatch stays visible to the merchant's backend.
                      when d.source = 'person' then p.reason
                      when d.target = 'succeeded' and d.was_status in ('failed', 'expired') then 'late'
                      else d.new_reason end
               else p.reason end,
      reference = case when d.names_other_reference then p.reference else coalesce(p.reference, d.new_reference) end,
      -- The success that the payment climbs by states what was paid: a review before it may have kept another amount.
      receipt = case when not d.is_accepted then p.receipt
                     when d.climbs then coalesce(d.new_receipt, p.receipt)
                     else coalesce(p.receipt, d.new_receipt) end,
      amount_paid_minor = case when not d.is_accepted then p.amount_paid_minor
                               when d.climbs then coalesce(d.new_amount_minor, p.amount_paid_minor)
                               else coalesce(p.amount_paid_minor, d.new_amount_minor) end,
      paid_at = case when d.climbs and is_final(d.target) then coalesce(p.paid_at, clock_timestamp()) else p.paid_at end,
      action = coalesce(p.action, d.new_action),
      suspected = case when d.needs_confirmation then d.new_status || ' ' || d.new_reason end,
      suspected_at = case when not d.needs_confirmation then null
                          when p.suspected = d.new_status || ' ' || d.new_reason then p.suspected_at
                          else clock_timestamp() end,
      check_at = case when d.climbs and d.target = 'succeeded' and (
                        coalesce(p.receipt, d.new_receipt) is null and p.provider = any ($3::text[])
                        or coalesce(p.amount_paid_minor, d.new_amount_minor) is null and p.provider <> all ($2)
                      ) then clock_timestamp() + ${receiptCheckDelay("p")}
                      when d.climbs and is_final(d.target) then null
                      when d.climbs and d.target in ('expired', 'failed') then greatest(p.expires_at, clock_timestamp()) + ${firstLateCheck}
                      when d.checks_now then least(p.check_at, ${dueNow})
                      when d.needs_confirmation then least(p.check_at, d.confirm_at)
                      else p.check_at end
    from decision d
    where p.id = d.id
      and (d.climbs or d.adds_mismatch or d.completes_success or d.checks_now or d.needs_confirmation
           or p.reference is null and d.new_reference is not null
           or d.source = 'query' and p.suspected is not null)
    returning p.id, p.order_uuid, p.attempt, p.status, p.reason, ${paymentJson("p")} as payment,
      d.climbs, d.climbs or d.adds_mismatch as changes_status, d.climbs or d.adds_mismatch or d.completes_success as is_applied,
      d.source, d.note, d.nth
  ),
  -- An order that another payment has paid keeps its status and payment, and notes the second one (G2).
  changed_order as (
    update "order" o set
      version = o.version + 1,
      status = case when o.status = 'succeeded' then o.status else p.status end,
      reason = case when o.status = 'succeeded' and o.payment ->> 'id' <> p.id::text then 'paid_twice'
                    when p.changes_status then p.reason
                    else o.reason end,
      also_paid = case when o.status = 'succeeded' and o.payment ->> 'id' <> p.id::text then o.also_paid || p.id
                       else o.also_paid end,
      payment = case when o.status = 'succeeded' and o.payment ->> 'id' <> p.id::text then o.payment else p.payment end,
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from changed_payment p
    where o.id = p.order_uuid and p.is_applied and
      case p.status
        when 'succeeded' then o.status <> 'succeeded' or o.payment ->> 'id' = p.id::text or p.climbs
        when 'review' then not is_final(o.status) or o.status = 'review' and o.payment ->> 'id' = p.id::text
        else o.attempt = p.attempt and not is_final(o.status)
      end
    returning ${stateColumns("o")}, p.source, p.note, p.nth
  ),
  ${recordEvent({ source: "source", note: "note" })},
  answered as (
    select ${columns("e", ["nth", "payment_id", "new_reference", "sender", "proof", "headers", "body"])},
      d.was_status, d.was_reason,
      case when d.id is null then 'unmatched'
           when p.is_applied then 'applied'
           when d.names_other_reference or d.new_status = 'succeeded' and d.target is null then 'hint'
           else 'repeat' end as result
    from evidence e
      ${isBatch ? "" : "left "}join decision d on d.nth = e.nth
      left join changed_payment p on p.nth = e.nth
  )`;

/** Stores the webhook's bytes in the same commit, whatever its result is (G1). */
const keepWebhook = `kept_webhook as (
    insert into webhook (provider, payment_id, reference, proof, headers, body, result, offer_at)
    select sender, payment_id, new_reference, proof, headers, decode(body, 'base64'), result,
           case when result = 'unmatched' then clock_timestamp() + interval '30 seconds' end
    from answered
  )`;

/** The result of each piece of evidence, the payment's status before it, and the order where watchers have something new to see. */
const answer = `select answered.result, answered.was_status, answered.was_reason, ${eventColumns("changed_order")}, answered.nth
  from answered left join changed_order on changed_order.nth = answered.nth`;

/** Decides on one piece of evidence. */
export const advanceStatement = {
  name: "advance",
  text: `with ${decide({ isBatch: false })} ${answer}`,
} as const;

/** Decides on one webhook and stores its bytes. */
export const advanceWithWebhookStatement = {
  name: "advance-with-webhook",
  text: `with ${decide({ isBatch: false })}, ${keepWebhook} ${answer}`,
} as const;

/** Decides on webhooks of several payments and stores their bytes. Returns no row for a webhook that it skips. */
export const advanceBatchStatement = {
  name: "advance-batch",
  text: `with ${decide({ isBatch: true })}, ${keepWebhook} ${answer}`,
} as const;
