/**
 * Settles payments whose payer returned from the provider's page. The payer's claim proves nothing: an approval only lets the
 * node complete the payment, and a failure counts only when the provider's answer does not contradict it.
 *
 * Guarantees that one return completes the payment, at most once (G10): the store grants the completion to one return on any
 * node. A crash uses up the grant too, so the caller asks for it only when the provider is ready (`isReadyToComplete`).
 * Any number of returns may be settled at once.
 */

import type { InFlight } from "../in-flight.ts";
import type { Outcome, Payment, Reason } from "../order/order.ts";
import type { OrderStore, Returned } from "../order/store.ts";
import type { Checkout, Provider } from "../provider/provider.ts";
import { Throttled } from "../provider/refusal.ts";

/** The payer's claim, as `Checkout.read` reads it. */
export type ReturnClaim = ReturnType<Checkout["read"]>;

export interface CheckoutProvider extends Provider {
  checkout: Checkout;
}

export interface CompletionOptions {
  store: Pick<OrderStore, "advance" | "clearCompletionLock" | "checkNow" | "slowQueries">;
  /** Checks a due payment within the provider's pace; resolves with the outcome that was stored. */
  check: (paymentId: string) => Promise<Outcome | undefined>;
  /** Whether the budget of checks because of this payment's returns allows one more. */
  isCheckWithin: (paymentId: string) => boolean;
  /** A shutdown waits for these. */
  inFlight: InFlight;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

/**
 * 60 s, because the provider's call may take 30 s, another access token 15 s, and the query afterwards 10 s. The store keeps
 * the clock and the payer from ending the payment for no longer than that.
 */
const completeMsMax = 60_000;

/** 3, because another node may claim the due payment first, and the payer reports a failure only once. */
const failureChecksMax = 3;

/** Whether the provider can complete a payment at once, with all that it needs, such as an access token. */
export async function isReadyToComplete(
  provider: CheckoutProvider,
  { inFlight, log }: Pick<CompletionOptions, "inFlight" | "log">,
): Promise<boolean> {
  try {
    await provider.prepare?.();
    return !inFlight.isGraceOver;
  } catch (err) {
    log.warn(
      { event: "payment.return.not_ready", provider: provider.name, err },
      "A payer returned, but the provider is not ready to complete payments",
    );
    return false;
  }
}

/** Completes or checks the payment of a return, and stores the outcome. Never rejects. */
export function settleReturn(
  provider: CheckoutProvider,
  returned: Returned,
  claim: ReturnClaim,
  options: CompletionOptions,
): Promise<void> {
  const { inFlight, log } = options;
  const { id: paymentId } = returned.payment;
  return inFlight.track(
    settle(provider, returned, claim, options).catch((err: unknown) =>
      log.warn({ event: "payment.return.failed", paymentId, err }, "Could not settle the payment of a returned payer"),
    ),
  );
}

async function settle(
  provider: CheckoutProvider,
  { payment, completes }: Returned,
  claim: ReturnClaim,
  options: CompletionOptions,
): Promise<void> {
  const { store, log } = options;
  const { id: paymentId } = payment;
  const outcome = completes
    ? await complete(provider, payment, options)
    : await checkReturned(paymentId, claim, options);
  const status = outcome?.status;
  log.info(
    { event: "payment.return.settled", paymentId, claim, completes, status },
    "Settled the payment of a returned payer",
  );
  // No money was taken, for example because the payer had not agreed. The payer may still agree.
  if (completes && status === "processing") await store.clearCompletionLock(paymentId);
  if (isFailure(claim) && status === "processing") {
    await store.advance(paymentId, { status: "failed", reason: claim, source: "payer" });
  }
}

async function complete(
  provider: CheckoutProvider,
  payment: Payment,
  { store, inFlight }: CompletionOptions,
): Promise<Outcome | undefined> {
  try {
    const outcome = await inFlight.withDeadline(completeMsMax, (signal) => takeMoney(provider, payment, signal));
    if (outcome) await store.advance(payment.id, outcome);
    return outcome;
  } catch (error) {
    if (error instanceof Throttled) await store.slowQueries(provider.name, error.retryAfterS);
    throw error;
  }
}

/** Completes the payment, and queries it once if the answer is inconclusive. Undefined if neither has evidence. */
export async function takeMoney(
  provider: CheckoutProvider,
  payment: Payment,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  const { isConclusive, outcome } = await provider.checkout.complete(payment, signal);
  if (isConclusive) return outcome;
  const found = await provider.confirm(payment, signal);
  return found?.status === "processing" ? (outcome ?? found) : found;
}

/** The first check of a claimed failure is free, because it may end the payment; a budget limits all other checks. */
async function checkReturned(
  paymentId: string,
  claim: ReturnClaim,
  { store, check, isCheckWithin }: CompletionOptions,
): Promise<Outcome | undefined> {
  const checksMax = isFailure(claim) ? failureChecksMax : 1;
  for (let checks = 0; checks < checksMax; checks += 1) {
    const isFree = isFailure(claim) && checks === 0;
    if (!isFree && !isCheckWithin(paymentId)) return undefined;
    await store.checkNow(paymentId);
    const outcome = await check(paymentId);
    if (outcome) return outcome;
  }
  return undefined;
}

const isFailure = (claim: ReturnClaim): claim is Reason => claim !== undefined && claim !== "approved";
