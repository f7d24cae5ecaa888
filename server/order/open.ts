/**
 * Opens an order, or a further attempt to pay one. One statement and one commit write order, payment, event and idempotency key, so
 * that exactly one of any number of concurrent requests for an order opens an attempt.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { sqlState } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { limitDetail, limited } from "../rate-limit.ts";
import { readCurrent } from "./current.ts";
import { belongsToLink, canonicalRequest, conflictOf, type PaymentDraft, paymentOf } from "./draft.ts";
import type { Payment, StatusEvent } from "./order.ts";
import { columns, eventColumns, paymentObject, recordEvent, type StateRow, stateColumns, toEvent } from "./row.ts";
import { run } from "./statement.ts";

/** The columns that a further attempt may change. A column that it leaves out stays. */
const rewritable = { description: "text", customer: "jsonb", metadata: "jsonb", lang: "text" } as const;

/** Whether a draft's items are those of the order. A draft without items keeps them; erased items (`[]`) may be brought again. */
const hasItems = (order: string, draft: string): string =>
  `(${draft} is null or ${order} is not distinct from ${draft} or ${order} = '[]') is true`;

/** The columns of an order that come from its draft. */
const orderFields = {
  id: "uuid",
  order_id: "text",
  amount_minor: "bigint",
  currency: "text",
  items: "jsonb",
  payment_link_id: "uuid",
  pays_link: "boolean",
  ...rewritable,
} as const;

/** The fields of the JSON record $1, with PostgreSQL's types. An absent field is null. */
const draftFields = {
  ...orderFields,
  payment_id: "uuid",
  provider: "text",
  live: "boolean",
  phone: "text",
  return_url: "text",
  payer: "bytea",
  deadline_s: "int",
  first_check_s: "float8",
  idempotency_key: "text",
  request: "jsonb",
  phone_max: "int",
  order_max: "int",
  link_phone_max: "int",
} as const;

/** The column `payment` of an order that is opened, as attempt 1. */
const openedPayment = paymentObject({
  id: "payment_id",
  provider: "provider",
  attempt: "1",
  startedAt: "iso(at)",
  expiresAt: "iso(at + deadline_s * interval '1 second')",
  live: "live",
});

const names = (of: object): string => Object.keys(of).join(", ");

/**
 * Returns no row when the order takes no further attempt, the key was used, the order id or the order belongs to another payment link,
 * the draft's link is not open, or too many payments were started: `phone_max` of the phone (live and sandbox ones apart) or
 * `order_max` of the order within 10 minutes, or `link_phone_max` of the phone on the pages of links within an hour. Fails with a unique
 * violation on `idempotency` when two requests with one key race, and with TK429 when too many requests for one phone race.
 */
export const openStatement = {
  name: "open-order",
  text: `with draft as materialized (
    select ${columns("draft", Object.keys(draftFields))}, date_trunc('milliseconds', clock_timestamp()) as at
    from jsonb_to_record($1::jsonb) as draft (
           ${Object.entries(draftFields)
             .map((field) => field.join(" "))
             .join(", ")}
         )
  ),
  changed_order as (
    insert into "order" as o (${names(orderFields)}, version, status, attempt, payment, opened_at, changed_at)
    select ${names(orderFields)}, 1, 'pending', 1, ${openedPayment}, at, at
    from draft
    where (idempotency_key is null or not exists (select from idempotency where key = draft.idempotency_key))
      and prompted(phone, live, phone_max) is not true
      and prompted_by_link(phone, live, link_phone_max) is not true
      and may_open_order(order_id, payment_link_id)
    on conflict (order_id) do update set
      version = o.version + 1, status = 'pending', reason = null, attempt = o.attempt + 1,
      payment = excluded.payment || jsonb_build_object('attempt', o.attempt + 1),
      ${[...Object.keys(rewritable), "items"]
        .map((name) => `${name} = coalesce(excluded.${name}, o.${name})`)
        .join(", ")},
      changed_at = greatest(excluded.changed_at, o.changed_at)
    where o.status in ('failed', 'expired') and o.amount_minor = excluded.amount_minor and o.currency = excluded.currency
      and ${hasItems("o.items", "excluded.items")}
      and o.payment_link_id is not distinct from excluded.payment_link_id
      and retried(o.id, (select order_max from draft)) is not true
    returning ${stateColumns("o")}, o.attempt
  ),
  opened_payment as (
    insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, phone, return_url, payer,
                         status, started_at, expires_at, check_at)
    select payment_id, changed_order.id, changed_order.attempt, provider, live, changed_order.amount_minor, changed_order.currency, phone, return_url, payer,
           'pending', at, at + deadline_s * interval '1 second', at + least(deadline_s, first_check_s) * interval '1 second'
    from changed_order, draft
    -- The case names \`changed_order\`, because otherwise PostgreSQL would take the phone's lock before the order's.
    where case when changed_order.id is not null
      then coalesce(prompt(phone, live, phone_max), true) and coalesce(prompt_by_link(phone, live, link_phone_max), true) end
  ),
  kept_key as (
    insert into idempotency (key, request, order_uuid, created_at)
    select idempotency_key, sha256(convert_to(request::text, 'UTF8')), changed_order.id, at
    from changed_order, draft where idempotency_key is not null
  ),
  ${recordEvent({ source: "null", note: "null" })}
  select ${eventColumns("changed_order")} from changed_order`,
} as const;

