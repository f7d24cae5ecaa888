-- Migration 0009: endpoints of the merchant's backend, and the deliveries to them.

-- The transaction that wrote the event, so that a reader finds the events that its last snapshot did not see. Null: older than this column.
alter table event add column if not exists xid xid8;
alter table event alter column xid set default pg_current_xact_id();
create index if not exists event_xid on event (xid, order_uuid, version) where xid is not null;

-- Returns what `snapshot` sees of the transactions before `last`.
create or replace function seen_before(snapshot pg_snapshot, last xid8) returns pg_snapshot
  language sql immutable strict parallel safe as $$
  select (least(pg_snapshot_xmin(snapshot), last) || ':' || last || ':' || coalesce(
    (select string_agg(running::text, ',' order by running) from pg_snapshot_xip(snapshot) running where running < last), ''))::pg_snapshot
$$;

-- Returns a transaction before which no event is as late as `at`: a binary search, because transactions begin almost in the order of
-- the times of their events. Events of 10 s around `at` may be on either side.
create or replace function event_xid_at(at timestamptz) returns xid8 language plpgsql stable strict as $$
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

-- A URL of the merchant's backend that receives events.
create table if not exists endpoint (
  id uuid primary key,
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
  created_at timestamptz(3) not null default date_trunc('milliseconds', clock_timestamp()),
  changed_at timestamptz(3) not null default clock_timestamp(),
  is_deleted boolean not null default false         -- its deliveries are still to be deleted, in batches
);

-- The newest state of a subject that an endpoint has, and the state that is due. A subject is an order or an endpoint.
create table if not exists delivery (
  endpoint_id uuid not null references endpoint (id),
  kind text not null check (kind in ('order', 'endpoint')),
  subject_id uuid not null,
  acked_epoch bigint,                               -- the newest state that the endpoint has acknowledged; null: none
  acked_version int,
  due_version int,                                  -- a version to send, or a newer one; null: nothing to send
  is_replay boolean not null default false,         -- the merchant has asked for it again
  attempts int not null default 0,                  -- failed ones since `due_version` became due
  attempt_at timestamptz(3),                        -- the time of the next attempt; null while nothing is due; infinity after the last attempt
  claim uuid,                                       -- the attempt in flight
  claimed_until timestamptz(3),
  primary key (endpoint_id, subject_id)
);
create index if not exists delivery_due on delivery (endpoint_id, attempt_at) where attempt_at is not null;
create index if not exists delivery_failed on delivery (endpoint_id, subject_id) where due_version is not null and attempts > 0;

-- The history of deliveries: one row for each attempt, and for each version that a newer one replaced before its delivery.
create table if not exists delivery_attempt (
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
  at timestamptz(3) not null default clock_timestamp(),
  primary key (endpoint_id, id)
);
create index if not exists delivery_attempt_subject on delivery_attempt (endpoint_id, subject_id, id);
create index if not exists delivery_attempt_at on delivery_attempt (at);

-- One row: the events that were fanned out to the endpoints.
create table if not exists fan_out (
  is_single boolean primary key default true check (is_single),
  seen pg_snapshot not null,                        -- the snapshot of the last read
  epoch bigint not null,                            -- the epoch of that read; another one starts a sweep
  swept_at timestamptz(3),                          -- the sweep's place in the orders by change; null: no sweep is in progress
  swept_id uuid
);
insert into fan_out (seen, epoch) select pg_current_snapshot(), epoch from timeline on conflict do nothing;
