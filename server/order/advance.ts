/**
 * Records evidence about payments. Two transitions have a fast path each (fast-path.ts); everything else takes the full decision
 * (decide.ts).
 *
 * Webhooks that arrive while others are being written share one statement and one commit. A webhook that its batch skips or
 * that fails with its batch is decided alone, where only it waits for its locks and only it fails. Evidence may be recorded
 * twice, after a lost answer for example: the second time changes nothing (G6).
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
 * `applied`: the order's facts changed. `repeat`: nothing new. `hint`: not proof, so the provider must be asked.
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

/** Batches of one statement in flight: two, because with one a webhook would wait for another's commit, and with more each batch is smaller. */
const batchConcurrency = 2;

/** Decisions in flight of webhooks that may wait for a lock: four of the pool's ten connections, because the batches need the others. */
const aloneConcurrency = 4;

/** Each attempt ends within PostgreSQL's deadlock timeout (1 s) or the lock timeout (1.5 s). */
const attemptsMax = 3;

/** 3 s, because with the 3 s after which a silent database's connection is destroyed a provider waits about 6 s at most. */
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
        // One webhook's bytes or receipt may fail the whole batch, and a lost connection fails it too: decide each alone.
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
 * Runs the full decision for one payment. A deadlock is retried: nodes of this version cause none, but a node of another version
 * beside them during an upgrade may lock in another order.
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
