-- Migration 0014: the pages of plans. Adding columns without a default changes no row. A node gives a token to each plan that has none, such as
-- one that a node of the previous version creates.
alter table plan add column if not exists token_hash bytea;
alter table plan add column if not exists token bytea;
create unique index if not exists plan_token on plan (token_hash) where token_hash is not null;
create index if not exists plan_tokenless on plan (id) where token is null;