/** Builds the record $1. Fields that have the same name in a draft are copied. */
function openRecord(draft: PaymentDraft, paymentId: string, limits?: OpenLimits): string {
  const {
    orderId,
    amountMinor,
    returnUrl,
    deadlineS,
    firstCheckS,
    idempotencyKey,
    link,
    request: _,
    ...sameNamed
  } = draft;
  const renamed: Record<Exclude<keyof typeof draftFields, keyof typeof sameNamed>, unknown> = {
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
    payment_link_id: link?.id,
    pays_link: link && !link.isReusable ? true : undefined,
    payer: link?.payer !== undefined ? `\\x${link.payer}` : undefined,
    link_phone_max: link?.phoneMax,
  };
  return JSON.stringify({ ...sameNamed, ...renamed });
}

/**
 * Reads which limit is reached, and the time until it allows another payment: $2 payments of the phone $1 or $4 of the order $3 in
 * 10 minutes, or $6 of the phone on the pages of links in an hour. Only the phone's live payments count if $5 is true, only its sandbox
 * payments otherwise.
 */
const reachedLimitStatement = {
  name: "read-reached-limit",
  text: `select what, extract(epoch from until - clock_timestamp())::float8 * 1000 as remaining_ms from (
    (select 'phone' as what, started_at + interval '10 minutes' as until from payment
     where phone = $1 and live = $5 and $2::int is not null and phone ~ '^[+][0-9]+$' and started_at > clock_timestamp() - interval '10 minutes'
     order by started_at desc offset $2 - 1 limit 1)
    union all
    (select 'order', started_at + interval '10 minutes' from payment
     where order_uuid = (select id from "order" where order_id = $3) and $4::int is not null
       and started_at > clock_timestamp() - interval '10 minutes'
     order by started_at desc offset $4 - 1 limit 1)
    union all
    (select 'page', started_at + interval '1 hour' from payment
     where phone = $1 and live = $5 and payer is not null and $6::int is not null and phone ~ '^[+][0-9]+$'
       and started_at > clock_timestamp() - interval '1 hour'
     order by started_at desc offset $6 - 1 limit 1)
  ) as reached order by until desc limit 1`,
} as const;

/** Reads an idempotency key: the order that it opened, whether its request was the same, and whether the key has expired. */
const keyStatement = {
  name: "read-key",
  text: `select order_uuid, request = sha256(convert_to($2::jsonb::text, 'UTF8')) as is_same,
                created_at < clock_timestamp() - interval '72 hours' as is_expired
         from idempotency where key = $1`,
} as const;

/** Deletes an expired key. Another request may have used the key anew meanwhile. */
const deleteKeyStatement = {
  name: "delete-key",
  text: "delete from idempotency where key = $1 and created_at < clock_timestamp() - interval '72 hours'",
} as const;

/** Reads the order that a draft with the items $2 and the payment link $3 could not open. */
const orderStatement = {
  name: "read-order",
  text: `select ${eventColumns('"order"')}, not ${hasItems("items", "$2::jsonb")} as has_other_items,
      payment_link_id is distinct from $3::uuid as has_other_link
    from "order" where order_id = $1`,
} as const;

/**
 * Reads whether the order id $1 belongs to another payment link than $2, whether that link is no longer open, and what another link has for
 * the same instalment of a plan.
 */
const linkStatement = {
  name: "read-draft-link",
  text: `select exists (select from payment_link where order_id = $1 and id is distinct from $2::uuid) as has_other_link,
      exists (select from payment_link where id = $2::uuid and (status <> 'open' or expires_at <= clock_timestamp())) as is_closed,
      (select rival_state(id) from payment_link where id = $2::uuid and plan_uuid is not null) as rival`,
} as const;

/** `payment` is the attempt that must now be initiated; absent when an idempotency key was used again and nothing was opened. */
export interface Opened {
  event: StatusEvent;
  payment?: Payment;
}

/** Payments that may be started within 10 minutes, by all nodes together: for each phone (live and sandbox ones apart), for each order. */
export interface OpenLimits {
  phone: number;
  order: number;
}

/** Attempts to open. Three, because the order may change between a refusal and the read of its reason, and may then be opened. */
const attemptsMax = 3;

/**
 * Opens the payment of the draft and commits it. Throws `rate_limited`, `payment_in_progress`, `order_paid`,
 * `order_in_review`, `order_mismatch` (the last four with `order`, unless the order id belongs to a payment link),
 * `payment_link_closed` or `idempotency_mismatch`.
 */
