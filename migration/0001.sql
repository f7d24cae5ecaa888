-- Migration 0001: the schema as it was when migrations got numbers. It also completes databases that earlier versions
-- made (schema versions 1 to 5), so each of its statements may run where its result is there already.
--
-- Times are the database's clock, in milliseconds. Money is in minor units. Statuses only climb:
-- pending < processing < expired < failed < review < succeeded.

-- Position in the climb. A name that is not a status has none, and compares as unknown.
create or replace function climb(status text) returns int language sql immutable strict parallel safe
  return array_position(array['pending', 'processing', 'expired', 'failed', 'review', 'succeeded'], status);

-- A time as every message writes it: 2026-11-20T21:00:00.123Z.
create or replace function iso(at timestamptz) returns text language sql stable strict parallel safe
  return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- An order: what the merchant wants paid, and its whole current state. A StatusEvent is made from this row alone.
create table if not exists "order" (
  id uuid primary key,
  order_id text not null unique check (order_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$'),
  amount_minor bigint not null check (amount_minor > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  description text,
  customer jsonb,
  metadata jsonb,
  version int not null check (version > 0),
  status text not null check (status in ('pending', 'processing', 'expired', 'failed', 'review', 'succeeded')),
  reason text,
  attempt int not null check (attempt > 0),         -- number of the latest attempt
  payment jsonb not null,                           -- the attempt this state comes from, as events show it, and `live`
  also_paid uuid[] not null default '{}',
  opened_at timestamptz(3) not null,
  changed_at timestamptz(3) not null
);
create index if not exists order_changed on "order" (changed_at, id);
create index if not exists order_opened on "order" (opened_at, id);
create index if not exists order_status on "order" (status, opened_at, id);
create index if not exists order_provider on "order" ((payment ->> 'provider'), opened_at, id);

-- One attempt to pay an order, with one provider.
create table if not exists payment (
  id uuid primary key,
  order_uuid uuid not null references "order" (id),
  attempt int not null check (attempt > 0),
  provider text not null,
  live boolean not null,
  amount_minor bigint not null check (amount_minor > 0),
  currency text not null,
  phone text,
  return_url text,
  status text not null check (status in ('pending', 'processing', 'expired', 'failed', 'review', 'succeeded')),
  reason text,
  reference text,                                   -- the provider's own handle, set once
  receipt text,                                     -- the provider's proof of the money
  amount_paid_minor bigint,
  action jsonb,
  started_at timestamptz(3) not null,
  expires_at timestamptz(3) not null,
  check_at timestamptz(3),                          -- when the provider is to be asked next
  suspected text,                                   -- a failure that one query told of, and no second one yet
  suspected_at timestamptz(3),
  completing_at timestamptz(3),                     -- when we said that the money may move, which is said once
  unique (order_uuid, attempt)
);
alter table payment add column if not exists completing_at timestamptz(3);
create index if not exists payment_reference on payment (provider, reference) where reference is not null;
create index if not exists payment_phone on payment (started_at) where phone ~ '^[+][0-9]+$';
create index if not exists payment_prompt on payment (phone, started_at) where phone ~ '^[+][0-9]+$';
create index if not exists payment_started on payment (started_at);
-- Which payments are due to be asked about, by provider, open ones apart from settled ones.
create index if not exists payment_due on payment (provider, (status in ('pending', 'processing')), check_at)
  where check_at is not null;
drop index if exists payment_check;
-- At Lipana our name for a payment is the end of its id (server/provider/lipana/messages.ts).
create index if not exists payment_own_reference on payment (right(id::text, 12)) where provider = 'lipana';

-- By `climb`, as they were, these checks were planned anew for every statement. What is there has passed them.
do $$ begin
  if (select pg_get_constraintdef(oid) like '%climb%' from pg_constraint where conname = 'order_status_check') then
    alter table "order" drop constraint order_status_check, add constraint order_status_check
      check (status in ('pending', 'processing', 'expired', 'failed', 'review', 'succeeded')) not valid;
  end if;
  if (select pg_get_constraintdef(oid) like '%climb%' from pg_constraint where conname = 'payment_status_check') then
    alter table payment drop constraint payment_status_check, add constraint payment_status_check
      check (status in ('pending', 'processing', 'expired', 'failed', 'review', 'succeeded')) not valid;
  end if;
end $$;

-- Whether a phone was prompted so many times within 10 minutes, as far as is committed.
create or replace function prompted(msisdn text, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and phone ~ '^[+][0-9]+$' and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Checks the same before a prompt, one transaction at a time for each phone. Raises TK429 if the limit is reached. Called
-- after nearly all other locks are held, because a transaction that waits here holds a connection.
create or replace function prompt(msisdn text, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted(msisdn, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- Whether an order was tried so many times within 10 minutes. To be asked with the order's row locked.
create or replace function retried(order_id uuid, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where order_uuid = order_id and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Receipts and the payment that presented each first. The insert locks the receipt, so it never pays two payments.
create table if not exists receipt (
  provider text not null,
  receipt text not null,
  payment_id uuid not null references payment (id),
  primary key (provider, receipt)
);

-- Every version of every order: its history.
create table if not exists event (
  order_uuid uuid not null references "order" (id),
  version int not null,
  status text not null,
  reason text,
  payment jsonb not null,
  also_paid uuid[] not null,
  occurred_at timestamptz(3) not null,
  note text,                                        -- what a person said who decided
  source text check (source in ('webhook', 'query', 'clock', 'person', 'reply', 'payer')), -- none: a payment was started
  primary key (order_uuid, version)
);
alter table event add column if not exists
  source text check (source in ('webhook', 'query', 'clock', 'person', 'reply', 'payer'));

-- The inbox: every webhook's bytes, matched or not. Append-only.
create table if not exists webhook (
  id bigint generated always as identity primary key,
  provider text not null,
  payment_id uuid,                                  -- proven by the URL's secret; may name a payment we do not have
  reference text,
  proof text not null check (proof in ('signature', 'secret', 'none')),
  result text not null check (result in ('applied', 'repeat', 'hint', 'unmatched', 'nothing', 'error', 'unreadable', 'refused')),
  error text,
  offer_at timestamptz(3),                          -- proven but not applied: when it is to be tried again
  headers jsonb not null,                           -- never credentials
  body bytea not null,
  received_at timestamptz(3) not null default clock_timestamp()
);
create index if not exists webhook_payment on webhook (payment_id) where payment_id is not null;
create index if not exists webhook_parked on webhook (provider, reference) where result = 'unmatched';
create index if not exists webhook_offer on webhook (offer_at) where offer_at is not null;
create index if not exists webhook_bytes on webhook (received_at) where body <> '';
create index if not exists webhook_refused on webhook (received_at) where result = 'refused';

-- Idempotency keys of POST /v1/payments, kept 72 hours.
create table if not exists idempotency (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  order_uuid uuid not null references "order" (id),
  created_at timestamptz(3) not null
);

create index if not exists idempotency_created on idempotency (created_at);

-- Providers' access tokens, encrypted with a key derived from TUKIO_SECRET.
create table if not exists credential (
  provider text primary key,
  sealed bytea not null,
  expires_at timestamptz(3) not null
);

-- How fast providers are asked about payments, by all nodes together: a row where that is limited.
create table if not exists query_pace (
  provider text primary key,
  next_at timestamptz not null,                     -- from when the next query may be sent
  halvings int not null default 0,                  -- how often the pace was halved, because the provider asked for it
  halved_at timestamptz
);

-- Calls for access tokens, of providers that ration them.
create table if not exists token_call (
  provider text not null,
  at timestamptz not null
);
create index if not exists token_call_at on token_call (provider, at);
