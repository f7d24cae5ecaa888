-- Migration 0019: the running nodes, and the calls to providers of all nodes. A node of the previous version writes neither.

-- One row per running node, with what the doctor compares. It counts until it expires.
create table if not exists node (
  id uuid primary key,
  facts jsonb not null,                             -- name, version, clock, and keyed fingerprints of settings
  expires_at timestamptz(3) not null
);

-- The calls to providers of all nodes, in minutes. Kept for an hour.
create table if not exists provider_call (
  minute timestamptz(0) not null,
  provider text not null,
  verb text not null,
  took_ms int not null,                             -- the duration, rounded to two digits
  calls int not null,
  failed int not null,
  primary key (minute, provider, verb, took_ms)
);
