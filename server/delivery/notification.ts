/**
 * Notifications: messages to people, sent by functions of this process. A notification is a row of `endpoint`, so that fan-out, attempts,
 * schedule, history and replay are those of endpoints. It receives what changes after it was first active, and is never disabled for failing.
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

/**
 * $1, $2, $3: ids for new rows, the names, and the types as JSON. A notification that is missing is deleted with its history. If it is
 * configured again it is a new one, so that it does not receive the orders of the time between.
 */
const storeStatement = {
  name: "store-notifications",
  text: `with given as (
    select id, name, array(select jsonb_array_elements_text(events)) as events
    from unnest($1::uuid[], $2::text[], $3::jsonb[]) as given (id, name, events)
  ),
  removed as (
    update endpoint set is_deleted = true, enabled = false
    where notification is not null and not is_deleted and not exists (select from given where name = notification)
  )
  insert into endpoint (id, notification, url, events, secret, created_epoch)
  select id, name, 'notification:' || name, events, '', epoch from given cross join timeline
  on conflict (notification) where notification is not null and not is_deleted
  do update set events = excluded.events, filtered_at = clock_timestamp() where endpoint.events <> excluded.events`,
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

/** Makes these notifications the active ones. Any number of nodes may do it at once. Throws `store_unavailable`. */
export async function storeNotifications(
  pool: pg.Pool,
  notifications: readonly Pick<Notification, "name" | "events">[],
): Promise<void> {
  await run(pool, storeStatement, [
    notifications.map(() => uuidv7()),
    notifications.map(({ name }) => name),
    notifications.map(({ events }) => JSON.stringify(events)),
  ]);
}
