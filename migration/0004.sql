-- Migration 0004: an index for each table that holds personal data, so that its erasure reads nothing else. Nodes of the previous
-- version erase by narrower conditions, for which PostgreSQL uses the same indexes.

create index if not exists order_personal on "order" (changed_at)
  where description is not null or customer is not null or metadata is not null;

create index if not exists payment_personal on payment (started_at)
  where phone ~ '^[+][0-9]+$' or return_url is not null or action is not null;
drop index if exists payment_phone;

create index if not exists event_personal on event (occurred_at) where note is not null or payment ? 'action';

create index if not exists webhook_personal on webhook (received_at)
  where body <> '' or headers <> '{}' or reference is not null or error is not null;
drop index if exists webhook_bytes;

-- The same for the end of redelivery.
create index if not exists webhook_unapplied on webhook (received_at) where offer_at is not null;
