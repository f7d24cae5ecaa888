/**
 * Erases personal data and data that is needed only for a limited time: the bytes of webhooks and full phone numbers after 90 days
 * (also a number within a provider's reference, as in Daraja's), refused webhooks after 7 days, and idempotency keys after 72 hours.
 * Erasure runs in small batches with a commit each, so that no payment waits for it. Any number of nodes may run it at once.
 */

import type { Database } from "../database/pool.ts";
import { type Loop, startLoop } from "../loop.ts";

const intervalMs = 600_000;

/** Rows of one commit. 500, because the statement locks them until its commit. */
const batch = 500;

const statements = [
  `delete from idempotency where key in (
     select key from idempotency where created_at < statement_timestamp() - interval '72 hours' limit ${batch})`,
  `delete from webhook where id in (
     select id from webhook where result = 'refused' and received_at < statement_timestamp() - interval '7 days' limit ${batch})`,
  `update webhook set offer_at = null where id in (
     select id from webhook where offer_at is not null and received_at < statement_timestamp() - interval '7 days' limit ${batch})`,
  `update webhook set body = '', headers = '{}', reference = null, error = null where id in (
     select id from webhook where body <> '' and received_at < statement_timestamp() - interval '90 days' limit ${batch})`,
  `update payment set phone = left(phone, 5) || repeat('*', greatest(1, length(phone) - 8)) || right(phone, 3),
     reference = replace(reference, right(phone, 9), '******' || right(phone, 3)) where id in (
     select id from payment where phone ~ '^[+][0-9]+$' and started_at < statement_timestamp() - interval '90 days' limit ${batch})`,
];

export interface RetentionOptions {
  database: Database;
  onError: (error: unknown) => void;
  onRecovered?: () => void;
}

/** Erases all data whose time is over, in batches. */
export async function erase({ pool }: Database): Promise<void> {
  for (const statement of statements) {
    for (let rows = batch; rows === batch; ) rows = (await pool.query(statement)).rowCount ?? 0;
  }
}

/** Erases now and every ten minutes. */
export function startRetention({ database, ...callbacks }: RetentionOptions): Pick<Loop, "close"> {
  const loop = startLoop({ task: () => erase(database), delayMs: () => intervalMs, ...callbacks });
  loop.runNow();
  return loop;
}
