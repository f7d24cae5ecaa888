/**
 * Records evidence about payments. Two transitions have a fast path each (fast-path.ts); everything else takes the full decision
 * (decide.ts).
 *
 * Webhooks that arrive while others are being written share one statement and one commit. If a batch fails, or skips a webhook,
 * the webhook is decided alone: then no other webhook waits for its locks or fails with it. Evidence may be recorded twice, for
 * example after a lost answer: the second time changes nothing (G6).
 */
import type pg from "pg";
import { asHubError, type Database, deadlock, sqlState } from "../database/pool.ts";
import { inBatches } from "./batch.ts";
import { advanceBatchStatement, advanceStatement, advanceWithWebhookStatement, batchMax } from "./decide.ts";
import { type Evidence, type InboxRow, isAcceptance, isPlainSuccess, toEvidence } from "./evidence.ts";
import { acceptStatement, payBatchStatement } from "./fast-path.ts";
import type { Outcome, Reason, Status, StatusEvent } from "./order.ts";
import type { StateRow } from "./row.ts";
import type { Statement } from "./statement.ts";
import type { WebhookResult } from "./tables.ts";

/**
 * `applied`: the order's facts changed. `repeat`: nothing new. `hint`: not enough evidence; the provider is queried if the payment
 * may still be paid.
 * `unmatched`: there is no such payment. `event` is present when watchers have something new to see.
 */
export interface Advanced {
  result: Extract<WebhookResult, "applied" | "repeat" | "hint" | "unmatched">;
  event?: StatusEvent;
}

/** The result, the payment's status before it, and the order if watchers have something new to see. */
export type AdvancedRow = {
  nth: number;
  result: Advanced["result"];
  was_status: Status;
  was_reason: Reason | null;
} & (StateRow | { id: null });

export type Advance = (paymentId: string, outcome: Outcome, webhook?: InboxRow) => Promise<AdvancedRow>;

export interface AdvanceOptions {
  /** Providers that state no amount: their success without an amount is enough. */
  amountlessProviders: readonly string[];
  /** Providers whose query states a receipt. */
  receiptProviders: readonly string[];
}

interface Waiting {
  evidence: Evidence;
  sinceMs: number;
}

/**
 * Batches of one statement in flight. Two, because with one a webhook would wait for the commit of the previous batch, and with more
 * each batch would be smaller.
 */
const batchConcurrency = 2;

/** Single decisions in flight; each may wait for a lock. Four of ten connections, because the batches need the others. */
const aloneConcurrency = 4;

/** Attempts of a decision that deadlocks. Three, because each may take the deadlock timeout (1 s) or the lock timeout (1.5 s). */
const attemptsMax = 3;

/**
 * The longest time that a webhook waits for its batch. 3 s, because the connection to a silent database is destroyed after another
 * 3 s, so that a provider waits for about 6 s at most.
 */
const waitMsMax = 3_000;

export function createAdvance(
  { pool, webhookPool }: Database,
  { amountlessProviders, receiptProviders }: AdvanceOptions,
): Advance {
  const providerLists = [amountlessProviders, receiptProviders];

  const alone = inBatches<Waiting, AdvancedRow>({
    concurrency: aloneConcurrency,
    sizeMax: 1,
    waitMsMax,
    run: (batch) =>
      Promise.all(
        batch.map(({ evidence }) => decideOne(webhookPool, advanceWithWebhookStatement, evidence, providerLists)),
      ),
  });

  const batchesOf = (
    statement: Statement,
    parameters: readonly unknown[],
    fallback: (waiting: Waiting) => Promise<AdvancedRow>,
  ) =>
    inBatches<Waiting, AdvancedRow>({
      concurrency: batchConcurrency,
      sizeMax: batchMax,
      waitMsMax,
      async run(batch) {
        const evidence = batch.map((waiting) => waiting.evidence);
        // One webhook's values or a lost connection may fail the whole batch: decide each webhook alone.
        const rows = await runEvidence(webhookPool, statement, evidence, parameters).catch(() => undefined);
        if (!rows) return batch.map(alone);
        const decided = new Map(rows.map((row) => [row.nth, row]));
        return batch.map((waiting, nth) => decided.get(nth) ?? fallback(waiting));
      },
    });

  const decideBatch = batchesOf(advanceBatchStatement, providerLists, alone);
  const payBatch = batchesOf(payBatchStatement, [], decideBatch);

  return async (paymentId, outcome, webhook) => {
    const evidence = toEvidence(paymentId, outcome, webhook);
    try {
      if (!webhook) {
        const accepted = isAcceptance(outcome) ? await accept(pool, evidence) : undefined;
        return accepted ?? (await decideOne(pool, advanceStatement, evidence, providerLists));
      }
      return await (isPlainSuccess(outcome) ? payBatch : decideBatch)({ evidence, sinceMs: performance.now() });
    } catch (error) {
      throw asHubError(error);
    }
  };
}

async function runEvidence(
  pool: pg.Pool,
  statement: Statement,
  evidence: readonly Evidence[],
  parameters: readonly unknown[],
): Promise<AdvancedRow[]> {
  const values = [JSON.stringify(evidence.map((one, nth) => ({ nth, ...one }))), ...parameters];
  return (await pool.query<AdvancedRow>({ ...statement, values })).rows;
}

/**
 * Runs the full decision for one payment. Retries after a deadlock. Nodes of one version never deadlock, but during an upgrade a
 * node of another version may take locks in another order.
 */
async function decideOne(
  pool: pg.Pool,
  statement: Statement,
  evidence: Evidence,
  providerLists: readonly unknown[],
): Promise<AdvancedRow> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const [row] = await runEvidence(pool, statement, [evidence], providerLists);
      if (!row) throw new Error("advance always returns one row");
      return row;
    } catch (error) {
      if (sqlState(error) !== deadlock || attempt === attemptsMax) throw error;
    }
  }
}

/** Takes the fast path of an acceptance. Returns undefined for a payment that needs the full decision. */
async function accept(
  pool: pg.Pool,
  { payment_id, new_reference, new_action }: Evidence,
): Promise<AdvancedRow | undefined> {
  const values = [payment_id, new_reference, new_action];
  return (await pool.query<AdvancedRow>({ ...acceptStatement, values })).rows[0];
}
