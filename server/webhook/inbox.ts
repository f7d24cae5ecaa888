/**
 * The bytes of webhooks that change nothing: refused, unreadable, saying nothing, or whose statement failed. Those that
 * say something are kept by the very statement that acts on them (store.ts). Append-only; a repeat is never a reason
 * not to keep.
 */

import type { Database } from "../database/pool.ts";
import { asHubError } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import type { InboxRow } from "../order/evidence.ts";
import type { WebhookResult } from "../order/tables.ts";

export interface StoredWebhook extends InboxRow {
  result: Exclude<WebhookResult, "applied" | "repeat">;
  paymentId?: string;
  /** The provider's own handle, where that is all that names the payment. */
  reference?: string;
  /** It came to the payment's own address, or has shown otherwise that no stranger sent it: a hint then needs no budget. */
  isAddressed?: boolean;
  /** What went wrong, for the operator. */
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
   * Keeps a webhook; one that cannot be read or believed also makes us ask the provider of its payment, if that is open.
   * One whose statement failed touches no other row, for what it waited for may still be locked: it is offered again.
   * Of one that anybody could have sent, the first 4 KiB are kept, and it makes us ask within a budget; signed hints to an
   * address that everybody knows have a budget of their own. Returns whether it may make us ask. Throws `HubError`:
   * `rate_limited` when there are too many of those, for a stranger must not fill the disk; `store_unavailable`.
   */
  insert(webhook: StoredWebhook): Promise<boolean>;
  /**
   * Proven webhooks that came before their reference was known. To be asked for after a reference was committed, and
   * after such a webhook was: whichever comes second finds the other, whatever the order and on whatever node.
   */
  claimParked(provider: string, reference: string): Promise<UnappliedWebhook[]>;
  /** Proven webhooks that are not applied yet and due to be tried again, for up to 7 days; no other process gets them now. */
  claimUnapplied(limit: number): Promise<UnappliedWebhook[]>;
  /** Marks a webhook that was tried again with what became of it. */
  settle(id: number, result: "applied" | "repeat" | "hint" | "nothing"): Promise<void>;
  /** Keeps a refused webhook for audit, if this provider's budget of 60 a minute allows: at most its first 4 KiB. */
  refuse(webhook: InboxRow, error: string): Promise<void>;
}

const refusedPerMinuteMax = 60;

/** Hints without proof make us ask this often at most: a stranger must not make us hammer a provider. */
const hintsPerMinuteMax = 60;

/** And this often about one payment, because its queries must not take the place of those about others. */
const hintsPerPaymentMax = 2;

/** Signed hints are the provider's own: so many that only a fault of it is held back. Queries have a pace besides. */
const signedHintsPerMinuteMax = 6_000;
const signedHintsPerPaymentMax = 10;

/** Forgets the payments that were hinted at first when there are more than this. */
const hintedMax = 10_000;

/** Webhooks without any proof, to an address that everybody knows; senders with a queue, as Amazon SNS, come again. */
const strangersPerMinuteMax = 300;

/** What is kept of what nobody vouches for. It is for audit: a hint is never read again. */
const strangerBytesMax = 4_096;

type UnappliedRow = Omit<UnappliedWebhook, "paymentId"> & { payment_id: string | null };

const keepStatement = {
  name: "keep-webhook",
  text: `with asked as (
    update payment set check_at = least(check_at, clock_timestamp())
    where $8::boolean and $6 in ('unreadable', 'hint') and id = (
      -- The bytes must not wait for a payment that is locked; what a person has rejected is not asked about again.
      select id from payment where id = $2::uuid and status not in ('succeeded', 'review')
        and reason is distinct from 'rejected' for no key update skip locked)
  )
  insert into webhook (provider, payment_id, proof, headers, body, result, error, reference, offer_at)
  values ($1, $2, $3, $4::jsonb, $5::bytea, $6, $7, $9,
          case when $3 = 'none' then null
               when $6 = 'error' then clock_timestamp() + interval '5 seconds'
               when $6 = 'unmatched' then clock_timestamp() + interval '30 seconds' end)`,
} as const;

