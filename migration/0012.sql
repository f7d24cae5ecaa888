-- Migration 0012: notifications. A node of the previous version fails the attempts of a notification's deliveries; they are repeated.

-- Null: a URL of the merchant's backend. Else the name of a notification, whose receiver is a function of the process.
alter table endpoint add column if not exists notification text;
create unique index if not exists endpoint_notification on endpoint (notification) where notification is not null and not is_deleted;

-- Names the last request to send the subject again, and grows with each; 0: there was none.
alter table delivery add column if not exists replays int not null default 0;

-- Not validated, because that reads every delivery under this lock, and the old check already holds for them.
alter table delivery drop constraint if exists delivery_kind_check;
alter table delivery add constraint delivery_kind_check check (kind in ('order', 'endpoint', 'payment_link', 'alert')) not valid;

-- The addresses of receipt pages: one for each mail.
create table if not exists receipt_token (
  hash bytea primary key,                           -- SHA-256 of the random token in the page's URL
  order_uuid uuid not null references "order" (id),
  created_at timestamptz(3) not null default clock_timestamp()
);

-- One SMS for each request to send one. The row is inserted before the gateway is asked, so that the gateway is asked at most once.
create table if not exists sms (
  id uuid primary key,
  order_uuid uuid not null references "order" (id),
  replays int not null,                             -- as in `delivery`
  provider text not null,
  status text not null default 'sending' check (status in ('sending', 'sent', 'delivered', 'failed', 'unknown')),
  reference text,                                   -- the gateway's id of the message
  parts int,
  at timestamptz(3) not null default clock_timestamp(),
  reported_at timestamptz(3),                       -- when the gateway reported the delivery or the failure
  unique (order_uuid, replays)
);
create index if not exists sms_reference on sms (reference, provider) where reference is not null;

-- An event that a mail reports to the merchant.
create table if not exists alert (
  kind text not null check (kind in ('review', 'paid_twice', 'endpoint_disabled', 'provider_failing', 'invariant_violated')),
  live boolean not null,                            -- false: its mail stays in the sandbox's inbox
  subject text not null,                            -- the uuid of an order or endpoint, or the name of a provider or invariant
  version int not null,                             -- of the subject: the same alert is stored once
  at timestamptz(3) not null default clock_timestamp(),
  mail int,                                         -- the number of the mail that has it; null: none yet
  primary key (kind, live, subject, version)
);
create index if not exists alert_unsent on alert (kind, live) where mail is null;
create index if not exists alert_mail_alerts on alert (kind, live, mail, at) where mail is not null;

-- The mails with alerts, numbered for each kind.
create table if not exists alert_mail (
  kind text not null,
  live boolean not null,
  n int not null,
  created_at timestamptz(3) not null default clock_timestamp(),
  sent_at timestamptz(3),
  primary key (kind, live, n)
);
