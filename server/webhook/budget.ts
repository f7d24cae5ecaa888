/**
 * What the webhooks of one payment may store. The address of a payment's webhooks never expires, and whoever learns it, in
 * a log of the provider's say, can post there at any time with the proof that is in it.
 *
 * Guarantees: evidence that this payment's webhooks have not brought before is let in, whatever else came, as long as there
 * are no more than 8 different ones in 10 minutes, or in an hour once the payment has ended. A repeat beyond the budget is
 * refused quietly only when the same evidence is stored already; until it is known whether it is, the repeat waits. What was
 * let in and then not stored costs nothing, and counts as not brought. All that is only a reason to ask is one evidence; of
 * it, and of what cannot be read, we are made to ask beyond the budget too. The caller lets in whatever the count what
 * decides the payment (appeal.ts).
 *
 * Per node: several nodes store so much each. A restart forgets, as do 10,000 other payments in between.
 */
import { createHash } from "node:crypto";
import { HubError } from "../errors.ts";
import type { Outcome } from "../order/order.ts";

export interface WebhookBudget {
  /** Reserves room for one webhook. `evidence`: what it says, as `evidenceOf` has it; absent: it cannot be read. */
  admit(key: string, webhook: WebhookSize): Permit | Refusal;
  /** Room whatever the count, for what is bounded otherwise. */
  admitAnyway(key: string, webhook: WebhookSize): Permit;
}

export interface WebhookSize {
  evidence?: string;
  bytes: number;
}

/** Room for one webhook. One of the two is to be called, once. */
export interface Permit {
  isAdmitted: true;
  /** It says what no other one has said. */
  isNew: boolean;
  /** It is on disk. `isChange`: it changed the payment; `isSettled`: the payment has ended, now or before. */
  stored(became?: { isChange?: boolean; isSettled?: boolean }): void;
  /** It is not. */
  failed(): void;
}

export interface Refusal {
  isAdmitted: false;
  /** What the sender is to be told: `rate_limited`; absent: as if it was stored, because the same is. */
  error?: HubError;
  /** The provider is to be asked, for what is refused might be the truth. At most 4 times a minute. */
  asks: boolean;
  /** The same is being stored. Resolves when it is known whether that went well: then it is to be tried again. */
  whenKnown?: Promise<void>;
}

/** What changed the payment costs 1, anything else 3. */
const changeCost = 1;
const idleCost = 3;

interface Bounds {
  windowMs: number;
  costMax: number;
  /** Bodies and headers. Real webhooks have less than 4 KiB together. */
  bytesMax: number;
}

/** Room for 20 that change nothing. */
const openBounds: Bounds = { windowMs: 600_000, costMax: 60, bytesMax: 131_072 };

/** Room for 5 an hour once the payment has ended: what is new of it then is evidence. */
const settledBounds: Bounds = { windowMs: 3_600_000, costMax: 15, bytesMax: 32_768 };

/** New evidence of up to this size needs no room: four times that of the largest that is known. */
const evidenceBytesMax = 16_384;

/** The evidence of all that is only a reason to ask. */
const hintEvidence = "hint";

/** Different things that the webhooks of one payment say. Honest ones say three at most. */
const evidenceMax = 8;

const askEveryMs = 15_000;

/** Forgets the one that was used least recently when there are more payments than this. */
const keysMax = 10_000;

/** One payment's window, which began with its first webhook. */
interface Account {
  sinceMs: number;
  bounds: Bounds;
  cost: number;
  bytes: number;
  /** What is not "stored" is being stored until then. */
  evidence: Map<string, "stored" | Promise<void>>;
  askedAtMs: number;
}