export async function openOrder(pool: pg.Pool, draft: PaymentDraft, limits?: OpenLimits): Promise<Opened> {
  for (let attempt = 0; attempt < attemptsMax; attempt += 1) {
    const opened = (await tryToOpen(pool, draft, limits)) ?? (await replay(pool, draft));
    if (opened) return opened;
    await requireWithinLimits(pool, draft, limits);
    await requireFree(pool, draft);
  }
  throw new HubError("store_unavailable", "The order is changing too fast; try again", { retryAfterS: 1 });
}

/** Throws the reason why the order or its payment link takes no further attempt. */
async function requireFree(pool: pg.Pool, draft: PaymentDraft): Promise<void> {
  const items = draft.items && JSON.stringify(draft.items);
  type Row = StateRow & { has_other_items: boolean; has_other_link: boolean };
  const [row] = await run<Row>(pool, orderStatement, [draft.orderId, items, draft.link?.id]);
  const other = row && { hasOtherItems: row.has_other_items, hasOtherLink: row.has_other_link };
  const conflict = other && conflictOf(toEvent(row), draft, other);
  if (conflict) throw conflict;
  type LinkRow = { has_other_link: boolean; is_closed: boolean; rival: "paid" | "busy" | null };
  const [link] = await run<LinkRow>(pool, linkStatement, [draft.orderId, draft.link?.id]);
  if (link?.has_other_link) throw belongsToLink();
  if (link?.is_closed || link?.rival === "paid") throw new HubError("payment_link_closed");
  if (link?.rival) throw new HubError("payment_in_progress", "Another payment for the same instalment is in progress");
}

async function tryToOpen(pool: pg.Pool, draft: PaymentDraft, limits?: OpenLimits): Promise<Opened | undefined> {
  const paymentId = uuidv7();
  const rows = run<StateRow>(pool, openStatement, [openRecord(draft, paymentId, limits)]);
  const [row] = (await rows.catch(undefinedIfRaced)) ?? [];
  return row && { event: toEvent(row), payment: paymentOf(draft, row, paymentId) };
}

/** Another request with the same key, or for the same phone, won the race: this one opened nothing. */
function undefinedIfRaced(error: unknown): undefined {
  if (sqlState(error) === "TK429") return undefined;
  if (sqlState(error) === "23505" && String((error as { constraint?: unknown }).constraint).startsWith("idempotency")) {
    return undefined;
  }
  throw error;
}

/** Answers a request whose idempotency key was used before, with the order as it is now. */
const replay = async (pool: pg.Pool, draft: PaymentDraft): Promise<Opened | undefined> =>
  readOpened(pool, draft.idempotencyKey, canonicalRequest(draft));

/** The order that the same request has opened with this key, as it is now; undefined if none. Throws `idempotency_mismatch`. */
export async function readOpened(
  pool: pg.Pool,
  key: string | undefined,
  request: object,
): Promise<{ event: StatusEvent } | undefined> {
  if (key === undefined) return undefined;
  type KeyRow = { order_uuid: string; is_same: boolean; is_expired: boolean };
  const [used] = await run<KeyRow>(pool, keyStatement, [key, JSON.stringify(request)]);
  if (!used) return undefined;
  if (used.is_expired) {
    await run(pool, deleteKeyStatement, [key]);
    return undefined;
  }
  if (!used.is_same) throw new HubError("idempotency_mismatch");
  const [event] = await readCurrent(pool, [used.order_uuid]);
  return event && { event };
}

async function requireWithinLimits(
  pool: pg.Pool,
  { phone, live, isSandbox, orderId, link }: PaymentDraft,
  limits: OpenLimits | undefined,
): Promise<void> {
  const values = [phone, limits?.phone, orderId, limits?.order, live, link?.phoneMax];
  type Reached = { what: keyof OpenLimits | "page"; remaining_ms: number };
  const [reached] = await run<Reached>(pool, reachedLimitStatement, values);
  if (!reached) return;
  const { what, remaining_ms: remainingMs } = reached;
  if (what === "page") {
    const limit = { max: link?.phoneMax ?? 0, windowMs: 3_600_000, remainingMs };
    const { message, details } = limited(limitDetail("payments for this phone", limit), remainingMs);
    // The page shows it beside its field.
    throw new HubError("rate_limited", message, { ...details, errors: [{ path: "phone", message }] });
  }
  if (!limits) return;
  const detail = limitDetail(`payments for this ${what}`, { max: limits[what], windowMs: 600_000, remainingMs });
  const other = what === "phone" && isSandbox && phone !== undefined ? `, or use ${otherPhone(phone)}` : "";
  throw limited(detail + other, remainingMs);
}

/** A phone of the sandbox does what its last two digits say. */
const otherPhone = (phone: string): string =>
  `another number with the same ending, such as ${phone.slice(0, -3)}${(Number(phone.at(-3)) + 1) % 10}${phone.slice(-2)}`;
