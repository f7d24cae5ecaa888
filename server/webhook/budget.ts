/**
 * Limits what the webhooks of one payment may store (G12). A payment's webhook URL never expires. An attacker who finds it,
 * for example in a log of the provider, can post there at any time, with the proof that the URL contains.
 *
 * Guarantees that evidence which is new to the payment is admitted, whatever came before, up to 8 different pieces in 10
 * minutes, or in an hour once the payment has ended. A repeat beyond the budget is acknowledged only when the same evidence
 * is stored; while the first copy is being stored, the repeat waits. A webhook that was admitted and could not be stored
 * costs nothing, and its evidence stays new. All webhooks that are only a reason to check the payment count as one piece of
 * evidence. Those, and unreadable webhooks, make the node check the payment even beyond the budget. The caller admits a
 * success that decides the payment whatever the count (success-check.ts).
 *
 * The state is per node, so each node stores that much. A restart forgets it, and so do 10,000 other payments.
 */
import { createHash } from "node:crypto";
import { HubError } from "../errors.ts";
import type { Outcome } from "../order/order.ts";

export interface WebhookBudget {
  /** Reserves room for one webhook. */
  admit(key: string, webhook: WebhookSize): Permit | Refusal;
  /** Reserves room whatever the count, for webhooks that are limited otherwise. */
  admitOverBudget(key: string, webhook: WebhookSize): Permit;
}

export interface WebhookSize {
  /** From `evidenceOf`; absent when the webhook cannot be read. */
  evidence?: string;
  /** Of body and headers. */
  bytes: number;
}

/** A reservation for one webhook. The caller calls either `commit` or `release`, once. */
export interface Permit {
  isAdmitted: true;
  /** No other webhook of the payment brought this evidence. */
  isNew: boolean;
  /** The webhook is on disk. `isChange`: it changed the payment. `isSettled`: the payment has ended, now or before. */
  commit(stored?: { isChange?: boolean; isSettled?: boolean }): void;
  /** The webhook was not stored. */
  release(): void;
}

export interface Refusal {
  isAdmitted: false;
  /** The `rate_limited` to answer; absent: acknowledge, because the same evidence is stored. */
  error?: HubError;
  /** The payment is to be checked, because the refused webhook may be true. True at most 4 times a minute. */
  shouldCheck: boolean;
  /** A copy of the same evidence is being stored. Resolves when that has ended; then the caller tries again. */
  inFlight?: Promise<void>;
}

/** The cost of a webhook that changed its payment, and of any other. */
const changeCost = 1;
const idleCost = 3;

interface Limits {
  windowMs: number;
  costMax: number;
  /** Of bodies and headers. */
  bytesMax: number;
}

/** 60 and 128 KiB, because that is room for 20 webhooks that change nothing; a real one has less than 4 KiB. */
const openLimits: Limits = { windowMs: 600_000, costMax: 60, bytesMax: 131_072 };

/** 15 and 32 KiB an hour, because an ended payment needs room only for a few repeats: new evidence is admitted anyway. */
const settledLimits: Limits = { windowMs: 3_600_000, costMax: 15, bytesMax: 32_768 };

/** New evidence of up to this size needs no room. 16 KiB, because that is four times the largest known webhook. */
const evidenceBytesMax = 16_384;

/** The evidence of every webhook that is only a reason to check. */
const hintEvidence = "hint";

/** Pieces of evidence per payment and window. 8, because the webhooks of an honest provider bring three at most. */
const evidenceMax = 8;

const checkIntervalMs = 15_000;

/** Forgets the payment that was used least recently when there are more than this. */
const keysMax = 10_000;

/** One payment's window, which began with its first webhook. */
interface Account {
  sinceMs: number;
  limits: Limits;
  cost: number;
  bytes: number;
  /** A promise is that of a copy that is being stored. */
  evidence: Map<string, "stored" | Promise<void>>;
  checkedAtMs: number;
}

interface State {
  accounts: Map<string, Account>;
  nowMs: () => number;
}

/** `nowMs` is any clock that only moves forward. */
export function createWebhookBudget(nowMs: () => number = () => performance.now()): WebhookBudget {
  const state: State = { accounts: new Map(), nowMs };
  return {
    admit: (key, webhook) => admit(accountOf(state, key), webhook, nowMs()),
    admitOverBudget(key, webhook) {
      const account = accountOf(state, key);
      const evidence = digestOf(webhook);
      const isNew = evidence !== undefined && !account.evidence.has(evidence);
      return reserve(account, { evidence, isNew, bytes: webhook.bytes });
    },
  };
}