/** Taking a row moves it to its next time, ever further apart, so that one process has it and none is lost. */
const claimStatement = {
  name: "claim-unapplied",
  text: `update webhook set offer_at = clock_timestamp() + greatest(interval '30 seconds', clock_timestamp() - received_at)
  where id in (
    select id from webhook where offer_at <= statement_timestamp() and received_at > statement_timestamp() - interval '7 days'
    order by offer_at limit $1 for update skip locked)
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
  const isRefusalWithin = createBudget(refusedPerMinuteMax, nowMs);
  const isHintWithin = createHintBudget(hintsPerMinuteMax, hintsPerPaymentMax, nowMs);
  const isSignedHintWithin = createHintBudget(signedHintsPerMinuteMax, signedHintsPerPaymentMax, nowMs);
  const isStrangerWithin = createBudget(strangersPerMinuteMax, nowMs);

  const mayMakeUsAsk = ({ provider, paymentId, proof, isAddressed, result }: StoredWebhook): boolean => {
    if (isAddressed || (proof !== "none" && result !== "hint")) return true;
    if (paymentId === undefined) return false;
    return proof === "none" ? isHintWithin(provider, paymentId) : isSignedHintWithin(provider, paymentId);
  };

  const insert = async (webhook: StoredWebhook): Promise<boolean> => {
    const { provider, paymentId, reference, proof, isAddressed, headers, result, error } = webhook;
    const isStranger = proof === "none" && !isAddressed && result !== "error";
    if (isStranger && result !== "refused" && !isStrangerWithin(provider)) {
      throw new HubError("rate_limited", "Too many webhooks without proof", { retryAfterS: 60 });
    }
    const body = isStranger ? webhook.body.subarray(0, strangerBytesMax) : webhook.body;
    const told = JSON.stringify(isStranger ? withinBytes(headers, strangerBytesMax) : headers);
    const mayAsk = mayMakeUsAsk(webhook);
    const said = error?.replaceAll("\u0000", "");
    const values = [provider, paymentId, proof, told, body, result, said, mayAsk, reference];
    await webhookPool.query({ ...keepStatement, values }).catch((cause: unknown) => {
      throw asHubError(cause);
    });
    return mayAsk;
  };

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
      await insert({ ...webhook, body: webhook.body.subarray(0, strangerBytesMax), result: "refused", error });
    },
  };
}

/** Of each payment first, so that the hints at one cannot use up the budget of the others. */
function createHintBudget(perMinuteMax: number, perPaymentMax: number, nowMs: () => number) {
  const isWithin = createBudget(perMinuteMax, nowMs);
  const isPaymentWithin = createBudget(perPaymentMax, nowMs);
  return (provider: string, paymentId: string): boolean => isPaymentWithin(paymentId) && isWithin(provider);
}

/** The first of the headers that are together no longer than that. */
function withinBytes(headers: InboxRow["headers"], bytesMax: number): InboxRow["headers"] {
  let bytes = 0;
  const isWithin = ([name, value]: [string, unknown]): boolean => {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(String(value));
    return bytes <= bytesMax;
  };
  return Object.fromEntries(Object.entries(headers).filter(isWithin));
}

/** Counts per key and minute, on this node; false when the minute's budget is used up. */
export function createBudget(perMinuteMax: number, nowMs: () => number): (key: string) => boolean {
  const windows = new Map<string, { sinceMs: number; count: number }>();
  return (key) => {
    const known = windows.get(key);
    const window = known && nowMs() - known.sinceMs < 60_000 ? known : { sinceMs: nowMs(), count: 0 };
    // Last of all: the key that was used least recently is forgotten first.
    windows.delete(key);
    windows.set(key, window);
    const [oldest] = windows.keys();
    if (oldest !== undefined && windows.size > hintedMax) windows.delete(oldest);
    window.count += 1;
    return window.count <= perMinuteMax;
  };
}
