/**
 * Decides whether a webhook may be stored, so that one payment's address, or a replayed webhook, fills neither PostgreSQL
 * nor the spool (G12). Only proven webhooks have a budget here; the inbox limits the unproven ones.
 *
 * Guarantees that a success which would decide its payment is admitted although the payment's budget is used up, as far as
 * PostgreSQL can be asked (success-check.ts). While PostgreSQL is away, every success that does not contradict the known
 * terms is admitted, and the spool limits how many are stored. Any number may run at once.
 */
import { HubError } from "../errors.ts";
import type { Outcome } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import type { Claim, Webhook } from "../provider/provider.ts";
import { createWebhookBudget, evidenceOf, type Permit, type Refusal, tooMany, type WebhookBudget } from "./budget.ts";
import type { DatabaseState } from "./check.ts";
import { type IncomingWebhook, isRejected, successOf } from "./incoming.ts";
import { createMinuteBudget } from "./minute-budget.ts";
import { locate } from "./record.ts";
import { createSuccessChecks, type SuccessCheckResult, type SuccessChecks } from "./success-check.ts";

export interface AdmissionOptions {
  store: Pick<OrderStore, "locate" | "assessSuccess">;
  database: DatabaseState;
  hasSpool: boolean;
}

/**
 * Undefined for an unproven webhook. Waits, at most once, while the same evidence is being stored, because the outcome
 * decides whether the copy is admitted. Throws programmer errors only.
 */
export type Admit = (incoming: IncomingWebhook) => Promise<Permit | Refusal | undefined>;

interface Admission extends AdmissionOptions {
  budget: WebhookBudget;
  successChecks: SuccessChecks;
  /** Per provider: proven webhooks that name no payment. */
  isUnnamedWithin: (provider: string) => boolean;
}

/** 300, because a captured webhook that names no payment can be replayed without end, and an honest one is rare. */
const unnamedPerMinuteMax = 300;

export function createAdmission(options: AdmissionOptions): Admit {
  const admission: Admission = {
    ...options,
    budget: createWebhookBudget(),
    successChecks: createSuccessChecks(options.store),
    isUnnamedWithin: createMinuteBudget(unnamedPerMinuteMax),
  };
  return async (incoming) => {
    const first = await admit(admission, incoming);
    if (first?.isAdmitted !== false || !first.inFlight) return first;
    await first.inFlight;
    return admit(admission, incoming);
  };
}

async function admit(
  admission: Admission,
  { provider: { name }, webhook, translation }: IncomingWebhook,
): Promise<Permit | Refusal | undefined> {
  const { budget, isUnnamedWithin } = admission;
  const { paymentId } = webhook;
  if (translation instanceof HubError) {
    if (paymentId === undefined || isRejected(translation)) return undefined;
    return budget.admit(paymentId, { bytes: sizeOf(webhook) });
  }
  if (paymentId === undefined && translation.proof === "none") return undefined;
  const key = paymentId ?? translation.paymentId ?? nameOf(name, translation);
  if (key === undefined) return isUnnamedWithin(name) ? undefined : tooManyUnnamed;
  const size = { evidence: evidenceOf(translation), bytes: sizeOf(webhook) };
  const admitted = budget.admit(key, size);
  const success = successOf(translation);
  if (!success || admitted.isAdmitted || !admitted.error || admitted.inFlight) return admitted;
  const claim = paymentId === undefined ? translation : { ...translation, paymentId };
  const result = await checkSuccess(admission, name, claim, success);
  if (result === "decisive") return budget.admitOverBudget(key, size);
  return result === "try_later" ? { ...admitted, error: tooMany(1) } : admitted;
}

/** Whether an over-budget success would decide its payment. */
async function checkSuccess(
  { store, database, hasSpool, successChecks }: Admission,
  provider: string,
  claim: Claim,
  success: Outcome,
): Promise<SuccessCheckResult> {
  const unchecked = hasSpool ? "decisive" : "not_decisive";
  const { paymentId: namedId } = claim;
  if (database.isAway) {
    const isContradicted = namedId !== undefined && successChecks.isContradicted(namedId, success);
    return isContradicted ? "not_decisive" : unchecked;
  }
  try {
    const paymentId = namedId ?? (await locate(store, provider, claim));
    return paymentId === undefined ? "not_decisive" : await successChecks.check(paymentId, success);
  } catch (error) {
    // A success whose bytes no column accepts cannot match the payment's terms.
    if (!(error instanceof HubError) || error.code !== "store_unavailable") return "not_decisive";
    database.isAway = true;
    return unchecked;
  }
}

const sizeOf = ({ headers, body }: Webhook): number => body.length + JSON.stringify(headers).length;

/** The budget's key for a payment whose id the claim does not state. */
const nameOf = (provider: string, { reference, ownReference }: Claim): string | undefined => {
  if (reference !== undefined) return `${provider} ${reference}`;
  return ownReference === undefined ? undefined : `${provider} own ${ownReference}`;
};

const tooManyUnnamed: Refusal = {
  isAdmitted: false,
  error: new HubError("rate_limited", "Too many webhooks that name no payment", { retryAfterS: 60 }),
  shouldCheck: false,
};
