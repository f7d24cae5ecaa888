-- Migration 0013: plans. A node of the previous version sends `paymentLink` messages about their instalments, too.

-- Instalments that a customer pays over time. Each instalment is a payment link.
create table if not exists plan (
  id uuid primary key,
  plan_id text not null unique check (plan_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,39}$'),
  version int not null default 1,
  status text not null default 'active' check (status in ('active', 'past_due', 'completed', 'cancelled', 'paused')),
  status_version int not null default 1,            -- the version that entered the status
  status_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  started_version int,                              -- the version with the first paid instalment
  started_at timestamptz(3),
  kind text not null check (kind in ('instalments', 'subscription')),
  customer jsonb,
  provider text,                                    -- null: the payer chooses
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  description text,
  metadata jsonb,
  lang text check (lang in ('en', 'sw', 'bn')),
  schedule jsonb,                                   -- null: the merchant gave each instalment
  time_zone text not null,
  prompt_at text not null,
  remind_days_before int[] not null,
  grace_days int not null,
  next_n int not null,                              -- of an endless plan: the number of the next instalment
  next_index int not null,                          -- and its place in the schedule
  grows_at timestamptz(3),                          -- when the next instalment is created; null: all are
  past_due_at timestamptz(3),                       -- when an active plan becomes past_due
  created_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  changed_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp())
);
create index if not exists plan_created on plan (created_at, id);
create index if not exists plan_status on plan (status, created_at, id);
create index if not exists plan_growth on plan (grows_at) where grows_at is not null and status in ('active', 'past_due');
create index if not exists plan_past_due on plan (past_due_at) where past_due_at is not null;
create index if not exists plan_customer_id on plan ((customer ->> 'id'), currency)
  where kind = 'instalments' and status in ('active', 'past_due', 'paused');
create index if not exists plan_customer_phone on plan ((customer ->> 'phone'), currency)
  where kind = 'instalments' and status in ('active', 'past_due', 'paused');
create index if not exists plan_personal on plan (changed_at)
  where status in ('completed', 'cancelled') and (description is not null or customer is not null or metadata is not null);

-- Idempotency keys of POST /v1/plans, kept 72 hours.
create table if not exists plan_key (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  plan_uuid uuid not null references plan (id),
  created_at timestamptz(3) not null
);
create index if not exists plan_key_created on plan_key (created_at);

-- Adding columns without a default changes no row. All are null for a link that is no instalment.
alter table payment_link add column if not exists plan_uuid uuid references plan (id);
alter table payment_link add column if not exists plan_n int;
-- When the plan becomes past_due if the link is still open.
alter table payment_link add column if not exists overdue_at timestamptz(3);
-- The version that the plan has taken into account.
alter table payment_link add column if not exists seen_version int;
create unique index if not exists payment_link_plan on payment_link (plan_uuid, plan_n) where plan_uuid is not null;
create index if not exists payment_link_unseen on payment_link (plan_uuid) where seen_version <> version;

-- Returns what a customer, found by `id` or by `phone`, still has to pay on instalments in a currency. Locks the customer until the commit,
-- so that plans which are created at once are counted. Locks in the order of the keys, so that two callers never wait for each other.
create or replace function unpaid_instalments(customer jsonb, money text) returns bigint language plpgsql volatile as $$
declare
  lock_key bigint;
begin
  for lock_key in
    select distinct hashtextextended(name || ':' || value, 2) as locked from jsonb_each_text(customer) as field (name, value)
    where name in ('id', 'phone') order by locked
  loop
    perform pg_advisory_xact_lock(lock_key);
  end loop;
  return coalesce((
    select sum(l.amount_minor) from (
      select p.id from plan p where p.customer ->> 'id' = unpaid_instalments.customer ->> 'id' and p.currency = money
        and p.kind = 'instalments' and p.status in ('active', 'past_due', 'paused')
      union
      select p.id from plan p where p.customer ->> 'phone' = unpaid_instalments.customer ->> 'phone' and p.currency = money
        and p.kind = 'instalments' and p.status in ('active', 'past_due', 'paused')
    ) owed join payment_link l on l.plan_uuid = owed.id and l.status = 'open'), 0);
end $$;

-- Not validated, because that reads every delivery under this lock, and the old check already holds for them.
alter table delivery drop constraint if exists delivery_kind_check;
alter table delivery add constraint delivery_kind_check check (kind in ('order', 'endpoint', 'payment_link', 'plan', 'alert')) not valid;
