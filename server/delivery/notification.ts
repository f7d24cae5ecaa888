/**
 * Notifications: messages to people, sent by functions of this process. A notification is a row of `endpoint`, so that fan-out, attempts,
 * schedule, history and replay are those of endpoints. It receives what changes after it was first active, and is never disabled for failing.
 *
 * Nodes may have different ones, as while a new configuration is rolled out: each stores its own, and none removes what another one has.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { run } from "../order/statement.ts";
import type { Receiver } from "./receiver.ts";
import type { EventType } from "./subject.ts";

export interface Notification {
  /** As in its URL of the API. */
  readonly name: string;
  /** The types of messages that it receives. */
  readonly events: readonly EventType[];
  readonly receive: Receiver;
}

/** $1, $2, $3: ids for new rows, the names, and the types as JSON. $4: the node starts, so that its types are those of the newest release. */
const storeStatement = {
  name: "store-notifications",
  text: `with given as (
    select id, name, array(select jsonb_array_elements_text(events)) as events
    from unnest($1::uuid[], $2::text[], $3::jsonb[]) as given (id, name, events)
  )
  insert into endpoint (id, notification, url, events, secret, created_epoch, seen_at)
  select id, name, 'notification:' || name, events, '', epoch, clock_timestamp() from given cross join timeline
  on conflict (notification) where notification is not null and not is_deleted
  do update set seen_at = excluded.seen_at, events = case when $4 then excluded.events else endpoint.events end,
    filtered_at = case when $4 and endpoint.events <> excluded.events then clock_timestamp() else endpoint.filtered_at end`,
} as const;

/** An hour, because a deployment or an outage of a node should not end what another one sends. */
const unseenS = 3_600;

/**
 * Deletes the notifications that no node has, with their history. One that is configured again is a new one, so that it does not receive the
 * orders of the time between.
 */
const removeStatement = {
  name: "remove-notifications",
  text: `update endpoint set is_deleted = true, enabled = false
    where notification is not null and not is_deleted
      and coalesce(seen_at < clock_timestamp() - interval '${unseenS} seconds', true)`,
} as const;

export interface NotificationRow {
  id: string;
  name: string;
  events: string[];
  failingSince: Date | null;
}

const readStatement = {
  name: "read-notifications",
  text: `select id, notification as name, events, failing_since as "failingSince" from endpoint
    where notification is not null and not is_deleted order by notification`,
} as const;

/** The active notifications, by name. Throws `store_unavailable`. */
export const readNotifications = (pool: pg.Pool): Promise<NotificationRow[]> =>
  run<NotificationRow>(pool, readStatement, []);

type OwnNotifications = readonly Pick<Notification, "name" | "events">[];

const store = (pool: pg.Pool, notifications: OwnNotifications, isStart: boolean): Promise<object[]> =>
  run(pool, storeStatement, [
    notifications.map(() => uuidv7()),
    notifications.map(({ name }) => name),
    notifications.map(({ events }) => JSON.stringify(events)),
    isStart,
  ]);

/** Stores the notifications of a node that starts. Any number of nodes may do it at once. Throws `store_unavailable`. */
export async function storeNotifications(pool: pg.Pool, notifications: OwnNotifications): Promise<void> {
  await store(pool, notifications, true);
}

/** Removes what no node has stored for an hour. Throws `store_unavailable`. */
export const removeNotifications = (pool: pg.Pool): Promise<object[]> => run(pool, removeStatement, []);

/**
 * Returns what a running node does once a minute: it keeps its notifications, and removes those of no node. It removes none in its first hour,
 * because after an outage of all nodes the others may start later. `nowMs`: a monotonic clock.
 */
export function createNotificationKeeper(
  pool: pg.Pool,
  notifications: OwnNotifications,
  nowMs = (): number => performance.now(),
): () => Promise<void> {
  const removesFromMs = nowMs() + unseenS * 1_000;
  return async () => {
    await store(pool, notifications, false);
    if (nowMs() >= removesFromMs) await removeNotifications(pool);
  };
}
