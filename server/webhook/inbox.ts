/**
 * Stores webhooks that change nothing: refused, unreadable, without an outcome, parked, or those whose statement failed. The
 * statement that applies a webhook stores the others (order/advance.ts). The table is append-only: a repeat is stored like any
 * other. Its budgets bound what an unauthenticated client can make this node store and check (G12).
 */

import type { Database } from "../database/pool.ts";
import { asHubError } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import type { InboxRow } from "../order/evidence.ts";
import { dueNow } from "../order/schedule.ts";
import type { WebhookResult } from "../order/tables.ts";
import { createMinuteBudget } from "./minute-budget.ts";

export interface StoredWebhook extends InboxRow {
  result: Exclude<WebhookResult, "applied" | "repeat">;
  paymentId?: string;
  /** The provider's own handle for the payment, where the payment's id is not known. */
  reference?: string;
  /**
   * The budgets for hints and for unauthenticated clients do not apply, because the sender knew the payment's URL secret or
   * the webhook comes from the spool.
   */
  isUnbudgeted?: boolean;
  /** Why the webhook was not applied, for the operator. */
  error?: string;
}

export interface UnappliedWebhook {
  id: number;
  provider: string;
  paymentId?: string;
  headers: Record<string, string>;
  body: Buffer;
}

export interface Inbox {
  /**
   * Stores a webhook. An unreadable or unproven one also makes its payment due, if that is open, within a budget per provider
   * and per payment; signed hints to an account-wide address have a larger budget. Returns whether the budget allows a check.
   * A webhook with the result `error` touches no other row, because the payment may still be locked: redelivery tries it again.
   * Of a webhook from an unauthenticated client, only the first 4 KiB are stored. Throws `HubError`: `rate_limited` when there
   * are too many of those, and `store_unavailable`.
   */
  insert(webhook: StoredWebhook): Promise<boolean>;
  /**
   * Claims proven webhooks that came before their reference was known. Called after a reference was committed, and after such
   * a webhook was: the second caller finds the other's row, in any order and on any node.
   */
  claimParked(provider: string, reference: string): Promise<UnappliedWebhook[]>;
  /** Claims proven webhooks that are due to be retried, for up to 7 days; no other process gets them before their next time. */
  claimUnapplied(limit: number): Promise<UnappliedWebhook[]>;
  /** Records the result of a retry; the webhook is not retried again. */
  settle(id: number, result: "applied" | "repeat" | "hint" | "nothing"): Promise<void>;
  /** Stores the first 4 KiB of a refused webhook for audit, within a budget of 60 a minute and provider. */
  refuse(webhook: InboxRow, error: string): Promise<void>;
}

const refusedPerMinuteMax = 60;

/** Checks because of unproven hints, per provider: bounds the queries that an unauthenticated client can cause. */
const hintsPerMinuteMax = 60;

/** The same per payment, because the queries of one payment must not take the place of others. */
const hintsPerPaymentMax = 2;

/** Large, because signed hints come from the provider: only a fault of the provider exceeds it. Queries have a pace besides. */
const signedHintsPerMinuteMax = 6_000;
const signedHintsPerPaymentMax = 10;

/** Unproven webhooks to an account-wide address, which is public. Senders with a queue, such as Amazon SNS, retry. */
const unauthenticatedPerMinuteMax = 300;

/** 4 KiB, because these bytes are only for audit: a hint is never read again. */
const unauthenticatedBytesMax = 4_096;

type UnappliedRow = Omit<UnappliedWebhook, "paymentId"> & { payment_id: string | null };

const keepStatement = {
  name: "keep-webhook",
  text: `with due_payment as (
    update payment set check_at = least(check_at, ${dueNow})
    where $8::boolean and $6 in ('unreadable', 'hint') and id = (
      -- Storing the bytes must not wait for a locked payment. A payment that a person rejected is not checked again.
      select id from payment where id = $2::uuid and status not in ('succeeded', 'review')
        and reason is distinct from 'rejected' for no key update skip locked)
  )
  insert into webhook (provider, payment_id, proof, headers, body, result, error, reference, offer_at)
  values ($1, $2, $3, $4::jsonb, $5::bytea, $6, $7, $9,
          case when $3 = 'none' then null
               when $6 = 'error' then clock_timestamp() + interval '5 seconds'
               when $6 = 'unmatched' then clock_timestamp() + interval '30 seconds' end)`,
} as const;

/** Claiming a row moves it to its next time, at growing intervals, so that one process has it and none is lost. */
const claimStatement = {
  name: "claim-unapplied",
  text: `update webhook set offer_at = clock_timestamp() + greatest(interval '30 seconds', clock_timestamp() - received_at)
  -- A list, because the planner does not know the limit: it would read the whole table while many webhooks wait.
  where id = any (array(
    select id from webhook where offer_at <= statement_timestamp() and received_at > statement_timestamp() - interval '7 days'
    order by offer_at limit $1 for update skip locked))
  returning id, provider, payment_id, headers, body`,
} as const;

