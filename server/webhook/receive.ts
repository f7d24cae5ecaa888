/**
 * Takes webhooks: authenticates and translates, admits within the budgets, stores, and checks the payment.
 *
 * Guarantees that a webhook for which `receive` resolves with a result other than `failed` is on disk, so that a 2xx may be
 * sent (G1): in PostgreSQL, written by the statement that acts on it, or in the spool while PostgreSQL is away. A `repeat`
 * beyond its payment's budget is not stored again: the same evidence is. Any number of webhooks may be received at once,
 * and one may be applied twice, which is harmless because evidence only raises a payment's status.
 */
import { HubError } from "../errors.ts";
import type { OrderStore } from "../order/store.ts";
import type { Provider, Webhook } from "../provider/provider.ts";
import { type Admit, createAdmission } from "./admit.ts";
import type { Permit, Refusal } from "./budget.ts";
import { startCatchUp } from "./catch-up.ts";
import { createPaymentChecks, type DatabaseState, type PaymentChecks } from "./check.ts";
import type { Inbox } from "./inbox.ts";
import {
  type IncomingWebhook,
  isRejected,
  isSubscription,
  type Received,
  type Recorded,
  successOf,
  type Translation,
  translate,
} from "./incoming.ts";
import { type RecordOptions, recordWebhook, withoutCredentials } from "./record.ts";
import type { Priority, Spool } from "./spool.ts";
import { createConfirmOnce } from "./subscription.ts";

export interface Receiver {
  /**
   * `rejection`: why the webhook proves nothing, when the caller found the URL's secret wrong. Operating errors are in the
   * result's `refusal`; throws programmer errors only.
   */
  receive(provider: Provider, webhook: Webhook, rejection?: HubError): Promise<Received>;
  close(): Promise<void>;
}

export interface ReceiverOptions extends Omit<RecordOptions, "confirmOnce"> {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "checkNow" | "locate" | "locateOwn" | "assessSuccess">;
  inbox: Pick<Inbox, "insert" | "refuse">;
  /** Absent: webhooks are refused while PostgreSQL is away. */
  spool?: Spool;
  isDatabaseUp: () => Promise<boolean>;
  /**
   * Asks the provider of a due payment. Resolves when the answer is stored, or when this node does not ask. Never rejects.
   */
  check: (paymentId: string) => Promise<unknown>;
}

interface Parts extends ReceiverOptions, Pick<RecordOptions, "confirmOnce"> {
  database: DatabaseState;
  checks: PaymentChecks;
  admit: Admit;
}

export function createReceiver(options: ReceiverOptions): Receiver {
  const { store, spool, check } = options;
  const database: DatabaseState = { isAway: false };
  const parts: Parts = {
    ...options,
    database,
    checks: createPaymentChecks({ store, database, check }),
    admit: createAdmission({ store, database, hasSpool: spool !== undefined }),
    confirmOnce: createConfirmOnce(options),
  };
  const catchUp = startCatchUp(parts);
  return {
    receive: (provider, webhook, rejection) => receive(parts, provider, webhook, rejection),
    close: catchUp.close,
  };
}

async function receive(parts: Parts, provider: Provider, webhook: Webhook, rejection?: HubError): Promise<Received> {
  const incoming = { provider, webhook, translation: rejection ?? (await translate(provider, webhook)) };
  const admitted = await parts.admit(incoming);
  if (admitted?.isAdmitted === false) return refuse(parts, incoming, admitted);
  const { checkId, ...received } = await storeWithPermit(parts, incoming, admitted);
  if (checkId !== undefined) {
    // An unauthenticated client gets its answer at once, so that it holds no connection open.
    const isUnauthenticated = webhook.paymentId === undefined && received.proof === "none" && !provider.signsWebhooks;
    await parts.checks.checkDue(checkId, !isUnauthenticated);
  }
  return received;
}

