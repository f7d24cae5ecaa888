/** Databases with 1,000,000 orders, for tests of query plans. */
import pg from "pg";
import { createDatabase } from "./database.ts";
import { deliveryRows } from "./delivery-size.ts";
import { keyRows } from "./key-size.ts";
import { notificationRows } from "./notification-size.ts";
import { paymentLinkRows } from "./payment-link-size.ts";
import { planRows } from "./plan-size.ts";
import { providerCallRows } from "./provider-call-size.ts";

/** `time`: as a node writes them, the oldest first. `shuffled`: in no order, so that an index by time finds each row on another page. */
export const rowOrders = ["time", "shuffled"] as const;

export type RowOrder = (typeof rowOrders)[number];

const orderCount = 1_000_000;

/** Proven webhooks that are stored and not applied. */
export const unappliedCount = 3_101;

/** The id of the `n`th newest order and of its payment. */
export const idOf = (n: number): string => `019f0000-0000-7000-8000-${(orderCount - n).toString(16).padStart(12, "0")}`;

/**
 * One order each ten seconds up to now: 8,640 a day for 116 days. No provider has answered for eight hours, so the newest 3,000 orders are
 * open. Of the others 10 % failed, 4 % expired, 250 are in review, and the rest is paid. Payers' data older than 90 days is erased, except
 * that of 300 orders. `payhero` was used for the first 12 days only.
 */
const made = (rowOrder: RowOrder): string => `
  create unlogged table made as
  select n, ('019f0000-0000-7000-8000-' || lpad(to_hex(${orderCount} - n), 12, '0'))::uuid as id,
    date_trunc('milliseconds', now() - n * interval '10 seconds') as at,
    n > 777900 as is_erased,
    case when n <= 3000 then case when n % 3 = 0 then 'pending' else 'processing' end
         when n % 4000 = 7 then 'review' when n % 10 = 1 then 'failed' when n % 25 = 3 then 'expired' else 'succeeded' end as status,
    case when n > 900000 then 'payhero' when n % 10 = 2 then 'zenopay' when n % 20 = 5 then 'mtn' when n % 25 = 4 then 'bkash'
         when n % 100 = 8 then 'lipana' else 'daraja' end as provider,
    '+2547' || lpad((n::bigint * 7919 % 400000)::text, 8, '0') as phone
  from (select n from generate_series(1, ${orderCount}) n order by ${rowOrder === "time" ? "n desc" : "hashint4(n)"}) numbers`;

/** The column `payment` of an order. One for each provider, because to build a million takes too long. */
const paymentOf = `
  create temporary table payment_of as
  select provider, jsonb_build_object('id', gen_random_uuid(), 'provider', provider, 'attempt', 1, 'startedAt', iso(now()),
    'expiresAt', iso(now()), 'live', true) as payment
  from unnest('{payhero,zenopay,mtn,bkash,lipana,daraja}'::text[]) provider`;

/** Events, receipts and applied webhooks of the newest 200,000 orders only, because all would take twice the time. */
const rows = [
  `insert into "order" (id, order_id, amount_minor, currency, description, customer, version, status, reason, attempt, payment,
     opened_at, changed_at)
   select id, 'MILLION-' || n, 15000, 'KES', case when not is_erased then 'Two tickets' end,
     case when is_erased then null when n % 100 = 5 then '{"name": "Amina", "id": "guest"}'
          when n % 10 = 5 then jsonb_build_object('name', 'Amina', 'id', 'C-' || n % 5000, 'email', 'c' || n % 5000 || '@example.com')
          else '{"name": "Amina"}' end,
     2, status, case when status = 'failed' then 'cancelled' when n % 1000 = 9 and status = 'succeeded' then 'late' end, 1,
     payment || jsonb_build_object('id', id), at, at + interval '8 seconds'
   from made join payment_of using (provider)`,
  `insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, phone, status, reason, reference, receipt,
     amount_paid_minor, paid_at, started_at, expires_at, check_at)
   select id, id, 1, provider, true, 15000, 'KES',
     case when is_erased then left(phone, 5) || '*****' || right(phone, 3) else phone end,
     status, case when status = 'failed' then 'cancelled' when n % 1000 = 9 and status = 'succeeded' then 'late' end,
     case when status <> 'pending' then 'REF-' || n end, case when status = 'succeeded' then 'RCT-' || n end,
     case when status = 'succeeded' then 15000 end, case when status = 'succeeded' and n > 3500 then at + interval '8 seconds' end, at, at + interval '2 minutes',
     case when n <= 3000 then now() - (n - 10) * interval '3 seconds'
          when status in ('failed', 'expired') then
            (select min(at + interval '2 minutes' + late) from unnest('{5 minutes,1 hour,24 hours}'::interval[]) late
             where at + interval '2 minutes' + late > now() - interval '8 hours') end
   from made`,
  `insert into event (order_uuid, version, status, payment, also_paid, occurred_at, source, xid)
   select id, version, case version when 1 then 'pending' else status end, payment, '{}', at + version * interval '4 seconds',
     case version when 2 then 'webhook' end, (603 - n / 340)::text::xid8
   from made join payment_of using (provider) cross join generate_series(1, 2) version
   where n <= 200000`,
  `insert into receipt (provider, receipt, payment_id) select provider, 'RCT-' || n, id from made where status = 'succeeded' and n <= 200000`,
  `insert into webhook (provider, payment_id, reference, proof, result, offer_at, headers, body, received_at)
   select provider, id, 'REF-' || n, 'secret', 'applied', null, case when is_erased then '{}'::jsonb else '{"content-type": "application/json"}'::jsonb end,
     case when is_erased then ''::bytea else convert_to('{"receipt":"RCT-' || n || '"}', 'UTF8') end, at + interval '8 seconds'
   from made where status not in ('pending', 'processing') and n <= 200000`,
  `insert into webhook (provider, reference, proof, result, headers, body, received_at)
   select provider, 'REF-1', 'none', 'unmatched', '{}'::jsonb, 'x'::bytea, at from made where n <= 50000 union all
   select provider, null, 'none', 'refused', '{}', 'x', at from made where n <= 60600`,
  `insert into webhook (provider, reference, proof, result, offer_at, headers, body, received_at)
   select provider, 'PARKED-' || n, 'secret', 'unmatched', now() - (n - 10) * interval '3 seconds', '{}', 'x', at
   from made where n <= 3000 or n between 60500 and 60600`,
  `insert into idempotency (key, request, order_uuid, created_at) select 'key-' || n, sha256('x'), id, at from made where n <= 26200`,
  ...paymentLinkRows,
  ...planRows,
  ...keyRows,
  ...providerCallRows,
  ...deliveryRows,
  ...notificationRows,
];

