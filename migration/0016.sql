-- Migration 0016: API keys, the desk's sessions, and the record of changes. A node of the previous version accepts only TUKIO_API_KEY, and
-- records nothing.

-- API keys of the merchant's, and sessions of the desk, each of which acts with a key.
create table if not exists api_key (
  id uuid primary key,
  hash bytea not null unique,                       -- SHA-256 of the random secret
  name text,                                        -- null, as are the scopes: a session, which has those of its key
  scopes text[] check (scopes <@ '{read,pay,manage}'),
  session_of text,                                  -- the start of the hash of the session's key; null: a key
  created_at timestamptz(3) not null default clock_timestamp(),
  expires_at timestamptz(3)                         -- of a session
);
create index if not exists api_key_session on api_key (session_of, created_at) where session_of is not null;
create index if not exists api_key_expiry on api_key (expires_at) where expires_at is not null;

-- One row: a random mark that every change of the keys replaces, so that a node knows by one row whether it must read them again.
create table if not exists api_key_mark (
  is_single boolean primary key default true check (is_single),
  mark uuid not null default gen_random_uuid()
);
insert into api_key_mark default values on conflict do nothing;

-- The changes that were made with API keys. It has ids only.
create table if not exists audit (
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
create index if not exists audit_key on audit (key_id, at, id);
create index if not exists audit_operation on audit (operation, at, id);
create index if not exists audit_subject on audit (subject, at, id) where subject is not null;