const claimParkedStatement = {
  name: "claim-parked",
  text: `update webhook set offer_at = clock_timestamp() + interval '30 seconds'
  where id in (
    select id from webhook where provider = $1 and reference = $2 and result = 'unmatched' and offer_at is not null
    order by id limit 100 for update skip locked)
  returning id, provider, payment_id, headers, body`,
} as const;

const toUnapplied = ({ payment_id, ...row }: UnappliedRow): UnappliedWebhook => ({
  ...row,
  ...(payment_id !== null && { paymentId: payment_id }),
});

/** `nowMs` is any clock that only moves forward. */
export function createInbox({ pool, webhookPool }: Database, nowMs: () => number = () => performance.now()): Inbox {
  const isRefusalWithin = createMinuteBudget(refusedPerMinuteMax, nowMs);
  const budgets: Budgets = {
    isHintWithin: createHintBudget(hintsPerMinuteMax, hintsPerPaymentMax, nowMs),
    isSignedHintWithin: createHintBudget(signedHintsPerMinuteMax, signedHintsPerPaymentMax, nowMs),
    isUnauthenticatedWithin: createMinuteBudget(unauthenticatedPerMinuteMax, nowMs),
  };
  const insert = (webhook: StoredWebhook): Promise<boolean> => store(webhookPool, webhook, budgets);
  return {
    insert,
    async claimUnapplied(limit) {
      const { rows } = await pool.query<UnappliedRow>({ ...claimStatement, values: [limit] });
      return rows.map(toUnapplied);
    },
    async claimParked(provider, reference) {
      const { rows } = await pool.query<UnappliedRow>({ ...claimParkedStatement, values: [provider, reference] });
      return rows.map(toUnapplied);
    },
    async settle(id, result) {
      await pool.query("update webhook set result = $2, offer_at = null where id = $1", [id, result]);
    },
    async refuse(webhook, error) {
      if (!isRefusalWithin(webhook.provider)) return;
      await insert({ ...webhook, body: webhook.body.subarray(0, unauthenticatedBytesMax), result: "refused", error });
    },
  };
}

interface Budgets {
  isHintWithin: HintBudget;
  isSignedHintWithin: HintBudget;
  /** Per provider. */
  isUnauthenticatedWithin: (provider: string) => boolean;
}

type HintBudget = (provider: string, paymentId: string) => boolean;

async function store(pool: Database["webhookPool"], webhook: StoredWebhook, budgets: Budgets): Promise<boolean> {
  const { provider, paymentId, reference, proof, isUnbudgeted, headers, result, error } = webhook;
  const isUnauthenticated = proof === "none" && !isUnbudgeted && result !== "error";
  if (isUnauthenticated && result !== "refused" && !budgets.isUnauthenticatedWithin(provider)) {
    throw new HubError("rate_limited", "Too many webhooks without proof", { retryAfterS: 60 });
  }
  const body = isUnauthenticated ? webhook.body.subarray(0, unauthenticatedBytesMax) : webhook.body;
  const headersText = JSON.stringify(isUnauthenticated ? withinBytes(headers, unauthenticatedBytesMax) : headers);
  const mayCheck = isCheckWithin(webhook, budgets);
  // PostgreSQL's text cannot contain NUL.
  const errorText = error?.replaceAll("\u0000", "");
  const values = [provider, paymentId, proof, headersText, body, result, errorText, mayCheck, reference];
  await pool.query({ ...keepStatement, values }).catch((cause: unknown) => {
    throw asHubError(cause);
  });
  return mayCheck;
}

/** Unproven evidence makes the node check its payment within a budget. */
function isCheckWithin({ provider, paymentId, proof, isUnbudgeted, result }: StoredWebhook, budgets: Budgets): boolean {
  if (isUnbudgeted || (proof !== "none" && result !== "hint")) return true;
  if (paymentId === undefined) return false;
  return proof === "none" ? budgets.isHintWithin(provider, paymentId) : budgets.isSignedHintWithin(provider, paymentId);
}

/** Counts per payment first, so that the hints of one payment cannot use up the provider's budget. */
function createHintBudget(perMinuteMax: number, perPaymentMax: number, nowMs: () => number): HintBudget {
  const isWithin = createMinuteBudget(perMinuteMax, nowMs);
  const isPaymentWithin = createMinuteBudget(perPaymentMax, nowMs);
  return (provider, paymentId) => isPaymentWithin(paymentId) && isWithin(provider);
}

/** The first headers whose names and values fit into `bytesMax`. */
function withinBytes(headers: InboxRow["headers"], bytesMax: number): InboxRow["headers"] {
  let bytes = 0;
  const isWithin = ([name, value]: [string, unknown]): boolean => {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(String(value));
    return bytes <= bytesMax;
  };
  return Object.fromEntries(Object.entries(headers).filter(isWithin));
}
