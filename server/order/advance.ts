/**
 * Telling the database what happened to payments. Webhooks that come while others are being written are written
 * together, in one statement and one commit; whatever cannot be done together is done alone, where it waits for its
 * locks and fails by itself.
 */
import type pg from "pg";
import { asHubError, type Database, isUnavailable, sqlState } from "./database.ts";
import { inGroups } from "./group.ts";
import type { Outcome, Reason, Status } from "./order.ts";
import type { OrderRow } from "./row.ts";
import { advanceGroupStatement, advanceStatement, advanceWithWebhookStatement, groupMax } from "./statement.ts";
import type { Advanced, InboxRow } from "./store.ts";

/** What became of it, what the payment was before, and the order if watchers have something new to see. */
export type AdvancedRow = {
  nth: number;
  result: Advanced["result"];
  was_status: Status;
  was_reason: Reason | null;
} & (OrderRow | { id: null });

/** As `judge` (statement.ts) reads it. */
type Told = ReturnType<typeof toTold>;

/** Statements of webhooks under way at once. With one, a webhook alone would wait for another's commit; more share less. */
const lanes = 2;

export function createAdvance(
  { pool, webhookPool }: Database,
  bareProviders: readonly string[],
): (paymentId: string, outcome: Outcome, webhook?: InboxRow) => Promise<AdvancedRow> {
  const run = async (on: pg.Pool, statement: { name: string; text: string }, told: readonly Told[]) => {
    const values = [JSON.stringify(told.map((one, nth) => ({ nth, ...one }))), bareProviders];
    return (await on.query<AdvancedRow>({ ...statement, values })).rows;
  };

  const alone = async (on: pg.Pool, statement: { name: string; text: string }, told: Told): Promise<AdvancedRow> => {
    const [row] = await run(on, statement, [told]);
    if (!row) throw new Error("advance always answers one row");
    return row;
  };

  const together = inGroups<Told, AdvancedRow>({
    lanes,
    sizeMax: groupMax,
    async run(group) {
      const rows = await run(webhookPool, advanceGroupStatement, group).catch(unlessOfOne);
      const done = new Map(rows.map((row) => [row.nth, row]));
      return group.map((told, nth) => done.get(nth) ?? alone(webhookPool, advanceWithWebhookStatement, told));
    },
  });

  return async (paymentId, outcome, webhook) => {
    const told = toTold(paymentId, outcome, webhook);
    try {
      return await (webhook ? together(told) : alone(pool, advanceStatement, told));
    } catch (error) {
      throw asHubError(error);
    }
  };
}

/** Goes on where one of a group may have spoilt it for the others: by its bytes, its receipt, a lock or a deadlock. */
function unlessOfOne(error: unknown): [] {
  if (isUnavailable(error) && !/^(40|55)/.test(sqlState(error) ?? "")) throw error;
  return [];
}

const toTold = (paymentId: string, outcome: Outcome, webhook?: InboxRow) => ({
  payment_id: paymentId,
  new_status: outcome.status,
  new_reason: outcome.reason,
  new_reference: outcome.reference,
  new_receipt: outcome.receipt,
  new_amount_minor: outcome.amountMinor?.toString(),
  new_currency: outcome.currency,
  new_action: outcome.action,
  source: outcome.source,
  note: outcome.note,
  ...(webhook && {
    sender: webhook.provider,
    proof: webhook.proof,
    headers: webhook.headers,
    body: webhook.body.toString("base64"),
  }),
});