/** `nowMs` is any clock that only moves forward. */
export function createWebhookBudget(nowMs: () => number = () => performance.now()): WebhookBudget {
  const accounts = new Map<string, Account>();

  const accountOf = (key: string): Account => {
    const known = accounts.get(key);
    const account = known && nowMs() < endOf(known) ? known : openAccount(nowMs(), known?.bounds);
    accounts.delete(key);
    accounts.set(key, account);
    const [oldest] = accounts.keys();
    if (oldest !== undefined && accounts.size > keysMax) accounts.delete(oldest);
    return account;
  };

  const mayAsk = (account: Account): boolean => {
    const mayAsk = nowMs() >= account.askedAtMs + askEveryMs;
    if (mayAsk) account.askedAtMs = nowMs();
    return mayAsk;
  };

  const refuse = (account: Account, asks: boolean): Refusal => {
    const retryAfterS = Math.max(1, Math.ceil((endOf(account) - nowMs()) / 1_000));
    return { isAdmitted: false, error: tooMany(retryAfterS), asks: asks && mayAsk(account) };
  };

  return {
    admit(key, webhook) {
      const account = accountOf(key);
      const evidence = digestOf(webhook);
      const { bounds } = account;
      const { bytes } = webhook;
      const known = evidence === undefined ? undefined : account.evidence.get(evidence);
      const isNew = evidence !== undefined && known === undefined;
      if (isNew && account.evidence.size >= evidenceMax) return refuse(account, true);
      const hasRoom = account.cost + idleCost <= bounds.costMax && account.bytes + bytes <= bounds.bytesMax;
      if (hasRoom || (isNew && bytes <= evidenceBytesMax)) return reserve(account, { evidence, isNew, bytes });
      const asks = known === undefined || webhook.evidence === hintEvidence;
      if (known === "stored") return { isAdmitted: false, asks: asks && mayAsk(account) };
      if (known) return { isAdmitted: false, error: tooMany(1), asks: false, whenKnown: known };
      return refuse(account, asks);
    },

    admitAnyway(key, webhook) {
      const account = accountOf(key);
      const evidence = digestOf(webhook);
      const isNew = evidence !== undefined && !account.evidence.has(evidence);
      return reserve(account, { evidence, isNew, bytes: webhook.bytes });
    },
  };
}

export const tooMany = (retryAfterS: number): HubError =>
  new HubError("rate_limited", "Too many webhooks of this payment", { retryAfterS });

const digestOf = ({ evidence }: WebhookSize): string | undefined =>
  evidence === undefined ? undefined : createHash("sha256").update(evidence).digest("base64");

const endOf = ({ sinceMs, bounds }: Account): number => sinceMs + bounds.windowMs;

const openAccount = (sinceMs: number, bounds = openBounds): Account => ({
  sinceMs,
  bounds,
  cost: 0,
  bytes: 0,
  evidence: new Map(),
  askedAtMs: Number.NEGATIVE_INFINITY,
});

interface Reserved {
  evidence: string | undefined;
  isNew: boolean;
  bytes: number;
}

/** Charges at once, for others may be let in before this one is stored. */
function reserve(account: Account, { evidence, isNew, bytes }: Reserved): Permit {
  account.cost += idleCost;
  account.bytes += bytes;
  const { promise: whenKnown, resolve } = Promise.withResolvers<void>();
  if (isNew && evidence !== undefined) account.evidence.set(evidence, whenKnown);
  return {
    isAdmitted: true,
    isNew,
    stored({ isChange = false, isSettled = false } = {}) {
      if (isChange) account.cost += changeCost - idleCost;
      if (isSettled) account.bounds = settledBounds;
      if (evidence !== undefined) account.evidence.set(evidence, "stored");
      resolve();
    },
    failed() {
      account.cost -= idleCost;
      account.bytes -= bytes;
      if (evidence !== undefined && account.evidence.get(evidence) === whenKnown) account.evidence.delete(evidence);
      resolve();
    },
  };
}

/**
 * All that tells one webhook's evidence from another's: whose, how it ended, and the money. One and the same of all that is
 * only a reason to ask. One of another reference than the payment's is, too, but only the database knows that.
 */
export function evidenceOf(claim: {
  proof: string;
  isHint?: true;
  reference?: string;
  ownReference?: string;
  outcome?: Outcome;
}): string {
  const { proof, isHint, reference, ownReference, outcome } = claim;
  if (proof === "none" || isHint) return hintEvidence;
  const { status, receipt, amountMinor, currency, reason } = outcome ?? {};
  // Of a success, that its amount cannot be read; why a payment failed may be told in several ways.
  const unread = status === "succeeded" ? reason : undefined;
  return JSON.stringify([proof, reference, ownReference, status, receipt, amountMinor?.toString(), currency, unread]);
}
