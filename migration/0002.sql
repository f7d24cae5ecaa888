-- Migration 0002: the limit of payments for a phone counts live and sandbox payments apart. The functions of the same
-- names in 0001 stay, because nodes of schema version 6 call them while they are replaced one after another.

-- Whether a phone was prompted so many times within 10 minutes, as far as is committed. Live and sandbox payments are
-- counted apart, because whoever can reach the sandbox would otherwise use up a payer's live payments.
create or replace function prompted(msisdn text, is_live boolean, times int) returns boolean language sql volatile strict as $$
  select exists (
    select from payment
    where phone = msisdn and live = is_live and phone ~ '^[+][0-9]+$'
      and started_at > statement_timestamp() - interval '10 minutes'
    offset times - 1
  )
$$;

-- Checks the same before a prompt, one transaction at a time for each phone. Raises TK429 if the limit is reached. Called
-- after nearly all other locks are held, because a transaction that waits here holds a connection.
create or replace function prompt(msisdn text, is_live boolean, times int) returns boolean language plpgsql volatile strict as $$
begin
  perform pg_advisory_xact_lock(hashtextextended(msisdn, 0));
  if prompted(msisdn, is_live, times) then
    raise exception 'prompted too often' using errcode = 'TK429';
  end if;
  return true;
end $$;
