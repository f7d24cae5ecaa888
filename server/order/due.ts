/** Statements about single payments: which are due to be asked about, which may be asked for or completed, which one a reference names. */

import { providerColumns } from "./row.ts";

/** A second of the schedule by which providers are asked: shorter in the sandbox, where a payment lives 10 s. */
const pace = (payment: string): string =>
  `case when ${payment}.live then interval '1 second' else interval '0.2 seconds' end`;

/**
 * Takes payments that are due to be asked about, at most $1, each by one process: taking moves the check to its next time,
 * so the lease is the schedule, and what a killed process took falls due again. After asking: 10, 15, 20, 30 s, then
 * every 60 s, and at the deadline; late money of a settled payment 5 min, 1 h and 24 h after its deadline.
 */
export const claimDueStatement = {
  name: "claim-due",
  text: `with due as materialized (
    select id, clock_timestamp() as at from payment
    where check_at <= statement_timestamp() order by check_at limit $1 for no key update skip locked
  )
  update payment p set check_at = case
    when p.status in ('pending', 'processing') then case
      when due.at >= p.expires_at then due.at + 60 * ${pace("p")}
      else least(p.expires_at, case
        when due.at < p.started_at + 10 * ${pace("p")} then p.started_at + 10 * ${pace("p")}
        when due.at < p.started_at + 15 * ${pace("p")} then p.started_at + 15 * ${pace("p")}
        when due.at < p.started_at + 20 * ${pace("p")} then p.started_at + 20 * ${pace("p")}
        when due.at < p.started_at + 30 * ${pace("p")} then p.started_at + 30 * ${pace("p")}
        else due.at + 60 * ${pace("p")} end) end
    when p.status in ('expired', 'failed') then case
      when due.at < p.expires_at + interval '5 minutes' then p.expires_at + interval '5 minutes'
      when due.at < p.expires_at + interval '1 hour' then p.expires_at + interval '1 hour'
      when due.at < p.expires_at + interval '24 hours' then p.expires_at + interval '24 hours' end
    end
  from due, "order" o
  where p.id = due.id and o.id = p.order_uuid
  returning ${providerColumns},
    due.at >= p.expires_at as is_over,
    due.at >= p.expires_at + (p.expires_at - p.started_at) as is_long_over`,
} as const;

/** Whether a payment may still be asked for: not when its order was paid, or may have been, in the meantime. */
export const wantedStatement = {
  name: "wanted",
  text: `select o.status not in ('succeeded', 'review') as wanted
         from payment p join "order" o on o.id = p.order_uuid where p.id = $1`,
} as const;

/** Makes an open payment due to be asked about now. */
export const nudgeStatement = {
  name: "nudge",
  text: `update payment set check_at = least(check_at, clock_timestamp())
         where id = $1 and status not in ('succeeded', 'review')`,
} as const;

/**
 * The payer has come back, having agreed or not ($2). Says once in a payment's life that its money may be moved: while
 * it is processing, the latest attempt, and its order unpaid. The locks are taken as everywhere: payment, then order.
 */
export const comeBackStatement = {
  name: "come-back",
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

/** What saying that the money may move has led to is known: clock and payer may end the payment again. It is not said twice. */
export const completedStatement = {
  name: "completed",
  text: "update payment set completing_at = completing_at - interval '1 minute' where id = $1",
} as const;