function accountOf({ accounts, nowMs }: State, key: string): Account {
  const known = accounts.get(key);
  const account = known && nowMs() < endOf(known) ? known : openAccount(nowMs(), known?.limits);
  // A map keeps the order of insertion, so this moves the account to the end.
  accounts.delete(key);
  accounts.set(key, account);
  const [oldest] = accounts.keys();
  if (oldest !== undefined && accounts.size > keysMax) accounts.delete(oldest);
  return account;
}

function admit(account: Account, webhook: WebhookSize, nowMs: number): Permit | Refusal {
  const { bytes } = webhook;
  const evidence = digestOf(webhook);
  const known = evidence === undefined ? undefined : account.evidence.get(evidence);
  const isNew = evidence !== undefined && known === undefined;
  if (isNew && account.evidence.size >= evidenceMax) return refuse(account, true, nowMs);
  const isAdmitted = hasRoom(account, bytes) || (isNew && bytes <= evidenceBytesMax);
  if (isAdmitted) return reserve(account, { evidence, isNew, bytes });
  const shouldCheck = known === undefined || webhook.evidence === hintEvidence;
  if (known === "stored") return { isAdmitted: false, shouldCheck: shouldCheck && mayCheck(account, nowMs) };
  if (known) return { isAdmitted: false, error: tooMany(1), shouldCheck: false, inFlight: known };
  return refuse(account, shouldCheck, nowMs);
}

const hasRoom = ({ cost, limits, bytes: used }: Account, bytes: number): boolean =>
  cost + idleCost <= limits.costMax && used + bytes <= limits.bytesMax;

function refuse(account: Account, shouldCheck: boolean, nowMs: number): Refusal {
  const retryAfterS = Math.max(1, Math.ceil((endOf(account) - nowMs) / 1_000));
  return {
    isAdmitted: false,
    error: tooMany(retryAfterS),
    shouldCheck: shouldCheck && mayCheck(account, nowMs),
  };
}

/** Counts the check if it may be made. */
function mayCheck(account: Account, nowMs: number): boolean {
  const isDue = nowMs >= account.checkedAtMs + checkIntervalMs;
  if (isDue) account.checkedAtMs = nowMs;
  return isDue;
}

export const tooMany = (retryAfterS: number): HubError =>
  new HubError("rate_limited", "Too many webhooks of this payment", { retryAfterS });

const digestOf = ({ evidence }: WebhookSize): string | undefined =>
  evidence === undefined ? undefined : createHash("sha256").update(evidence).digest("base64");

const endOf = ({ sinceMs, limits }: Account): number => sinceMs + limits.windowMs;

const openAccount = (sinceMs: number, limits = openLimits): Account => ({
  sinceMs,
  limits,
  cost: 0,
  bytes: 0,
  evidence: new Map(),
  checkedAtMs: Number.NEGATIVE_INFINITY,
});

interface Reserved {
  evidence: string | undefined;
  isNew: boolean;
  bytes: number;
}

/** Charges at once, because other webhooks may be admitted before this one is stored. */
function reserve(account: Account, { evidence, isNew, bytes }: Reserved): Permit {
  account.cost += idleCost;
  account.bytes += bytes;
  const { promise: inFlight, resolve } = Promise.withResolvers<void>();
  if (isNew && evidence !== undefined) account.evidence.set(evidence, inFlight);
  return {
    isAdmitted: true,
    isNew,
    commit({ isChange = false, isSettled = false } = {}) {
      if (isChange) account.cost += changeCost - idleCost;
      if (isSettled) account.limits = settledLimits;
      if (evidence !== undefined) account.evidence.set(evidence, "stored");
      resolve();
    },
    release() {
      account.cost -= idleCost;
      account.bytes -= bytes;
      if (evidence !== undefined && account.evidence.get(evidence) === inFlight) account.evidence.delete(evidence);
      resolve();
    },
  };
}

/**
 * A text that differs where two webhooks of a payment state different facts: the proof, the payment, the outcome or the money.
 * It is the same for all webhooks that are only a reason to check. A claim with another reference than the payment's is only a
 * reason to check too, but only PostgreSQL knows that.
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
  // The reason of a success is that its amount cannot be read. The reason of a failure may vary between two copies.
  const unread = status === "succeeded" ? reason : undefined;
  return JSON.stringify([proof, reference, ownReference, status, receipt, amountMinor?.toString(), currency, unread]);
}
