-- Tukio's tables as they are today, for reading. Databases are made by the numbered files in migration/, which
-- server/database/migrate.ts applies; a test holds the two equal. A change of the schema is a new file there, and here
-- its result.
--
-- Times are the database's clock, in milliseconds. Money is in minor units. Statuses only climb:
-- pending < processing < expired < failed < review < succeeded.

-- Position in the climb. A name that is not a status has none, and compares as unknown.
create function climb(status text) returns int language sql immutable strict parallel safe
  return array_position(array['pending', 'processing', 'expired', 'failed', 'review', 'succeeded'], status);

-- The payment may still be paid: the provider was asked for the money, or is about to be.
create function is_open(status text) returns boolean language sql immutable parallel safe
  return status in ('pending', 'processing');

-- Money has moved or may have moved: no failure, deadline or further attempt changes the status.
create function is_final(status text) returns boolean language sql immutable parallel safe
  return status in ('review', 'succeeded');

-- A time as every message writes it: 2026-11-20T21:00:00.123Z.
create function iso(at timestamptz) returns text language sql stable strict parallel safe
  return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- An order: what the merchant wants paid, and its whole current state. A StatusEvent is made from this row alone.
create table "order" (
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
create index order_changed on "order" (changed_at, id);
create index order_opened on "order" (opened_at, id);
create index order_status on "order" (status, opened_at, id);
create index order_provider on "order" ((payment ->> 'provider'), opened_at, id);

-- One attempt to pay an order, with one provider.
create table payment (
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
create index payment_reference on payment (provider, reference) where reference is not null;
create index payment_phone on payment (started_at) where phone ~ '^[+][0-9]+$';
create index payment_prompt on payment (phone, started_at) where phone ~ '^[+][0-9]+$';
create index payment_started on payment (started_at);
-- Which payments are due to be asked about, by provider, open ones apart from settled ones.
create index payment_due on payment (provider, (status in ('pending', 'processing')), check_at)
  where check_at is not null;
-- At Lipana our name for a payment is the end of its id (server/provider/lipana/messages.ts).
create index payment_own_reference on payment (right(id::text, 12)) where provider = 'lipana';

-- Whether a phone was prompted so many times within 10 minutes, as far as is committed. Live and sandbox payments are
-- counted apart, because whoever can reach the sandbox would otherwise use up a payer's live payments.
create function prompted(msisdn text, is_live boolean, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and live = is_live and phone ~ '^[+][0-9]+$'
      and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Checks the same before a prompt, one transaction at a time for each phone. Raises TK429 if the limit is reached. Called
-- after nearly all other locks are held, because a transaction that waits here holds a connection.
create function prompt(msisdn text, is_live boolean, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted(msisdn, is_live, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- The same, live and sandbox payments together: what nodes of schema version 6 call.
create function prompted(msisdn text, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and phone ~ '^[+][0-9]+$' and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

create function prompt(msisdn text, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted(msisdn, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- Whether an order was tried so many times within 10 minutes. To be asked with the order's row locked.
create function retried(order_id uuid, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where order_uuid = order_id and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Receipts and the payment that presented each first. The insert locks the receipt, so it never pays two payments.
create table receipt (
  provider text not null,
  receipt text not null,
  payment_id uuid not null references payment (id),
  primary key (provider, receipt)
);

-- Every version of every order: its history.
create table event (
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

-- The inbox: every webhook's bytes, matched or not. Append-only.
create table webhook (
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
create index webhook_payment on webhook (payment_id) where payment_id is not null;
create index webhook_parked on webhook (provider, reference) where result = 'unmatched';
create index webhook_offer on webhook (offer_at) where offer_at is not null;
create index webhook_bytes on webhook (received_at) where body <> '';
create index webhook_refused on webhook (received_at) where result = 'refused';

-- Idempotency keys of POST /v1/payments, kept 72 hours.
create table idempotency (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  order_uuid uuid not null references "order" (id),
  created_at timestamptz(3) not null
);

create index idempotency_created on idempotency (created_at);

-- Providers' access tokens, encrypted with a key derived from TUKIO_SECRET.
create table credential (
  provider text primary key,
  sealed bytea not null,
  expires_at timestamptz(3) not null
);

-- How fast providers are asked about payments, by all nodes together: a row where that is limited.
create table query_pace (
  provider text primary key,
  next_at timestamptz not null,                     -- from when the next query may be sent
  halvings int not null default 0,                  -- how often the pace was halved, because the provider asked for it
  halved_at timestamptz
);

-- Calls for access tokens, of providers that ration them.
create table token_call (
  provider text not null,
  at timestamptz not null
);
create index token_call_at on token_call (provider, at);
