/**
 * Fast paths for the two most common transitions. Each returns no row and changes nothing when its preconditions fail; the
 * caller then runs the full decision (decide.ts).
 */

import { batchMax } from "./decide.ts";
import { logged, paymentJson, stateColumns } from "./row.ts";

/**
 * What most providers reply, for three fifths of what the full decision takes: they know the pending payment $1 by the
 * reference $2, and the payer is to act by $3. A pending payment is its order's latest, and neither has a reason.
 */
export const acceptStatement = {
  name: "accept",
  text: `with c as (
    update payment p set
      status = 'processing', reference = $2, action = coalesce(p.action, $3::jsonb),
      suspected = null, suspected_at = null
    where p.id = $1 and p.status = 'pending' and (p.reference is null or p.reference = $2)
    returning p.order_uuid, p.status, ${paymentJson("p")} as payment
  ),
  changed_order as (
    update "order" o set version = o.version + 1, status = c.status, payment = c.payment,
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from c where o.id = c.order_uuid and o.status not in ('succeeded', 'review')
    returning o.*
  ),
  ${logged({ source: "'reply'", note: "null" })}
  select 'applied' as result, 'pending' as was_status, null as was_reason, ${stateColumns("changed_order")}, 0 as nth
  from c left join changed_order on true`,
} as const;

/**
 * What most webhooks tell, for a fifth to a third less: that open payments are paid in full, with a receipt that is new. It does
 * what `advanceBatchStatement` would do, or it answers no row and keeps nothing: of what is not so, of what is locked, and of
 * all but one of one order. Only for a receipt that another transaction is just writing it waits.
 */
export const payBatchStatement = {
  name: "pay-batch",
  text: `with evidence as (
    select * from jsonb_to_recordset($1::jsonb) as evidence (
      nth int, payment_id uuid, new_reference text, new_receipt text, new_amount_minor bigint, new_currency text,
      sender text, proof text, headers jsonb, body text
    ) limit ${batchMax}
  ),
  was as (
    select distinct on (p.order_uuid) p.*, nth, new_receipt, new_amount_minor from evidence, lateral (
      select p.id, p.order_uuid, p.provider, p.status, p.reason from payment p join "order" o on o.id = p.order_uuid
      where p.id = evidence.payment_id and p.status in ('pending', 'processing') and o.status in ('pending', 'processing')
        and p.reference = new_reference and p.amount_minor = new_amount_minor and p.currency = new_currency
      offset 0 for no key update skip locked
    ) p
  ),
  owner as (
    insert into receipt (provider, receipt, payment_id)
    select provider, new_receipt, id from was order by provider, new_receipt
    on conflict do nothing
    returning payment_id
  ),
  c as (
    update payment p set
      status = 'succeeded', reason = null, receipt = coalesce(p.receipt, new_receipt),
      amount_paid_minor = coalesce(p.amount_paid_minor, new_amount_minor),
      suspected = null, suspected_at = null, check_at = null
    from was join owner on owner.payment_id = was.id
    where p.id = was.id
    returning p.order_uuid, p.status, ${paymentJson("p")} as payment, nth, was.status as was_status, was.reason as was_reason
  ),
  changed_order as (
    update "order" o set version = o.version + 1, status = c.status, reason = null, payment = c.payment,
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from c where o.id = c.order_uuid
    returning ${stateColumns("o")}, nth, was_status, was_reason
  ),
  ${logged({ source: "'webhook'", note: "null" })},
  kept as (
    insert into webhook (provider, payment_id, reference, proof, headers, body, result)
    select sender, payment_id, new_reference, proof, headers, decode(body, 'base64'), 'applied'
    from evidence join changed_order using (nth)
  )
  select 'applied' as result, * from changed_order`,
} as const;
