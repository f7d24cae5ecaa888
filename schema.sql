-- Tukio's tables as they are today, for reading. server/database/migrate.ts creates them with the numbered files in
-- migration/; a test compares both. To change the schema, add a file there and write its result here.
--
-- PostgreSQL's clock sets all times, in milliseconds. Money is in minor units. The status of a
-- payment only climbs: pending < processing < expired < failed < review < succeeded. The only exception is a person's rejection,
-- which makes a payment in review failed. An order also returns to pending with another attempt.

-- The position of a status in the climb. Null for a name that is not a status.
create function climb(status text) returns int language sql immutable strict parallel safe
  return array_position(array['pending', 'processing', 'expired', 'failed', 'review', 'succeeded'], status);

-- The payment may still be paid: the provider was asked for the money, or is about to be.
create function is_open(status text) returns boolean language sql immutable parallel safe
  return status in ('pending', 'processing');

-- Money has moved or may have moved: no failure, deadline or further attempt changes the status.
create function is_final(status text) returns boolean language sql immutable parallel safe
  return status in ('review', 'succeeded');

-- Formats a time as all messages do: 2026-11-20T21:00:00.123Z.
create function iso(at timestamptz) returns text language sql stable strict parallel safe
  return to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"');

-- Instalments that a customer pays over time. Each instalment is a payment link.
create table plan (
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
  collects_at timestamptz(3),                       -- when a node looks at it next, to ask for money; null: never, as things are
  prompted_on date,                                 -- the day of the last prompt, in `time_zone`
  token_hash bytea,                                 -- as those of a payment link; both null: a node adds them soon
  token bytea,
  created_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  changed_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp())
);
create index plan_created on plan (created_at, id);
create index plan_status on plan (status, created_at, id);
create index plan_growth on plan (grows_at) where grows_at is not null and status in ('active', 'past_due');
create unique index plan_token on plan (token_hash) where token_hash is not null;
create index plan_tokenless on plan (id) where token is null;
create index plan_past_due on plan (past_due_at) where past_due_at is not null;
create index plan_collection on plan (collects_at) where collects_at is not null and status in ('active', 'past_due');
create index plan_customer_id on plan ((customer ->> 'id'), currency)
  where kind = 'instalments' and status in ('active', 'past_due', 'paused');
create index plan_customer_phone on plan ((customer ->> 'phone'), currency)
  where kind = 'instalments' and status in ('active', 'past_due', 'paused');
create index plan_personal on plan (changed_at)
  where status in ('completed', 'cancelled') and (description is not null or customer is not null or metadata is not null);

-- Idempotency keys of POST /v1/plans, kept 72 hours.
create table plan_key (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  plan_uuid uuid not null references plan (id),
  created_at timestamptz(3) not null
);
create index plan_key_created on plan_key (created_at);

-- One row: by how many milliseconds the sandbox has moved the time of plans ahead of PostgreSQL's clock.
create table plan_clock (
  is_single boolean primary key default true check (is_single),
  ahead_ms bigint not null default 0
);
insert into plan_clock default values;

-- The time by which instalments are due and overdue: that of the statement, moved by the sandbox.
create function plan_now() returns timestamptz language sql stable as
  $$ select statement_timestamp() + ahead_ms * interval '1 millisecond' from plan_clock $$;

