-- The portal's own tables. FreeRADIUS has its tables in the same database, so that one transaction writes both.
create table if not exists plan (
  name text primary key,
  price_minor integer not null,
  -- The time online that it buys, and how long the voucher is valid after the payment.
  online_s integer not null,
  valid_for interval not null
);

create table if not exists customer (phone text primary key, since timestamptz not null default now());

create table if not exists portal_order (
  id text primary key,
  plan text not null references plan,
  phone text not null
);

create table if not exists voucher (
  order_id text primary key references portal_order,
  code text not null unique,
  expires_at timestamptz not null
);

-- A row that each invoice locks, because a sequence would leave gaps where a transaction fails.
create table if not exists invoice_counter (is_only boolean primary key default true check (is_only), last integer not null);

create table if not exists invoice (
  order_id text primary key references portal_order,
  number integer not null unique,
  customer text not null references customer,
  amount_minor integer not null,
  receipt text,
  issued_at timestamptz not null default now()
);

-- What must happen outside this database, once for each order.
create table if not exists effect (
  order_id text not null references portal_order,
  name text not null,
  due_at timestamptz not null default now(),
  attempts integer not null default 0,
  done_at timestamptz,
  primary key (order_id, name)
);
create index if not exists effect_due on effect (name, due_at) where done_at is null;

insert into invoice_counter (last) values (0) on conflict do nothing;
insert into plan values ('hour', 2000, 3600, '1 day'), ('week', 25000, 604800, '30 days') on conflict do nothing;

-- The speed of a plan, up and down, for MikroTik routers. A voucher is a user in the group of its plan.
insert into radgroupreply (groupname, attribute, op, value)
  select name, 'Mikrotik-Rate-Limit', ':=', '2M/5M' from plan
  where not exists (select from radgroupreply where groupname = plan.name);
