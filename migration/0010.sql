-- Migration 0010: what endpoints need so that none of their events is lost, and their large work is done in batches.

-- An event is later than the endpoint if this snapshot does not see its transaction, whatever the clocks show. In another epoch, whose
-- transactions have other numbers, and for an endpoint that is older than these columns, `created_at` decides.
alter table endpoint add column if not exists created_epoch bigint;
alter table endpoint add column if not exists created_snapshot pg_snapshot;
alter table endpoint alter column created_snapshot set default pg_current_snapshot();

-- The fan-out has read the events again that it read before it saw the endpoint.
alter table endpoint add column if not exists is_joined boolean not null default false;

-- When `events` changed last. A sweep sends nothing that was not wanted before.
alter table endpoint add column if not exists filtered_at timestamptz(3);

-- The last time when `failing_since` was cleared by a success.
alter table endpoint add column if not exists recovered_at timestamptz(3);

-- The place in the deliveries up to which they were resumed since the endpoint was enabled; null: all of them.
alter table endpoint add column if not exists resumed_to uuid;
