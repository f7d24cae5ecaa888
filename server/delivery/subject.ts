/**
 * A subject is what a message is about: an order, a payment link, a plan, an endpoint, or a kind of alerts. The SQL here decides which
 * message about an order an endpoint receives. The fan-out, the sweep, a replay and the attempt itself share it, so that they decide alike.
 */
import { dueNow } from "../order/schedule.ts";

export type SubjectKind = "order" | "endpoint" | "payment_link" | "plan" | "alert";

/** The types of messages that an endpoint may ask for. */
export const eventTypes = [
  "order.pending",
  "order.processing",
  "order.succeeded",
  "order.failed",
  "order.expired",
  "order.review",
  "order.updated",
  "endpoint.disabled",
  "paymentLink.open",
  "paymentLink.paid",
  "paymentLink.cancelled",
  "paymentLink.expired",
  "plan.active",
  "plan.started",
  "plan.past_due",
  "plan.paused",
  "plan.completed",
  "plan.cancelled",
  "plan.updated",
] as const;

export type EventType = (typeof eventTypes)[number];

/**
 * Selects the orders of `ids`, a select of one column, with the transaction of their last event, and the version, time and transaction
 * at which each entered its current status. Two index probes for each order, and one for each of its latest events with that status.
 */
export const orderSubjects = (ids: string): string => `
    select o.id, o.version, o.status, o.reason, o.changed_at, latest.xid as changed_xid, entered.version as status_version,
      entered.occurred_at as status_at, entered.xid as status_xid
    from (${ids}) as chosen (id)
      join lateral (select id, version, status, reason, changed_at from "order" where id = chosen.id offset 0) o on true
      join lateral (select xid from event where order_uuid = o.id and version = o.version offset 0) latest on true
      join lateral (
        select version, occurred_at, xid from event where order_uuid = o.id and version = 1 + coalesce((
          select other.version from event other where other.order_uuid = o.id and other.status <> o.status
          order by other.version desc limit 1), 0)
      ) entered on true`;

/**
 * Whether an event with this transaction and time is later than the creation of the endpoint `e`. The snapshot of the creation decides,
 * because clocks step back and transactions overlap. It says nothing about the transactions of another epoch than that of `timeline t`.
 */
export const isSinceCreation = (xid: string, at: string): string =>
  `(case when e.created_epoch = t.epoch then not pg_visible_in_snapshot(${xid}, e.created_snapshot) else ${at} >= e.created_at end)`;

/**
 * The joins that add to a subject `s` and an endpoint `e` the delivery `d` between them, and `m`: the message that the endpoint
 * would receive now. `m.acked` is the version that it has acknowledged. After a new epoch, what it acknowledged in another one does
 * not count for orders that changed in the day before: the database may have lost what the endpoint saw.
 */
export const messageJoins = `
      cross join timeline t
      -- One index probe for each pair: PostgreSQL would read the whole table for many.
      left join lateral (
        select acked_epoch, acked_version, due_version, is_replay from delivery
        where endpoint_id = e.id and subject_id = s.id offset 0
      ) d on true
      cross join lateral (select case
        when d.acked_epoch = t.epoch or s.changed_at < to_timestamp(t.epoch) - interval '1 day' then d.acked_version
        end as acked) acknowledged
      cross join lateral (select acked, case
        when coalesce(d.is_replay, false)
          or (s.status_version > coalesce(acked, 0) and ${isSinceCreation("s.status_xid", "s.status_at")})
        then 'order.' || s.status else 'order.updated' end as type) m`;

/** Whether the endpoint `e` receives messages of this type. */
export const accepts = (type: string): string =>
  `(case when e.events is null then ${type} not in ('order.pending', 'order.processing') else ${type} = any (e.events) end)`;

/** Whether the order `s` concerns the endpoint `e`: alerts are about few orders, and must not be one more delivery of each. */
export const concerns =
  "(e.notification is distinct from 'alert' or s.status = 'review' or s.reason is not distinct from 'paid_twice')";

/**
 * The number of a request to send again, in seconds since the beginning of 2026: a notification that is configured anew has new deliveries,
 * whose numbers must not repeat those of the old ones. Requests in one second differ by one.
 */
const replayNumber =
  "is_replay::int * floor(extract(epoch from clock_timestamp() - timestamptz '2026-01-01 00:00+00'))::int";

/**
 * Makes `version` of the subjects of `due` (endpoint_id, subject_id, kind, version, is_replay, replaced) due at once. A replay during an
 * attempt leaves -1 in `attempts`, so that the record of that attempt, also of another replay, makes it due again.
 */
export const makeDue = `queued as (
    insert into delivery as d (endpoint_id, kind, subject_id, due_version, is_replay, replays, attempt_at)
    select endpoint_id, kind, subject_id, version, is_replay, ${replayNumber}, ${dueNow} from due order by endpoint_id, subject_id
    on conflict (endpoint_id, subject_id) do update set
      -- The snapshot of a replay may be older than a version that the fan-out has made due.
      due_version = greatest(d.due_version, excluded.due_version), is_replay = d.is_replay or excluded.is_replay,
      replays = case when excluded.is_replay then greatest(d.replays + 1, excluded.replays) else d.replays end,
      attempts = case when d.claim is null then 0 else least(d.attempts, -excluded.is_replay::int) end,
      -- The attempt in flight ends first, so that no older version is sent after a newer one.
      attempt_at = case when d.claimed_until > clock_timestamp() then d.attempt_at else excluded.attempt_at end
    where excluded.is_replay or excluded.due_version > coalesce(d.due_version, 0)
    returning endpoint_id, subject_id, due_version
  ),
  superseded as (
    insert into delivery_attempt (endpoint_id, subject_id, epoch, version, result)
    select endpoint_id, subject_id, (select epoch from timeline), replaced, 'superseded'
    from due join queued using (endpoint_id, subject_id) where replaced < version and due_version = version
  )`;
