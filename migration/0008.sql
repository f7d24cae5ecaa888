-- Migration 0008: what the payer receives for the money, what the order is for, and the payer's language. Nodes of the previous version
-- leave the new columns alone: an order keeps its results, and an event that such a node writes has none.

-- Adding a column without a default changes no row.
alter table "order" add column if not exists items jsonb;
alter table "order" add column if not exists lang text;
alter table "order" add column if not exists results jsonb;
alter table event add column if not exists results jsonb;

-- Not validated, because that reads every event under this lock, and the old check already holds for them.
alter table event drop constraint if exists event_source_check;
alter table event add constraint event_source_check
  check (source in ('webhook', 'query', 'clock', 'person', 'reply', 'payer', 'merchant')) not valid;
alter table "order" drop constraint if exists order_lang_check;
alter table "order" add constraint order_lang_check check (lang in ('en', 'sw', 'bn')) not valid;

-- The rows that still hold what was bought, by age. Beside the indexes named ..._personal, because these are empty now: PostgreSQL only
-- reads each table once for them.
create index if not exists order_personal_goods on "order" (changed_at) where results is not null or items <> '[]';
create index if not exists event_personal_goods on event (occurred_at) where results is not null;