-- A link by which a payer starts payments. Its orders carry its id.
create table payment_link (
  id uuid primary key,
  order_id text not null unique check (order_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$'),
  version int not null default 1,
  status text not null default 'open' check (status in ('open', 'paid', 'cancelled', 'expired')),
  token_hash bytea not null unique,                 -- SHA-256 of the random token in the page's URL
  token bytea not null,                             -- the token, encrypted with a key derived from TUKIO_SECRET
  amount_minor bigint check (amount_minor > 0),     -- null: the payer enters the amount
  min_minor bigint check (min_minor > 0),
  max_minor bigint check (max_minor > 0),
  currency text not null check (currency ~ '^[A-Z]{3}$'),
  description text,
  items jsonb,
  customer jsonb,
  metadata jsonb,
  providers text[],                                 -- null: all that take the currency
  return_url text,
  lang text check (lang in ('en', 'sw', 'bn')),
  is_reusable boolean not null default false,
  next_n int not null default 1,                    -- of a reusable link: the number of its next order
  expires_at timestamptz(3),
  due_at timestamptz(3),                            -- for people: nothing happens at this time
  created_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  changed_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  -- The transaction that wrote this version, so that a reader finds the links that its last snapshot did not see.
  xid xid8 not null default pg_current_xact_id(),
  -- The next six are null for a link of no plan.
  plan_uuid uuid references plan (id),
  plan_n int,                                       -- the instalment's number; null: the link covers several
  covers int[],                                     -- the numbers of the instalments that the link pays together
  covered_by uuid references payment_link (id),     -- the link that covered this instalment and has paid it
  overdue_at timestamptz(3),                        -- when the plan becomes past_due if the link is still open
  seen_version int                                  -- the version that the plan has taken into account
);
create index payment_link_created on payment_link (created_at, id);
create index payment_link_status on payment_link (status, created_at, id);
create index payment_link_expiry on payment_link (expires_at) where status = 'open';
create index payment_link_changed on payment_link (changed_at, id);
create index payment_link_xid on payment_link (xid, id);
create index payment_link_personal on payment_link (changed_at)
  where status <> 'open' and (description is not null or customer is not null or metadata is not null or items is not null or return_url is not null);
create unique index payment_link_plan on payment_link (plan_uuid, plan_n) where plan_uuid is not null;
create index payment_link_unseen on payment_link (plan_uuid) where seen_version <> version;

-- Idempotency keys of POST /v1/payment-links, kept 72 hours.
create table payment_link_key (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  payment_link_id uuid not null references payment_link (id),
  created_at timestamptz(3) not null
);
create index payment_link_key_created on payment_link_key (created_at);

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
  items jsonb,                                      -- null: opened without items; []: erased
  lang text check (lang in ('en', 'sw', 'bn')),     -- of messages to the payer
  results jsonb,                                    -- what the payer receives for the money
  opened_at timestamptz(3) not null,
  changed_at timestamptz(3) not null,
  payment_link_id uuid references payment_link (id),
  -- True: when this order is paid, its link becomes paid too. Null: it has, or the link is reusable, or there is none.
  pays_link boolean
);
create index order_pays_link on "order" (payment_link_id) where pays_link and status = 'succeeded';
create index order_changed on "order" (changed_at, id);
create index order_status on "order" (status, opened_at, id);
create index order_provider on "order" ((payment ->> 'provider'), opened_at, id);
create index order_reason on "order" (reason, opened_at, id) where reason is not null;
-- The orders on which a person must act (server/order/order-filter.ts).
create index order_attention on "order" (opened_at, id)
  where status = 'review' or also_paid <> '{}'
    or status = 'succeeded' and reason in ('amount_mismatch', 'currency_mismatch', 'receipt_reused');
create index order_customer_id on "order" ((customer ->> 'id'), opened_at, id) where customer ->> 'id' is not null;
create index order_customer_email on "order" (lower(customer ->> 'email'), opened_at, id)
  where customer ->> 'email' is not null;
-- The indexes named ..._personal and ..._personal_goods find the rows that still hold personal data, by age (server/order/retention.ts).
create index order_personal on "order" (changed_at)
  where description is not null or customer is not null or metadata is not null;
create index order_personal_goods on "order" (changed_at) where results is not null or items <> '[]';

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
  check_at timestamptz(3),                          -- the time of the next query
  suspected text,                                   -- a failure that only one query has reported
  suspected_at timestamptz(3),
  completing_at timestamptz(3),                     -- when the completion began, at most once (G10)
  payer bytea,                                      -- SHA-256 of the key of the browser that started it on a link's page
  paid_at timestamptz(3),                           -- the first evidence of the money, also while a review doubts it
  unique (order_uuid, attempt)
);
create index payment_reference on payment (provider, reference) where reference is not null;
create index payment_personal on payment (started_at)
  where phone ~ '^[+][0-9]+$' or return_url is not null or action is not null;
create index payment_prompt on payment (phone, started_at) where phone ~ '^[+][0-9]+$';
create index payment_payer on payment (payer, started_at) where payer is not null;
create index payment_payer_personal on payment (started_at) where payer is not null;
create index payment_provider on payment (provider, started_at);
create index payment_paid on payment (paid_at) where paid_at is not null;
create index payment_undated on payment (id) where status = 'succeeded' and paid_at is null;
create index payment_status on payment (status, started_at) where status <> 'succeeded';
create index payment_reason on payment (reason, started_at) where reason is not null;
create index payment_receipt on payment (receipt) where receipt is not null;
-- Finds due payments by provider, open ones apart from settled ones.
create index payment_due on payment (provider, (status in ('pending', 'processing')), check_at)
  where check_at is not null;
