/**
 * Telling the database what happened to payments. Those that are simply accepted by their provider, or simply paid, have a
 * statement each which can do no more (fast-path.ts); the others have the full decision. Webhooks that come while others are
 * being written are written together, in one statement and one commit. Whatever cannot be done together is done alone,
 * where it waits for its locks and fails by itself. What was done, and is done again because nobody heard so, changes nothing.
 */
import type pg from "pg";
import { asHubError, type Database, deadlock, sqlState } from "../database/pool.ts";
import { inBatches } from "./batch.ts";
import { advanceBatchStatement, advanceStatement, advanceWithWebhookStatement, batchMax } from "./decide.ts";
import { acceptStatement, payBatchStatement } from "./fast-path.ts";
import type { Outcome, Reason, Status, StatusEvent } from "./order.ts";
import type { StateRow } from "./row.ts";
import type { WebhookResult } from "./tables.ts";

/** One webhook's bytes, to be kept with what became of it. Headers never include credentials. */
export interface InboxRow {
  provider: string;
  proof: "signature" | "secret" | "none";
  headers: Record<string, unknown>;
  body: Buffer;
}

/**
 * `applied`: the order's facts changed. `repeat`: nothing new. `hint`: not proof, the provider is to be asked.
 * `unmatched`: no such payment. `event` is there when watchers have something new to see.
 */
export interface Advanced {
  result: Extract<WebhookResult, "applied" | "repeat" | "hint" | "unmatched">;
  event?: StatusEvent;
}

/** What became of it, what the payment was before, and the order if watchers have something new to see. */
export type AdvancedRow = {
  nth: number;
  result: Advanced["result"];
  was_status: Status;
  was_reason: Reason | null;
} & (StateRow | { id: null });

/** As `decideWith` (decide.ts) reads it. */
type Evidence = ReturnType<typeof toEvidence>;

interface Turn {
  evidence: Evidence;
  sinceMs: number;
}

/** Batches of each statement in flight. With one, a webhook alone would wait for another's commit; more share less. */
const batchLanes = 2;

/** Of the webhooks that may have to wait for a lock: few enough to leave the batches their connections. */
const aloneLanes = 4;

/** Each try ends within the deadlock's time-out (1 s) or the lock's (1.5 s). */
const triesMax = 3;

/** With the 3 s after which a silent database is given up, a provider waits for 6 s or little more. */
const waitMsMax = 3_000;

export function createAdvance(
  { pool, webhookPool }: Database,
  {
    amountlessProviders,
    receiptProviders,
  }: { amountlessProviders: readonly string[]; receiptProviders: readonly string[] },
): (paymentId: string, outcome: Outcome, webhook?: InboxRow) => Promise<AdvancedRow> {
  const decisionParameters = [amountlessProviders, receiptProviders];

  const run = async (
    on: pg.Pool,
    statement: { name: string; text: string },
    evidence: readonly Evidence[],
    more: readonly unknown[],
  ) => {
    const values = [JSON.stringify(evidence.map((one, nth) => ({ nth, ...one }))), ...more];
    return (await on.query<AdvancedRow>({ ...statement, values })).rows;
  };

  /** A deadlock is retried. Nodes of this version cause none; one that runs beside them during an upgrade may lock in another order. */
  const runOne = async (
    on: pg.Pool,
    statement: { name: string; text: string },
    evidence: Evidence,
  ): Promise<AdvancedRow> => {
    for (let tries = 1; ; tries += 1) {
      try {
        const [row] = await run(on, statement, [evidence], decisionParameters);
        if (!row) throw new Error("advance always answers one row");
        return row;
      } catch (error) {
        if (sqlState(error) !== deadlock || tries === triesMax) throw error;
      }
    }
  };

  /** No row for what needs the full decision. */
  const accept = async ({ payment_id, new_reference, new_action }: Evidence): Promise<AdvancedRow | undefined> => {
    const values = [payment_id, new_reference, new_action];
    return (await pool.query<AdvancedRow>({ ...acceptStatement, values })).rows[0];
  };

  const alone = inBatches<Turn, AdvancedRow>({
    lanes: aloneLanes,
    sizeMax: 1,
    waitMsMax,
    run: (batch) =>
      Promise.all(batch.map(({ evidence }) => runOne(webhookPool, advanceWithWebhookStatement, evidence))),
  });

  /** `more`: its further parameters. Evidence without a row in its answer goes to `otherwise`. */
  const batchesOf = (
    statement: { name: string; text: string },
    more: readonly unknown[],
    otherwise: (turn: Turn) => Promise<AdvancedRow>,
  ) =>
    inBatches<Turn, AdvancedRow>({
      lanes: batchLanes,
      sizeMax: batchMax,
      waitMsMax,
      async run(batch) {
        const evidence = batch.map((turn) => turn.evidence);
        // One of them may have spoilt it for the others, by its bytes or its receipt; or a connection was lost, and another works.
        const rows = await run(webhookPool, statement, evidence, more).catch(() => undefined);
        if (!rows) return batch.map(alone);
        const done = new Map(rows.map((row) => [row.nth, row]));
        return batch.map((turn, nth) => done.get(nth) ?? otherwise(turn));
      },
    });

  const decided = batchesOf(advanceBatchStatement, decisionParameters, alone);
  const paid = batchesOf(payBatchStatement, [], decided);

  return async (paymentId, outcome, webhook) => {
    const evidence = toEvidence(paymentId, outcome, webhook);
    try {
      if (!webhook) {
        const accepted = saysAccepted(outcome) ? await accept(evidence) : undefined;
        return accepted ?? (await runOne(pool, advanceStatement, evidence));
      }
      return await (saysPaid(outcome) ? paid : decided)({ evidence, sinceMs: performance.now() });
    } catch (error) {
      throw asHubError(error);
    }
  };
}

/** Whether all that it says is what `acceptStatement` records. */
const saysAccepted = ({ source, status, reference, reason, receipt, amountMinor, note }: Outcome): boolean =>
  source === "reply" &&
  status === "processing" &&
  reference !== undefined &&
  !reason &&
  !receipt &&
  !amountMinor &&
  !note;

/** Whether all that it says is what `payBatchStatement` records. */
const saysPaid = ({ source, status, reason, receipt, action, note }: Outcome): boolean =>
  source === "webhook" && status === "succeeded" && receipt !== undefined && !reason && !action && !note;

export const toEvidence = (paymentId: string, outcome: Outcome, webhook?: InboxRow) => ({
  payment_id: paymentId,
  new_status: outcome.status,
  new_reason: outcome.reason,
  new_reference: outcome.reference?.toWellFormed(),
  new_receipt: outcome.receipt?.toWellFormed(),
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
