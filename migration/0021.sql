-- Migration 0021: when the money of a payment moved, and indexes for the lists and the report of the merchant. Nodes of the previous version
-- leave `paid_at` null, and a node of this version adds it later; their `GET /v1/providers` reads every payment meanwhile.

-- Adding a column without a default changes no row. Null also in successes that are older than this column, until a node has added it.
alter table payment add column if not exists paid_at timestamptz(3);
create index if not exists payment_paid on payment (paid_at) where paid_at is not null;
create index if not exists payment_undated on payment (id) where status = 'succeeded' and paid_at is null;

-- Most payments succeed, so the other statuses and the reasons cost most payments little.
create index if not exists payment_status on payment (status, started_at) where status <> 'succeeded';
create index if not exists payment_reason on payment (reason, started_at) where reason is not null;
create index if not exists payment_receipt on payment (receipt) where receipt is not null;
-- In place of the index by time alone, so that a payment has no more entries than before.
create index if not exists payment_provider on payment (provider, started_at);
drop index if exists payment_started;

create index if not exists order_reason on "order" (reason, opened_at, id) where reason is not null;
create index if not exists order_attention on "order" (opened_at, id)
  where status = 'review' or also_paid <> '{}'
    or status = 'succeeded' and reason in ('amount_mismatch', 'currency_mismatch', 'receipt_reused');
create index if not exists order_customer_id on "order" ((customer ->> 'id'), opened_at, id) where customer ->> 'id' is not null;
create index if not exists order_customer_email on "order" (lower(customer ->> 'email'), opened_at, id)
  where customer ->> 'email' is not null;

create index if not exists webhook_result on webhook (result, id) where result <> 'applied';