-- The reference that Tukio sends to Lipana is the end of the payment's id (server/provider/lipana/messages.ts).
create index payment_own_reference on payment (right(id::text, 12)) where provider = 'lipana';

-- Returns whether at least `times` payments of the phone were started within 10 minutes. Sees committed payments only.
-- Counts live and sandbox payments apart, because otherwise sandbox payments could use up a payer's live ones.
create function prompted(msisdn text, is_live boolean, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and live = is_live and phone ~ '^[+][0-9]+$'
      and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Checks the same limit before a prompt, and locks the phone until the commit, so that concurrent payments are counted.
-- Raises TK429 if the limit is reached. Call it after other locks are taken: while a transaction holds the phone's lock,
-- others that wait for it hold connections.
create function prompt(msisdn text, is_live boolean, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted(msisdn, is_live, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- The same two functions for live and sandbox payments together. Nodes of schema version 6 call them.
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

-- Returns whether at least `times` attempts of the order were started within 10 minutes. The caller must hold the lock
-- of the order's row.
create function retried(order_id uuid, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where order_uuid = order_id and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Returns why the link of an instalment, or one that covers several, must start no payment although it is open: 'busy' if another link
-- has a payment in progress or in review for one of the same instalments, 'paid' if one is paid or cancelled. Null: it may.
create function rival_state(link uuid) returns text language sql volatile as $$
  select case
    when bool_or(o.status = 'succeeded' or (own.covers is not null and other.plan_n is not null and other.status <> 'open')) then 'paid'
    when bool_or(is_open(o.status) or is_final(o.status)) then 'busy'
    end
  from payment_link own
    join payment_link other on other.plan_uuid = own.plan_uuid and other.id <> own.id
      and (other.plan_n = any (coalesce(own.covers, array[own.plan_n])) or other.covers && coalesce(own.covers, array[own.plan_n]))
    left join "order" o on o.order_id = other.order_id and o.payment_link_id = other.id
  where own.id = link
$$;

-- Returns whether an order with this id may be opened by the link, or without a link if that is null. Locks the id against links that are
-- created meanwhile, and the link against its cancellation, which locks it for update, until the commit. Other payers do not wait, except
-- those of the same plan: of two links that pay the same instalment one starts a payment.
create function may_open_order(name text, link uuid) returns boolean language plpgsql volatile as $$
declare
  plan uuid;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended(name, 1));
  if link is not null then
    select plan_uuid into plan from payment_link
    where id = link and status = 'open' and (expires_at is null or expires_at > clock_timestamp()) for key share;
    if not found then return false; end if;
    if plan is not null then
      perform pg_advisory_xact_lock(hashtextextended(plan::text, 3));
      if rival_state(link) is not null then return false; end if;
    end if;
  end if;
  return not exists (select from payment_link where order_id = name and id is distinct from link);
end $$;

-- Returns whether no order has this id. Locks the id against orders that are opened meanwhile.
create function may_create_link(name text) returns boolean language plpgsql volatile as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(name, 1));
  return not exists (select from "order" where order_id = name);
end $$;

-- Returns what a customer, found by `id` or by `phone`, still has to pay on instalments in a currency. Locks the customer until the commit,
-- so that plans which are created at once are counted. Locks in the order of the keys, so that two callers never wait for each other.
create function unpaid_instalments(customer jsonb, money text) returns bigint language plpgsql volatile as $$
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
    ) owed join payment_link l on l.plan_uuid = owed.id and l.plan_n is not null and l.status = 'open'), 0);
end $$;

-- Returns whether at least `times` payments of the phone were started on the pages of links within an hour. Counts as `prompted` does.
create function prompted_by_link(msisdn text, is_live boolean, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and live = is_live and payer is not null and phone ~ '^[+][0-9]+$'
      and started_at > statement_timestamp() - interval '1 hour'
    offset times - 1
  )
$$;

