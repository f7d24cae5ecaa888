/**
 * Stores webhooks in PostgreSQL. The statement that acts on a webhook also stores its bytes, so a webhook that was acted on
 * is never lost. Recording a webhook twice is harmless, because evidence only raises a payment's status. Any number may run at once.
 */
import type { IncomingHttpHeaders } from "node:http";
import { HubError } from "../errors.ts";
import { messageOf } from "../log.ts";
import type { InboxRow } from "../order/evidence.ts";
import type { Outcome } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import type { WebhookResult } from "../order/tables.ts";
import type { Claim, Provider } from "../provider/provider.ts";
import type { Inbox } from "./inbox.ts";
import type { IncomingWebhook, Received, Recorded } from "./incoming.ts";
import type { ConfirmOnce } from "./subscription.ts";

export interface RecordOptions {
  store: Pick<OrderStore, "advance" | "checkNow" | "locate" | "locateOwn">;
  inbox: Pick<Inbox, "insert" | "refuse">;
  /** Applies the parked webhooks that name this reference. Never rejects. */
  applyParked: (provider: string, reference: string) => Promise<void>;
  confirmOnce: ConfirmOnce;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

type Stored = Pick<Recorded, "checkId"> & { result: WebhookResult };

/** A claim and the row to store for it. */
interface ClaimRow {
  provider: Provider;
  row: InboxRow;
  claim: Claim;
  paymentId?: string;
  isUnbudgeted: boolean;
}

/**
 * Stores the webhook and applies its claim. `isUnbudgeted`: its sender knew the payment's URL secret, or it comes from the
 * spool. Throws `store_unavailable` when PostgreSQL cannot be reached, `rate_limited` beyond the inbox's budgets, and
 * `provider_unavailable` when a subscription could not be confirmed.
 */
export async function recordWebhook(
  { provider, webhook, translation }: IncomingWebhook,
  isUnbudgeted: boolean,
  options: RecordOptions,
): Promise<Recorded> {
  const { paymentId: addressedId, headers, body } = webhook;
  const row = { provider: provider.name, headers: withoutCredentials(headers), body };
  if (translation instanceof HubError) {
    const proof = addressedId !== undefined ? "secret" : "none";
    return recordError({ ...row, proof }, addressedId, translation, options);
  }
  const { proof } = translation;
  const paymentId = translation.paymentId ?? (await locate(options.store, provider.name, translation));
  const known = paymentId !== undefined && { paymentId };
  const stored = await recordClaim(
    { provider, row: { ...row, proof }, claim: translation, isUnbudgeted, ...known },
    options,
  );
  return { proof, ...stored, ...known };
}

/** The payment that the claim's reference names. */
export const locate = async (
  store: Pick<OrderStore, "locate">,
  provider: string,
  { reference }: Claim,
): Promise<string | undefined> => (reference === undefined ? undefined : store.locate(provider, reference));

/** Stores a webhook without a claim for audit. */
async function recordError(
  row: InboxRow,
  paymentId: string | undefined,
  refusal: HubError,
  { inbox, log }: RecordOptions,
): Promise<Received> {
  const { proof, provider } = row;
  if (refusal.code === "webhook_rejected") {
    await inbox
      .refuse(row, refusal.message)
      .catch((err: unknown) =>
        log.warn({ event: "webhook.refused.not_stored", provider, err }, "Could not store a refused webhook"),
      );
    return { proof, result: "refused", refusal };
  }
  const known = paymentId !== undefined && { paymentId };
  await inbox.insert({ ...row, ...known, result: "unreadable", error: refusal.message });
  return { proof, result: "unreadable", refusal, ...known };
}

async function recordClaim(input: ClaimRow, options: RecordOptions): Promise<Stored> {
  const { provider, row, claim, paymentId } = input;
  const { outcome, proof, isHint, subscribeUrl } = claim;
  if (subscribeUrl) {
    const stored = await insert(input, "nothing", options);
    await options.confirmOnce(subscribeUrl, async (url) => provider.confirmSubscription?.(url));
    return stored;
  }
  if (paymentId === undefined) {
    // A signed hint without a payment here belongs to another system: no later reference will match it.
    return isHint ? insert(input, "nothing", options) : recordUnmatched(input, options);
  }
  // Unproven evidence only makes the node ask the provider (G7).
  if (proof === "none" || isHint) return insert(input, "hint", options);
  if (!outcome) return insert(input, "nothing", options);
  return applyOutcome(row, paymentId, outcome, options);
}

async function insert(
  { row, claim: { reference }, paymentId, isUnbudgeted }: ClaimRow,
  result: "unmatched" | "nothing" | "hint",
  { inbox }: RecordOptions,
): Promise<Stored> {
  const mayCheck = await inbox.insert({
    ...row,
    isUnbudgeted,
    result,
    ...(paymentId !== undefined && { paymentId }),
    ...(reference !== undefined && { reference }),
  });
  const isDue = mayCheck && result === "hint" && paymentId !== undefined;
  return { result, ...(isDue && { checkId: paymentId }) };
}

async function applyOutcome(
  row: InboxRow,
  paymentId: string,
  outcome: Outcome,
  { store, inbox }: RecordOptions,
): Promise<Stored> {
  try {
    const { result } = await store.advance(paymentId, outcome, row);
    return { result, ...(result === "hint" && { checkId: paymentId }) };
  } catch (error) {
    // A lock timeout, a deadlock, or bytes that no column accepts. The bytes are stored, and redelivery tries them again.
    const detail = messageOf(error instanceof HubError ? error.cause : error);
    await inbox.insert({ ...row, result: "error", paymentId, error: detail });
    // Not awaited, because it waits for the same lock as the statement that failed.
    store.checkNow(paymentId).catch(() => undefined);
    return { result: "error" };
  }
}

/** Parks a webhook until its reference is known. If it names the payment by our own reference, the payment is checked. */
async function recordUnmatched(input: ClaimRow, options: RecordOptions): Promise<Stored> {
  const { store, applyParked } = options;
  const { reference, ownReference } = input.claim;
  const provider = input.row.provider;
  const ownId = ownReference === undefined ? undefined : await store.locateOwn(provider, ownReference);
  if (ownId !== undefined && reference === undefined) {
    return insert({ ...input, paymentId: ownId, isUnbudgeted: true }, "hint", options);
  }
  await insert(input, "unmatched", options);
  // Another node may have committed the reference since the first look. The bytes are stored, so a failure loses nothing.
  if (reference !== undefined && (await store.locate(provider, reference).catch(() => undefined))) {
    await applyParked(provider, reference);
  }
  if (ownId === undefined) return { result: "unmatched" };
  await store.checkNow(ownId);
  return { result: "unmatched", checkId: ownId };
}

/** Names of headers that carry a credential at some provider. */
const credentialHeader = /authorization|cookie|key|token|secret|password|username/i;

export const withoutCredentials = (headers: IncomingHttpHeaders): Record<string, unknown> =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !credentialHeader.test(name)));