/** Refuses a webhook beyond its payment's budget, and checks the payment where the webhook might be true. */
function refuse(
  { checks, log }: Parts,
  { provider, webhook, translation }: IncomingWebhook,
  { error, shouldCheck }: Refusal,
): Received {
  const isError = translation instanceof HubError;
  const proof = isError ? "secret" : translation.proof;
  const paymentId = webhook.paymentId ?? (isError ? undefined : translation.paymentId);
  const known = paymentId !== undefined && { paymentId };
  if (shouldCheck && paymentId !== undefined) {
    log.warn(
      { event: "webhook.budget.exceeded", provider: provider.name, ...known },
      "Too many different webhooks of one payment; checking the payment",
    );
    // Not awaited, because the payment may be locked.
    checks.checkNow(paymentId);
  }
  return error ? { proof, result: "failed", refusal: error, ...known } : { proof, result: "repeat", ...known };
}

/** Charges the permit for a stored webhook, and gives it back otherwise. */
async function storeWithPermit(parts: Parts, incoming: IncomingWebhook, permit: Permit | undefined): Promise<Recorded> {
  const { translation } = incoming;
  try {
    const stored = await store(parts, incoming, priorityOf(translation, permit?.isNew ?? true));
    if (stored.result === "failed") permit?.release();
    else permit?.commit({ isChange: stored.result === "applied", isSettled: isSettledBy(stored, translation) });
    return stored;
  } catch (error) {
    permit?.release();
    throw error;
  }
}

/** Stores the webhook in PostgreSQL, or in the spool while PostgreSQL is away. */
async function store(parts: Parts, incoming: IncomingWebhook, priority: Priority): Promise<Recorded> {
  const { database } = parts;
  const { paymentId } = incoming.webhook;
  if (database.isAway) {
    const spooled = await spoolWebhook(parts, incoming, priority);
    if (spooled) return spooled;
  }
  try {
    return await recordWebhook(incoming, paymentId !== undefined, parts);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    const { translation } = incoming;
    const proof = translation instanceof HubError ? "none" : translation.proof;
    const failed: Received = {
      proof,
      result: "failed",
      refusal: error,
      ...(paymentId !== undefined && { paymentId }),
    };
    if (error.code !== "store_unavailable") return failed;
    database.isAway = true;
    return (await spoolWebhook(parts, incoming, priority)) ?? failed;
  }
}

/** Undefined when the webhook may not be spooled, because it is unproven, or could not be. */
async function spoolWebhook(
  { spool, checks, log }: Parts,
  { provider: { name: provider }, webhook, translation }: IncomingWebhook,
  priority: Priority,
): Promise<Received | undefined> {
  const { paymentId, headers, body } = webhook;
  const isError = translation instanceof HubError;
  const proof = isError ? "secret" : translation.proof;
  // A subscription is not spooled, because visiting its address would delay the webhooks behind it. Its sender retries.
  const isProven = paymentId !== undefined || (proof === "signature" && !isSubscription(translation));
  if (!spool || !isProven || isRejected(translation)) return undefined;
  const known = paymentId !== undefined && { paymentId };
  try {
    await spool.append({ provider, headers: withoutCredentials(headers), body, ...known }, priority);
  } catch (err) {
    if (err instanceof HubError) {
      if (paymentId !== undefined) checks.postpone(paymentId);
      return { proof, result: "failed", refusal: err, ...known };
    }
    log.warn({ event: "webhook.spool.failed", provider, err }, "Could not spool a webhook");
    return undefined;
  }
  return { proof, result: "spooled", ...known, ...(isError && { refusal: translation }) };
}

function priorityOf(translation: Translation, isNew: boolean): Priority {
  if (!isNew) return "repeat";
  return successOf(translation) ? "success" : "new";
}

/** Whether the payment is known to have ended, by this webhook or before it. */
function isSettledBy({ result }: Received, translation: Translation): boolean {
  const status = translation instanceof HubError ? undefined : translation.outcome?.status;
  const isEnd = status !== undefined && status !== "pending" && status !== "processing";
  return isEnd && (result === "applied" || result === "repeat");
}
