/** The statements of opening an order, each one round trip, sent named. */
import { v7 as uuidv7 } from "uuid";
import { canonicalRequest, type PaymentDraft } from "./draft.ts";
import { logged, paymentObject, stateColumns } from "./row.ts";

/** The columns that another try may change. A column that it leaves out stays. */
const rewritable = { description: "text", customer: "jsonb", metadata: "jsonb" } as const;

/** The columns of an order that its draft fills. */
const orderFields = { id: "uuid", order_id: "text", amount_minor: "bigint", currency: "text", ...rewritable } as const;

/** The record that `openStatement` reads as $1, with PostgreSQL's types. An absent field is null. */
const fields = {
  ...orderFields,
  payment_id: "uuid",
  provider: "text",
  live: "boolean",
  phone: "text",
  return_url: "text",
  deadline_s: "int",
  first_check_s: "float8",
  idempotency_key: "text",
  request: "jsonb",
  phone_max: "int",
  order_max: "int",
} as const;

/** The column `payment` of an order whose payment has just begun. */
const begunPayment = paymentObject({
  id: "payment_id",
  provider: "provider",
  attempt: "1",
  startedAt: "iso(at)",
  expiresAt: "iso(at + deadline_s * interval '1 second')",
  live: "live",
});

const names = (of: object): string => Object.keys(of).join(", ");

/**
 * Opens an order, or tries a failed or expired one again: order, payment, event and idempotency key together.
 * No row when the order is not open to another try, the key was used, or `phone_max` payments of the phone (live and
 * sandbox ones apart) or `order_max` of the order were started within 10 minutes; a unique violation on `idempotency`
 * when two requests with one key race, TK429 when too many of one phone do.
 */
export const openStatement = {
  name: "open-order",
  text: `with draft as materialized (
    select draft.*, date_trunc('milliseconds', clock_timestamp()) as at
    from jsonb_to_record($1::jsonb) as draft (
           ${Object.entries(fields)
             .map((field) => field.join(" "))
             .join(", ")}
         )
  ),
  changed_order as (
    insert into "order" as o (${names(orderFields)}, version, status, attempt, payment, opened_at, changed_at)
    select ${names(orderFields)}, 1, 'pending', 1, ${begunPayment}, at, at
    from draft
    where (idempotency_key is null or not exists (select from idempotency where key = draft.idempotency_key))
      and prompted(phone, live, phone_max) is not true
    on conflict (order_id) do update set
      version = o.version + 1, status = 'pending', reason = null, attempt = o.attempt + 1,
      payment = excluded.payment || jsonb_build_object('attempt', o.attempt + 1),
      ${Object.keys(rewritable)
        .map((name) => `${name} = coalesce(excluded.${name}, o.${name})`)
        .join(", ")},
      changed_at = greatest(excluded.changed_at, o.changed_at)
    where o.status in ('failed', 'expired') and o.amount_minor = excluded.amount_minor and o.currency = excluded.currency
      and retried(o.id, (select order_max from draft)) is not true
    returning o.*
  ),
  begun as (
    insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, phone, return_url, status,
                         started_at, expires_at, check_at)
    select payment_id, changed_order.id, changed_order.attempt, provider, live, changed_order.amount_minor, changed_order.currency, phone, return_url,
           'pending', at, at + deadline_s * interval '1 second', at + least(deadline_s, first_check_s) * interval '1 second'
    from changed_order, draft
    -- The case names \`changed_order\`, because otherwise PostgreSQL would take the phone's lock before the order's.
    where case when changed_order.id is not null then prompt(phone, live, phone_max) end is not false
  ),
  keyed as (
    insert into idempotency (key, request, order_uuid, created_at)
    select idempotency_key, sha256(convert_to(request::text, 'UTF8')), changed_order.id, at
    from changed_order, draft where idempotency_key is not null
  ),
  ${logged({ source: "null", note: "null" })}
  select ${stateColumns("changed_order")} from changed_order`,
} as const;

/** The record that opens one order. A field that has the same name in a draft needs no mention. */
export function openRecord(draft: PaymentDraft, paymentId: string, limits?: { phone: number; order: number }): string {
  const { orderId, amountMinor, returnUrl, deadlineS, firstCheckS, idempotencyKey, ...sameNamed } = draft;
  const renamed: Record<Exclude<keyof typeof fields, keyof typeof sameNamed>, unknown> = {
    id: uuidv7(),
    order_id: orderId,
    // As text, because a JSON number is exact up to 2^53 only.
    amount_minor: String(amountMinor),
    payment_id: paymentId,
    return_url: returnUrl,
    deadline_s: deadlineS,
    first_check_s: firstCheckS,
    idempotency_key: idempotencyKey,
    request: idempotencyKey === undefined ? undefined : canonicalRequest(draft),
    phone_max: limits?.phone,
    order_max: limits?.order,
  };
  return JSON.stringify({ ...sameNamed, ...renamed });
}

/**
 * Which limit the phone $1 or the order $3 has reached, of $2 and $4 payments in 10 minutes, and for how long still. Of
 * the phone only payments that are live, or only those that are not, count, as $5 says.
 */
export const reachedStatement = {
  name: "read-reached",
  text: `select what, extract(epoch from until - clock_timestamp())::float8 * 1000 as remaining_ms from (
    (select 'phone' as what, started_at + interval '10 minutes' as until from payment
     where phone = $1 and live = $5 and $2::int is not null and phone ~ '^[+][0-9]+$' and started_at > clock_timestamp() - interval '10 minutes'
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
