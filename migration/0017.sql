-- Migration 0017: how notifications fare. Adding columns without a default changes no row.

-- When a node last had this notification.
alter table endpoint add column if not exists seen_at timestamptz(3);
-- The id of what the attempt sent, by which later reports about it are found: an SMS.
alter table delivery_attempt add column if not exists sent_id uuid;
-- When the mail was attempted last. A node of the previous version leaves it empty.
alter table alert_mail add column if not exists tried_at timestamptz(3);
