-- Migration 0005: the epoch of the database's timeline.

-- One row: the epoch, and the server and timeline that it belongs to. Versions of orders compare within one epoch. The epoch changes
-- when commits that watchers have seen may be lost: after a failover to a replica that lagged, or after a restore.
create table if not exists timeline (
  is_single boolean primary key default true check (is_single),
  epoch bigint not null,
  server text                                       -- null: not read yet, or the role may not read it
);
insert into timeline (epoch) values (0) on conflict do nothing;

-- Starts a new epoch and returns it. An operator calls this after a restore: select start_epoch(). Seconds since 1970, so that an epoch
-- which was itself lost is not used again.
create or replace function start_epoch() returns bigint language sql volatile as $$
  update timeline set epoch = greatest(epoch + 1, extract(epoch from clock_timestamp())::bigint) returning epoch
$$;
