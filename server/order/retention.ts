/**
 * Erases what need not be kept: bytes of accepted webhooks and full phones after 90 days (also in a provider's reference
 * that is made of one, as Daraja's is), refused webhooks after 7, and idempotency keys after 72 hours. In small batches, each a commit of its own, so that nothing waits for it.
 */

import type { Database } from "../database/pool.ts";
import { type Loop, startLoop } from "../loop.ts";

const intervalMs = 600_000;
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

/** Erases everything that is due now. */
export async function erase({ pool }: Database): Promise<void> {
  for (const statement of statements) {
    for (let rows = batch; rows === batch; ) rows = (await pool.query(statement)).rowCount ?? 0;
  }
}

/** Erases now and every ten minutes. Any number of nodes may do so at once. */
export function startRetention({ database, ...heard }: RetentionOptions): Pick<Loop, "close"> {
  const loop = startLoop({ task: () => erase(database), delayMs: () => intervalMs, ...heard });
  loop.runNow();
  return loop;
}
