-- Migration 0018: payment links that pay several instalments of a plan.

-- The numbers of the instalments that the link pays together. Adding columns without a default changes no row.
alter table payment_link add column if not exists covers int[];
-- The link that covered an instalment and has paid it.
alter table payment_link add column if not exists covered_by uuid references payment_link (id);

-- Longer, because such a link has the order id `<planId>-<first>:<last>`. Not validated, because that reads every link under this lock, and
-- the old check already holds for them.
alter table payment_link drop constraint if exists payment_link_order_id_check;
alter table payment_link add constraint payment_link_order_id_check check (order_id ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$') not valid;

-- Returns why the link of an instalment, or one that covers several, must start no payment although it is open: 'busy' if another link
-- has a payment in progress or in review for one of the same instalments, 'paid' if one is paid or cancelled. Null: it may.
create or replace function rival_state(link uuid) returns text language sql volatile as $$
  select case
    when bool_or(o.status = 'succeeded' or (own.covers is not null and other.plan_n is not null and other.status <> 'open')) then 'paid'
    when bool_or(is_open(o.status) or is_final(o.status)) then 'busy'
    end
  from payment_link own
    join payment_link other on other.plan_uuid = own.plan_uuid and other.id <> own.id
      and (other.plan_n = any (coalesce(own.covers, array[own.plan_n])) or other.covers && coalesce(own.covers, array[own.plan_n]))
    left join "order" o on o.order_id = other.order_id and o.payment_link_id = other.id
  where own.id = link
$$;

-- Returns whether an order with this id may be opened by the link, or without a link if that is null. Locks the id against links that are
-- created meanwhile, and the link against its cancellation, which locks it for update, until the commit. Other payers do not wait, except
-- those of the same plan: of two links that pay the same instalment one starts a payment.
create or replace function may_open_order(name text, link uuid) returns boolean language plpgsql volatile as $$
declare
  plan uuid;
begin
  perform pg_advisory_xact_lock_shared(hashtextextended(name, 1));
  if link is not null then
    select plan_uuid into plan from payment_link
    where id = link and status = 'open' and (expires_at is null or expires_at > clock_timestamp()) for key share;
    if not found then return false; end if;
    if plan is not null then
      perform pg_advisory_xact_lock(hashtextextended(plan::text, 3));
      if rival_state(link) is not null then return false; end if;
    end if;
  end if;
  return not exists (select from payment_link where order_id = name and id is distinct from link);
end $$;

-- As before, without the links that cover instalments.
create or replace function unpaid_instalments(customer jsonb, money text) returns bigint language plpgsql volatile as $$
declare
  lock_key bigint;
begin
  for lock_key in
    select distinct hashtextextended(name || ':' || value, 2) as locked from jsonb_each_text(customer) as field (name, value)
    where name in ('id', 'phone') order by locked
  loop
    perform pg_advisory_xact_lock(lock_key);
  end loop;
  return coalesce((
    select sum(l.amount_minor) from (
      select p.id from plan p where p.customer ->> 'id' = unpaid_instalments.customer ->> 'id' and p.currency = money
        and p.kind = 'instalments' and p.status in ('active', 'past_due', 'paused')
      union
      select p.id from plan p where p.customer ->> 'phone' = unpaid_instalments.customer ->> 'phone' and p.currency = money
        and p.kind = 'instalments' and p.status in ('active', 'past_due', 'paused')
    ) owed join payment_link l on l.plan_uuid = owed.id and l.plan_n is not null and l.status = 'open'), 0);
end $$;
