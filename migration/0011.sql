-- Migration 0011: payment links. Nodes of the previous version do not know which order ids belong to links.

-- A link by which a payer starts payments. Its orders carry its id.
create table if not exists payment_link (
  id uuid primary key,
  order_id text not null unique check (order_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,47}$'),
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
  xid xid8 not null default pg_current_xact_id()
);
create index if not exists payment_link_created on payment_link (created_at, id);
create index if not exists payment_link_status on payment_link (status, created_at, id);
create index if not exists payment_link_expiry on payment_link (expires_at) where status = 'open';
create index if not exists payment_link_changed on payment_link (changed_at, id);
create index if not exists payment_link_xid on payment_link (xid, id);
create index if not exists payment_link_personal on payment_link (changed_at)
  where status <> 'open' and (description is not null or customer is not null or metadata is not null or items is not null or return_url is not null);

-- Idempotency keys of POST /v1/payment-links, kept 72 hours.
create table if not exists payment_link_key (
  key text primary key,
  request bytea not null,                           -- SHA-256 of the request's canonical JSON
  payment_link_id uuid not null references payment_link (id),
  created_at timestamptz(3) not null
);
create index if not exists payment_link_key_created on payment_link_key (created_at);

-- Adding a column without a default changes no row.
alter table "order" add column if not exists payment_link_id uuid references payment_link (id);
-- True: when this order is paid, its link becomes paid too. Null: it has, or the link is reusable, or there is none.
alter table "order" add column if not exists pays_link boolean;
create index if not exists order_pays_link on "order" (payment_link_id) where pays_link and status = 'succeeded';
-- SHA-256 of the key of the browser that started the payment on a link's page.
alter table payment add column if not exists payer bytea;
create index if not exists payment_payer on payment (payer, started_at) where payer is not null;
create index if not exists payment_payer_personal on payment (started_at) where payer is not null;

-- Returns whether an order with this id may be opened by the link, or without a link if that is null. Locks the id against links that are
-- created meanwhile, and the link against its cancellation, which locks it for update, until the commit. Other payers do not wait.
create or replace function may_open_order(name text, link uuid) returns boolean language plpgsql volatile as $$
begin
  perform pg_advisory_xact_lock_shared(hashtextextended(name, 1));
  if link is not null then
    perform from payment_link where id = link and status = 'open' and (expires_at is null or expires_at > clock_timestamp()) for key share;
    if not found then return false; end if;
  end if;
  return not exists (select from payment_link where order_id = name and id is distinct from link);
end $$;

-- Returns whether no order has this id. Locks the id against orders that are opened meanwhile.
create or replace function may_create_link(name text) returns boolean language plpgsql volatile as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(name, 1));
  return not exists (select from "order" where order_id = name);
end $$;

-- Returns whether at least `times` payments of the phone were started on the pages of links within an hour. Counts as `prompted` does.
create or replace function prompted_by_link(msisdn text, is_live boolean, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and live = is_live and payer is not null and phone ~ '^[+][0-9]+$'
      and started_at > statement_timestamp() - interval '1 hour'
    offset times - 1
  )
$$;

-- Checks the same limit before a prompt, and locks the phone as `prompt` does. Raises TK429 if the limit is reached.
create or replace function prompt_by_link(msisdn text, is_live boolean, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted_by_link(msisdn, is_live, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;

-- Not validated, because that reads every delivery under this lock, and the old check already holds for them.
alter table delivery drop constraint if exists delivery_kind_check;
alter table delivery add constraint delivery_kind_check check (kind in ('order', 'endpoint', 'payment_link')) not valid;
