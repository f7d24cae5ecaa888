-- Migration 0003: predicates over a status, so that no statement repeats a list of statuses.

-- The payment may still be paid: the provider was asked for the money, or is about to be.
create or replace function is_open(status text) returns boolean language sql immutable parallel safe
  return status in ('pending', 'processing');

-- Money has moved or may have moved: no failure, deadline or further attempt changes the status.
create or replace function is_final(status text) returns boolean language sql immutable parallel safe
  return status in ('review', 'succeeded');
