/** Cancels payment links. A payment that is in progress goes on: if it succeeds, the link becomes paid. */
import type pg from "pg";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { readLink } from "./read.ts";
import type { LinkRow } from "./row.ts";
import { isOver, nextVersion } from "./settle.ts";

const cancelStatement = {
  name: "cancel-payment-link",
  text: `update payment_link l set status = 'cancelled', ${nextVersion} where l.id = $1 and l.status = 'open' and not ${isOver}
    returning l.id`,
} as const;

/**
 * Returns the link after it. A link that was cancelled before stays as it is. Throws `payment_link_unknown`, and `payment_link_closed`
 * for a link that is paid or expired.
 */
export async function cancelLink(pool: pg.Pool, id: string): Promise<LinkRow> {
  // Settled before, so that a link which is paid or over is not cancelled.
  await readLink(pool, id);
  await run(pool, cancelStatement, [id]);
  const row = await readLink(pool, id);
  if (row.status !== "cancelled") throw new HubError("payment_link_closed", `The payment link is ${row.status}`);
  return row;
}
