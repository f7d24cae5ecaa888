-- Migration 0015: the clock of plans.

-- One row: by how many milliseconds the sandbox has moved the time of plans ahead of PostgreSQL's clock.
create table if not exists plan_clock (
  is_single boolean primary key default true check (is_single),
  ahead_ms bigint not null default 0
);
insert into plan_clock default values on conflict do nothing;

-- The time by which instalments are due and overdue: that of the statement, moved by the sandbox.
create or replace function plan_now() returns timestamptz language sql stable as
  $$ select statement_timestamp() + ahead_ms * interval '1 millisecond' from plan_clock $$;
