-- Migration 0022: prompts of plans. Adding columns without a default changes no row.

-- When a node looks at the plan next, to ask for money. Null: never, as things are.
alter table plan add column if not exists collects_at timestamptz(3);
-- The day of the last prompt, in the plan's time zone.
alter table plan add column if not exists prompted_on date;
create index if not exists plan_collection on plan (collects_at) where collects_at is not null and status in ('active', 'past_due');

-- Plans are few and new.
update plan set collects_at = plan_now() where collects_at is null and status in ('active', 'past_due');
