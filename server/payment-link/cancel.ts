/** Cancels payment links. A payment that is in progress goes on: if it succeeds, the link becomes paid. */
import type pg from "pg";
import { makeLinksDue } from "../delivery/link-message.ts";
import { HubError } from "../errors.ts";
import { run } from "../order/statement.ts";
import { readLink } from "./read.ts";
import type { LinkRow } from "./row.ts";
import { isOver, nextVersion } from "./settle.ts";

/** Waits for the statements that open orders by the link, because a cancelled link must start no payment. */
const cancelStatement = {
  name: "cancel-payment-link",
  text: `with locked_link as materialized (select id from payment_link where id = $1 for update),
  changed_link as (
    update payment_link l set status = 'cancelled', ${nextVersion}
    from locked_link where l.id = locked_link.id and l.status = 'open' and not ${isOver} returning l.id, l.version, l.status, l.plan_uuid
  ),
  ${makeLinksDue}
  select id from changed_link`,
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
