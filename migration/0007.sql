-- Migration 0007: indexes for databases with millions of rows. Nodes of the previous version read by other indexes meanwhile; only their
-- list of all orders scans the table.

-- Unproven webhooks are never claimed. Anybody can store many with one reference, so a claim must not read them.
create index if not exists webhook_waiting on webhook (provider, reference) where result = 'unmatched' and offer_at is not null;
drop index if exists webhook_parked;

-- PostgreSQL used this index to look for the orders of a provider, and read all orders when that provider had no recent ones.
drop index if exists order_opened;
