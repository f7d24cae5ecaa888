/**
 * Asks a provider for the money of a payment that was just opened: once, in the background, and only in the process that
 * opened it (G10). If that process dies, no process asks again: the payer may have been prompted, so a webhook, a query or the
 * deadline settles the payment.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { UrlSecrets } from "../auth/keys.ts";
import { createInFlight, type InFlight } from "../in-flight.ts";
import { maskPhone, type Outcome, type Payment } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import { Declined, type Initiated, type Provider, type Urls } from "../provider/provider.ts";
import { tokenDeadlineMs } from "../provider/token-client.ts";

export interface Initiator {
  /** Resolves when the provider's answer is stored, or is known to be unknown. Never rejects. */
  start(payment: Payment): Promise<void>;
  /** Resolves when every call in flight has ended and is stored; after 10 s the remaining answers count as unknown. */
  close(): Promise<void>;
}

export interface InitiatorOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "isPayable">;
  /** Make the secret parts of the URLs that providers get. */
  secrets: { webhook: UrlSecrets; return: UrlSecrets };
  /** Called when a reference was stored, because webhooks that name it may be parked. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** Base of the URLs that providers get. */
  publicUrl: () => string;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const deadlineMs = 10_000;

export function createInitiator(options: InitiatorOptions): Initiator {
  const inFlight = createInFlight();
  return {
    start: (payment) => inFlight.track(initiateSafely(payment, options, inFlight)),
    close: inFlight.close,
  };
}

/** Never rejects. */
async function initiateSafely(payment: Payment, options: InitiatorOptions, inFlight: InFlight): Promise<void> {
  const { store, onReference, log } = options;
  const { id: paymentId, orderId, provider } = payment;
  // The answer to the merchant goes first, because it would wait for the work that starts in the tick of the commit.
  await nextTick();
  const startedMs = performance.now();
  try {
    const outcome = await initiate(payment, options, inFlight);
    await store.advance(paymentId, outcome);
    if (outcome.reference !== undefined) await onReference(provider, outcome.reference);
    const tookMs = Math.round(performance.now() - startedMs);
    const { status } = outcome;
    log.info(
      { event: "provider.initiate.answered", paymentId, orderId, provider, status, tookMs },
      "Provider answered the request for money",
    );
  } catch (err) {
    log.warn(
      { event: "provider.initiate.unknown", paymentId, orderId, provider, err },
      "The provider's answer to the request for money is unknown",
    );
  }
}

/** Throws when the provider's answer is unknown. */
async function initiate(payment: Payment, options: InitiatorOptions, inFlight: InFlight): Promise<Outcome> {
  const { providers, store, log } = options;
  const provider = providers.get(payment.provider);
  if (!provider) throw new Error(`no provider ${payment.provider}`);
  try {
    await provider.prepare?.();
    // An earlier attempt may have succeeded late, while this one was prepared.
    if (payment.attempt > 1 && !(await store.isPayable(payment.id))) {
      throw new Declined("rejected", "the order was paid meanwhile, so the payer was not asked again");
    }
    const urls = urlsOf(payment, options);
    // The call may have to fetch an access token first.
    const initiated = await inFlight.withDeadline(tokenDeadlineMs + deadlineMs, (signal) =>
      provider.initiate(payment, urls, signal),
    );
    return accepted(payment, initiated);
  } catch (error) {
    if (!(error instanceof Declined)) throw error;
    const { reason, message: detail } = error;
    log.info(
      { event: "provider.initiate.declined", paymentId: payment.id, provider: provider.name, reason, detail },
      "Provider declined the request for money",
    );
    return { status: "failed", reason, source: "reply" };
  }
}

/** Each URL is made when it is read, because no provider reads both. */
const urlsOf = ({ id, provider }: Payment, { publicUrl, secrets }: InitiatorOptions): Urls => ({
  get webhook() {
    return new URL(`${publicUrl()}/webhooks/${provider}/${secrets.webhook.seal(provider, id)}`);
  },
  get return() {
    return new URL(`${publicUrl()}/return/${secrets.return.seal(provider, id)}`);
  },
});

function accepted(payment: Payment, { reference, redirectUrl }: Initiated): Outcome {
  const outcome: Outcome = { status: "processing", reference, source: "reply" };
  if (redirectUrl !== undefined) return { ...outcome, action: { type: "redirect", url: redirectUrl } };
  return withPrompt(payment, outcome);
}

/** The same outcome; while it is `processing`, with the prompted phone, masked. */
export function withPrompt({ phone }: Pick<Payment, "phone">, outcome: Outcome): Outcome {
  if (outcome.status !== "processing" || phone === undefined) return outcome;
  return { ...outcome, action: { type: "prompt", phone: maskPhone(phone) } };
}