-- Checks the same limit before a prompt, and locks the phone as `prompt` does. Raises TK429 if the limit is reached.
create function prompt_by_link(msisdn text, is_live boolean, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted_by_link(msisdn, is_live, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- Receipts, each with the first payment that stated it. The insert locks the receipt, so it never pays two payments.
create table receipt (
  provider text not null,
  receipt text not null,
  payment_id uuid not null references payment (id),
  primary key (provider, receipt)
);

-- The history: every version of every order. Append-only; only the erasure of personal data changes a row.
create table event (
  order_uuid uuid not null references "order" (id),
  version int not null,
  status text not null,
  reason text,
  payment jsonb not null,
  also_paid uuid[] not null,
  occurred_at timestamptz(3) not null,
  note text,                                        -- the note of a person's decision
  source text check (source in ('webhook', 'query', 'clock', 'person', 'reply', 'payer', 'merchant')), -- null: an attempt was opened
  results jsonb,
  -- The transaction that wrote it, so that a reader finds the events that its last snapshot did not see. Null: older than this column.
  xid xid8 default pg_current_xact_id(),
  primary key (order_uuid, version)
);
create index event_xid on event (xid, order_uuid, version) where xid is not null;
create index event_personal on event (occurred_at) where note is not null or payment ? 'action';
create index event_personal_goods on event (occurred_at) where results is not null;

-- The inbox: every webhook's bytes, matched or not, until they are erased.
create table webhook (
  id bigint generated always as identity primary key,
  provider text not null,
  payment_id uuid,                                  -- proven by the URL's secret; may name a payment that does not exist
  reference text,
  proof text not null check (proof in ('signature', 'secret', 'none')),
  result text not null check (result in ('applied', 'repeat', 'hint', 'unmatched', 'nothing', 'error', 'unreadable', 'refused')),
  error text,
  offer_at timestamptz(3),                          -- proven but not applied: the time of the next try
  headers jsonb not null,                           -- never credentials
  body bytea not null,
  received_at timestamptz(3) not null default clock_timestamp()
);
create index webhook_payment on webhook (payment_id) where payment_id is not null;
create index webhook_waiting on webhook (provider, reference) where result = 'unmatched' and offer_at is not null;
create index webhook_offer on webhook (offer_at) where offer_at is not null;
create index webhook_unapplied on webhook (received_at) where offer_at is not null;
create index webhook_personal on webhook (received_at)
  where body <> '' or headers <> '{}' or reference is not null or error is not null;
create index webhook_refused on webhook (received_at) where result = 'refused';
create index webhook_result on webhook (result, id) where result <> 'applied';

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

-- The pace of queries of all nodes together: one row for each provider whose pace is limited.
create table query_pace (
  provider text primary key,
  next_at timestamptz not null,                     -- the earliest time of the next query
  halvings int not null default 0,                  -- how often rate-limit answers have halved the pace
  halved_at timestamptz
);

-- Requests for access tokens, of providers that limit them.
create table token_call (
  provider text not null,
  at timestamptz not null
);
create index token_call_at on token_call (provider, at);

-- One row: the epoch, and the server and timeline that it belongs to. Versions of orders compare within one epoch. The epoch changes
-- when commits that watchers have seen may be lost: after a failover to a replica that lagged, or after a restore.
create table timeline (
  is_single boolean primary key default true check (is_single),
  epoch bigint not null,
  server text                                       -- null: not read yet, or the role may not read it
);
insert into timeline (epoch) values (0);

-- Starts a new epoch and returns it. An operator calls this after a restore: select start_epoch(). Seconds since 1970, so that an epoch
-- which was itself lost is not used again.
create function start_epoch() returns bigint language sql volatile as $$
  update timeline set epoch = greatest(epoch + 1, extract(epoch from clock_timestamp())::bigint) returning epoch
$$;

-- The nodes that run, with fingerprints of their secrets: each node notices one with other secrets.
create table node_secret (
  node uuid primary key,                            -- one run of a process
  used text not null,                               -- the fingerprint of the secret that creates
  accepted text[] not null,                         -- the fingerprints of all secrets that verify
  serving_since timestamptz,                        -- null: the node is not ready, because an earlier one has other secrets
  expires_at timestamptz not null                   -- the row counts until then; a running node renews it
);

-- The nodes that run, with what the doctor compares.
create table node (
  id uuid primary key,                              -- one run of a process
  facts jsonb not null,                             -- name, version, clock, and keyed fingerprints of settings
  expires_at timestamptz(3) not null                -- the row counts until then; a running node renews it
);

-- The calls to providers of all nodes, in minutes. Kept for an hour.
create table provider_call (
  minute timestamptz(0) not null,
  provider text not null,
  verb text not null,
  took_ms int not null,                             -- the duration, rounded to two digits
  calls int not null,
  failed int not null,
  primary key (minute, provider, verb, took_ms)
);

-- Returns what `snapshot` sees of the transactions before `last`.
create function seen_before(snapshot pg_snapshot, last xid8) returns pg_snapshot
  language sql immutable strict parallel safe as $$
  select (least(pg_snapshot_xmin(snapshot), last) || ':' || last || ':' || coalesce(
    (select string_agg(running::text, ',' order by running) from pg_snapshot_xip(snapshot) running where running < last), ''))::pg_snapshot
$$;

-- Returns a transaction before which no event is as late as `at`: a binary search, because transactions begin almost in the order of
-- the times of their events. Events of 10 s around `at` may be on either side.
create function event_xid_at(at timestamptz) returns xid8 language plpgsql stable strict as $$
declare
  low bigint := 0;
  high bigint := coalesce((select max(xid)::text::bigint from event) + 1, 0);
  middle bigint;
  found timestamptz;
begin
  while low < high loop
    middle := (low + high) / 2;
    select occurred_at into found from event where xid >= middle::text::xid8 order by xid limit 1;
    if found < at then low := middle + 1; else high := middle; end if;
  end loop;
  return low::text::xid8;
end $$;

-- A URL of the merchant's backend that receives events, or a notification.
create table endpoint (
  id uuid primary key,
  notification text,                                -- the notification's name, whose receiver is a function of the process; null: a URL
  url text not null,
  description text,
  events text[],                                    -- the types that it receives; null: all but order.pending and order.processing
  enabled boolean not null default true,
  disabled_because text check (disabled_because in ('merchant', 'gone', 'failing', 'environment')),
  version int not null default 1,
  secret bytea not null,                            -- encrypted with a key derived from TUKIO_SECRET, like `old_secret`
  old_secret bytea,                                 -- signs too, until `old_secret_until`
  old_secret_until timestamptz(3),
  failing_since timestamptz(3),                     -- the first failure after the last success
  recovered_at timestamptz(3),                      -- when a success cleared `failing_since` last
  created_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  changed_at timestamptz(3) not null default clock_timestamp(),
  -- An event is later than the endpoint if this snapshot does not see its transaction, whatever the clocks show. In another epoch, whose
  -- transactions have other numbers, and for an endpoint that is older than these columns, `created_at` decides.
  created_epoch bigint,
  created_snapshot pg_snapshot default pg_current_snapshot(),
  is_joined boolean not null default false,         -- the fan-out has read the events again that it read before it saw the endpoint
  filtered_at timestamptz(3),                       -- when `events` changed last: a sweep sends nothing that was not wanted before
  resumed_to uuid,                                  -- the place up to which its deliveries were resumed since it was enabled; null: all
  is_deleted boolean not null default false,        -- its deliveries are still to be deleted, in batches
  seen_at timestamptz(3)                            -- when a node last had this notification
);
create unique index endpoint_notification on endpoint (notification) where notification is not null and not is_deleted;

-- The newest state of a subject that an endpoint has, and the state that is due. A subject is an order, a payment link, a plan, an endpoint
-- or a kind of alerts.
create table delivery (
  endpoint_id uuid not null references endpoint (id),
  kind text not null check (kind in ('order', 'endpoint', 'payment_link', 'plan', 'alert')),
  subject_id uuid not null,
  acked_epoch bigint,                               -- the newest state that the endpoint has acknowledged; null: none
  acked_version int,
  due_version int,                                  -- a version to send, or a newer one; null: nothing to send
  is_replay boolean not null default false,         -- the merchant has asked for it again
  replays int not null default 0,                   -- names the last request to send it again, and grows with each; 0: none
  attempts int not null default 0,                  -- failed ones since `due_version` became due; -1: a replay was asked for during the attempt in flight
  attempt_at timestamptz(3),                        -- the time of the next attempt; null while nothing is due; infinity after the last attempt
  claim uuid,                                       -- the attempt in flight
  claimed_until timestamptz(3),
  primary key (endpoint_id, subject_id)
);
create index delivery_due on delivery (endpoint_id, attempt_at) where attempt_at is not null;
create index delivery_failed on delivery (endpoint_id, subject_id) where due_version is not null and attempts > 0;

-- The history of deliveries: one row for each attempt, and for each version that a newer one replaced before its delivery.
create table delivery_attempt (
  endpoint_id uuid not null references endpoint (id),
  id bigint generated always as identity,
  subject_id uuid not null,
  epoch bigint not null,
  version int not null,
  type text,                                        -- null: never sent
  result text not null check (result in ('delivered', 'failed', 'superseded')),
  attempt int,
  http_status int,
  duration_ms int,
  answer text,                                      -- the first 1 KiB
  error text,
  sent_id uuid,                                     -- of what was sent, if later reports are about it: of `sms`
  at timestamptz(3) not null default clock_timestamp(),
  primary key (endpoint_id, id)
);
create index delivery_attempt_subject on delivery_attempt (endpoint_id, subject_id, id);
create index delivery_attempt_at on delivery_attempt (at);

-- One row: the events that were fanned out to the endpoints.
create table fan_out (
  is_single boolean primary key default true check (is_single),
  seen pg_snapshot not null,                        -- the snapshot of the last read
  epoch bigint not null,                            -- the epoch of that read; another one starts a sweep
  swept_at timestamptz(3),                          -- the sweep's place in the orders by change; null: no sweep is in progress
  swept_id uuid
);
insert into fan_out (seen, epoch) select pg_current_snapshot(), epoch from timeline;

-- The addresses of receipt pages: one for each mail.
create table receipt_token (
  hash bytea primary key,                           -- SHA-256 of the random token in the page's URL
  order_uuid uuid not null references "order" (id),
  created_at timestamptz(3) not null default clock_timestamp()
);

-- One SMS for each request to send one. The row is inserted before the gateway is asked, so that the gateway is asked at most once.
create table sms (
  id uuid primary key,
  order_uuid uuid not null references "order" (id),
  replays int not null,                             -- as in `delivery`
  provider text not null,
  -- 'sending' for longer than an attempt: it is unknown whether the gateway took the text.
  status text not null default 'sending' check (status in ('sending', 'sent', 'delivered', 'failed', 'unknown')),
  reference text,                                   -- the gateway's id of the message
  parts int,
  at timestamptz(3) not null default clock_timestamp(),
  reported_at timestamptz(3),                       -- when the gateway reported the delivery or the failure
  unique (order_uuid, replays)
);
create index sms_reference on sms (reference, provider) where reference is not null;

-- An event that a mail reports to the merchant.
create table alert (
  kind text not null check (kind in ('review', 'paid_twice', 'endpoint_disabled', 'provider_failing', 'invariant_violated')),
  live boolean not null,                            -- false: its mail stays in the sandbox's inbox
  subject text not null,                            -- the uuid of an order or endpoint, or the name of a provider or invariant
  version int not null,                             -- of the subject: the same alert is stored once
  at timestamptz(3) not null default clock_timestamp(),
  mail int,                                         -- the number of the mail that has it; null: none yet
  primary key (kind, live, subject, version)
);
create index alert_unsent on alert (kind, live) where mail is null;
create index alert_mail_alerts on alert (kind, live, mail, at) where mail is not null;

-- The mails with alerts, numbered for each kind.
create table alert_mail (
  kind text not null,
  live boolean not null,
  n int not null,
  created_at timestamptz(3) not null default clock_timestamp(),
  tried_at timestamptz(3),                          -- the last attempt
  sent_at timestamptz(3),                           -- when the mail server took it, or refused it for good: the next mail has its alerts then
  primary key (kind, live, n)
);

-- API keys of the merchant's, and sessions of the desk, each of which acts with a key.
create table api_key (
  id uuid primary key,
  hash bytea not null unique,                       -- SHA-256 of the random secret
  name text,                                        -- null, as are the scopes: a session, which has those of its key
  scopes text[] check (scopes <@ '{read,pay,manage}'),
  session_of text,                                  -- the start of the hash of the session's key; null: a key
  created_at timestamptz(3) not null default clock_timestamp(),
  expires_at timestamptz(3)                         -- of a session
);
create index api_key_created on api_key (created_at, id) where session_of is null;
create index api_key_session on api_key (session_of, created_at) where session_of is not null;
create index api_key_expiry on api_key (expires_at) where expires_at is not null;

-- One row: a random mark that every change of the keys replaces, so that a node knows by one row whether it must read them again.
create table api_key_mark (
  is_single boolean primary key default true check (is_single),
  mark uuid not null default gen_random_uuid()
);
insert into api_key_mark default values;

-- The changes that were made with API keys. It has ids only.
create table audit (
  at timestamptz(3) not null default clock_timestamp(),
  id bigint generated always as identity,
  operation text not null,                          -- the operation's id in the API docs
  key_id text not null,                             -- a uuid, or TUKIO_API_KEY
  key_name text not null,
  is_desk boolean not null,                         -- by a session of the desk
  subject text,                                     -- the id of what was changed
  is_done boolean not null,                         -- false: the node that began the change has not recorded its end
  primary key (at, id)
);
create index audit_key on audit (key_id, at, id);
create index audit_operation on audit (operation, at, id);
create index audit_subject on audit (subject, at, id) where subject is not null;
