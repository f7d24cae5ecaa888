/** The statements by which providers come to be asked: which payments are due, which may be asked for, which are to be asked about now. */

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
  returning p.id, p.provider, p.attempt, p.amount_minor, p.currency, p.phone, p.return_url, p.reference, p.status,
    o.order_id, o.description, due.at >= p.expires_at as is_over,
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
