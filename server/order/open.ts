/** The statements of opening an order, each one round trip, sent named. */

import { logged } from "./decide.ts";
import { stateColumns } from "./row.ts";

/**
 * Opens an order, or tries a failed or expired one again: order, payment, event and idempotency key together.
 * No row when the order is not open to another try, the key was used, or $16 or $17 payments of the phone or the order
 * were started within 10 minutes; a unique violation on `idempotency` when two requests with one key race, TK429 when
 * too many of one phone do.
 */
export const openStatement = {
  name: "open-order",
  text: `with now as materialized (select date_trunc('milliseconds', clock_timestamp()) as at),
  placed as (
    insert into "order" as o (id, order_id, amount_minor, currency, description, customer, metadata, version, status,
                              attempt, payment, opened_at, changed_at)
    select $1::uuid, $2::text, $3::bigint, $4::text, $5::text, $6::jsonb, $7::jsonb, 1, 'pending',
           1, jsonb_build_object('id', $8::uuid, 'provider', $9::text, 'attempt', 1, 'startedAt', iso(at),
                                 'expiresAt', iso(at + $10::int * interval '1 second'), 'live', $11::boolean), at, at
    from now
    where ($12::text is null or not exists (select from idempotency where key = $12))
      and prompted($13::text, $16::int) is not true
    on conflict (order_id) do update set
      version = o.version + 1, status = 'pending', reason = null, attempt = o.attempt + 1,
      payment = excluded.payment || jsonb_build_object('attempt', o.attempt + 1),
      description = coalesce(excluded.description, o.description),
      customer = coalesce(excluded.customer, o.customer),
      metadata = coalesce(excluded.metadata, o.metadata),
      changed_at = greatest(excluded.changed_at, o.changed_at)
    where o.status in ('failed', 'expired') and o.amount_minor = excluded.amount_minor and o.currency = excluded.currency
      and retried(o.id, $17::int) is not true
    returning o.*
  ),
  begun as (
    insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, phone, return_url, status,
                         started_at, expires_at, check_at)
    select $8, placed.id, placed.attempt, $9, $11, $3, $4, $13, $14::text, 'pending',
           now.at, now.at + $10 * interval '1 second',
           now.at + least($10, $18::float8) * interval '1 second'
    from placed, now
    where prompt($13, $16) is not false
  ),
  keyed as (
    insert into idempotency (key, request, order_uuid, created_at)
    select $12, sha256(convert_to($15::jsonb::text, 'UTF8')), placed.id, now.at from placed, now where $12 is not null
  ),
  ${logged({ source: "null", note: "null" })}
  select ${stateColumns("placed")} from placed`,
} as const;

/** Which limit the phone $1 or the order $3 has reached, of $2 and $4 payments in 10 minutes, and for how long still. */
export const reachedStatement = {
  name: "read-reached",
  text: `select what, extract(epoch from until - clock_timestamp())::float8 * 1000 as remaining_ms from (
    (select 'phone' as what, started_at + interval '10 minutes' as until from payment
     where phone = $1 and $2::int is not null and phone ~ '^[+][0-9]+$' and started_at > clock_timestamp() - interval '10 minutes'
     order by started_at desc offset $2 - 1 limit 1)
    union all
    (select 'order', started_at + interval '10 minutes' from payment
     where order_uuid = (select id from "order" where order_id = $3) and $4::int is not null
       and started_at > clock_timestamp() - interval '10 minutes'
     order by started_at desc offset $4 - 1 limit 1)
  ) as reached order by until desc limit 1`,
} as const;

/** Reads an idempotency key: whether it was used with this very request, which order it opened, whether it ran out. */
export const keyStatement = {
  name: "read-key",
  text: `select order_uuid, request = sha256(convert_to($2::jsonb::text, 'UTF8')) as same,
                created_at < clock_timestamp() - interval '72 hours' as stale
         from idempotency where key = $1`,
} as const;