/** Creates the database. Builds each index after the rows, because that takes a fraction of the time. */
export async function createMillion(rowOrder: RowOrder): Promise<{ url: string; drop(): Promise<void> }> {
  const { url, drop } = await createDatabase();
  const client = new pg.Client(url);
  await client.connect();
  try {
    await fill(client, rowOrder);
  } finally {
    await client.end();
  }
  return { url, drop };
}

/** Makes more rows than the limit of each statement that counts. The database can no longer be used for anything else. */
export async function flood(url: string): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    for (const statement of floods) await client.query(statement);
    await client.query("analyze");
  } finally {
    await client.end();
  }
}

/** The orders from the `first`th to the `last`th newest, and their payments, as a condition. */
const between = (first: number, last: number): string => `id between '${idOf(last)}' and '${idOf(first)}'`;

const floods = [
  `update payment set provider = 'daraja', status = 'pending', check_at = now() - interval '1 hour' where ${between(300_001, 320_000)}`,
  `update payment set provider = 'daraja', status = 'failed', check_at = now() - interval '1 hour' where ${between(320_001, 340_000)}`,
  `update webhook set result = 'unmatched', offer_at = now() where id in (select id from webhook where offer_at is null limit 20000)`,
  `update "order" set status = 'review' where ${between(340_001, 360_000)}`,
  `update payment set started_at = now() - interval '1 hour' where ${between(400_001, 520_000)}`,
];

export async function fill(client: pg.Client, rowOrder: RowOrder): Promise<void> {
  await client.query("set maintenance_work_mem = '256MB'; set work_mem = '64MB'");
  const { rows: found } = await client.query<{ remove: string; restore: string }>(definitions);
  for (const { remove } of found) await client.query(remove);
  for (const statement of [made(rowOrder), paymentOf, ...rows, "drop table made"]) await client.query(statement);
  for (const { restore } of found.toReversed()) await client.query(restore);
  await client.query("vacuum (analyze)");
}

/**
 * Foreign keys, checks, keys and indexes: how to remove each, in an order that its users allow, and how to restore it. Tables are
 * unlogged from then on, because nobody restarts this database.
 */
const definitions = `
  select format('alter table %s drop constraint %I', conrelid::regclass, conname) as remove,
    format('alter table %s add constraint %I %s %s', conrelid::regclass, conname, replace(pg_get_constraintdef(oid), ' NOT VALID', ''),
      case when contype in ('c', 'f') then 'not valid' end) as restore,
    case when contype in ('c', 'f') then 1 else 2 end as kind
  from pg_constraint where connamespace = 'public'::regnamespace and contype in ('c', 'f', 'p', 'u')
  union all
  select format('drop index %s', indexrelid::regclass), pg_get_indexdef(indexrelid), 3
  from pg_index where indrelid in (select oid from pg_class where relnamespace = 'public'::regnamespace)
    and not exists (select from pg_constraint where conindid = indexrelid and contype in ('p', 'u'))
  union all
  select format('alter table %s set unlogged', oid::regclass), '', 4
  from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
  order by kind`;
