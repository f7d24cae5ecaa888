/**
 * The bytes of webhooks that change nothing: refused, unreadable, saying nothing, or whose statement failed. Those that
 * say something are kept by the very statement that acts on them (store.ts). Append-only; a repeat is never a reason
 * not to keep.
 */
import type { Database } from "./database.ts";
import { asHubError } from "./database.ts";
import type { InboxRow } from "./store.ts";
import type { WebhookResult } from "./tables.ts";

export interface KeptWebhook extends InboxRow {
  result: Exclude<WebhookResult, "applied" | "repeat">;
  paymentId?: string;
  /** What went wrong, for the operator. */
  error?: string;
}

export interface Inbox {
  /** Keeps a webhook; one that should have said something of an open payment also makes us ask its provider. */
  keep(webhook: KeptWebhook): Promise<void>;
  /** Keeps a refused webhook for audit, if this provider's budget of 60 a minute allows: at most its first 4 KiB. */
  refuse(webhook: InboxRow, error: string): Promise<void>;
}

const refusedPerMinuteMax = 60;
const refusedBytesMax = 4_096;

const keepStatement = {
  name: "keep-webhook",
  text: `with asked as (
    update payment set check_at = least(check_at, clock_timestamp())
    where id = $2::uuid and $6 in ('unreadable', 'error', 'hint') and status not in ('succeeded', 'review')
  )
  insert into webhook (provider, payment_id, proof, headers, body, result, error)
  values ($1, $2, $3, $4::jsonb, $5::bytea, $6, $7)`,
} as const;

/** `nowMs` is any clock that only moves forward. */
export function createInbox({ webhookPool }: Database, nowMs: () => number = () => performance.now()): Inbox {
  const refused = new Map<string, { sinceMs: number; count: number }>();

  const withinBudget = (provider: string): boolean => {
    const window = refused.get(provider);
    if (!window || nowMs() - window.sinceMs >= 60_000) {
      refused.set(provider, { sinceMs: nowMs(), count: 1 });
      return true;
    }
    window.count += 1;
    return window.count <= refusedPerMinuteMax;
  };

  const keep = async (webhook: KeptWebhook): Promise<void> => {
    const { provider, paymentId, proof, headers, body, result, error } = webhook;
    const values = [provider, paymentId, proof, JSON.stringify(headers), body, result, error?.replaceAll("\u0000", "")];
    await webhookPool.query({ ...keepStatement, values }).catch((cause: unknown) => {
      throw asHubError(cause);
    });
  };

  return {
    keep,
    async refuse(webhook, error) {
      if (!withinBudget(webhook.provider)) return;
      await keep({ ...webhook, body: webhook.body.subarray(0, refusedBytesMax), result: "refused", error });
    },
  };
}
