/**
 * Asks a provider for the money of a payment just opened: once, in the background, and only in the process that opened
 * it. If that process dies, nobody asks again: whether the payer was prompted is then unknown, and a webhook, a query
 * or the deadline settles it.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { UrlSecrets } from "../auth/keys.ts";
import { maskPhone, type Outcome, type Payment } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import { Declined, type Initiated, type Provider, type Urls } from "../provider/provider.ts";
import { tokenDeadlineMs } from "../provider/token-client.ts";
import { createInFlight } from "./in-flight.ts";

export interface Initiator {
  /** Resolves when the provider has answered and that is stored, or it is known that the answer is unknown. Never throws. */
  start(payment: Payment): Promise<void>;
  /** Resolves when every call under way has ended and is stored; after 10 s their answers are given up as unknown. */
  close(): Promise<void>;
}

export interface InitiatorOptions {
  providers: ReadonlyMap<string, Provider>;
  store: Pick<OrderStore, "advance" | "isPayable">;
  /** Make the secret parts of the addresses that providers are given. */
  secrets: { webhook: UrlSecrets; return: UrlSecrets };
  /** Hears of a reference that is stored now, of a provider whose webhooks may have come before. */
  onReference: (provider: string, reference: string) => Promise<void>;
  /** Base of the URLs given to providers. */
  publicUrl: () => string;
  log: { info(details: object, message: string): void; warn(details: object, message: string): void };
}

const deadlineMs = 10_000;

export function createInitiator(options: InitiatorOptions): Initiator {
  const { providers, store, secrets, onReference, publicUrl, log } = options;
  const inFlight = createInFlight();

  /** Each is made when it is asked for: no provider wants both. */
  const urlsOf = ({ id, provider }: Payment): Urls => ({
    get webhook() {
      return new URL(`${publicUrl()}/webhooks/${provider}/${secrets.webhook.seal(provider, id)}`);
    },
    get return() {
      return new URL(`${publicUrl()}/return/${secrets.return.seal(provider, id)}`);
    },
  });

  const ask = async (payment: Payment): Promise<Outcome | undefined> => {
    const provider = providers.get(payment.provider);
    if (!provider) throw new Error(`no provider ${payment.provider}`);
    try {
      await provider.prepare?.();
      // A late success of an earlier attempt may have come while this one got ready.
      if (payment.attempt > 1 && !(await store.isPayable(payment.id))) {
        throw new Declined("rejected", "the order was paid meanwhile, so the payer was not asked again");
      }
      const initiate = (signal: AbortSignal) => provider.initiate(payment, urlsOf(payment), signal);
      // Fetching an access token may come first.
      return accepted(payment, await inFlight.within(tokenDeadlineMs + deadlineMs, initiate));
    } catch (error) {
      if (!(error instanceof Declined)) throw error;
      log.info({ paymentId: payment.id, provider: provider.name, reason: error.reason }, `declined: ${error.message}`);
      return { status: "failed", reason: error.reason, source: "reply" };
    }
  };

  const askAndStore = async (payment: Payment): Promise<void> => {
    const { id: paymentId, orderId, provider } = payment;
    // The merchant's answer goes first: it would wait for whatever is done here in the very tick of the commit.
    await nextTick();
    const startedMs = performance.now();
    try {
      const outcome = await ask(payment);
      if (outcome) await store.advance(payment.id, outcome);
      if (outcome?.reference !== undefined) await onReference(payment.provider, outcome.reference);
      const tookMs = Math.round(performance.now() - startedMs);
      log.info({ paymentId, orderId, provider, status: outcome?.status, tookMs }, "asked");
    } catch (error) {
      log.warn({ paymentId, orderId, provider, err: error }, "asked, answer unknown");
    }
  };

  return {
    start: (payment) => inFlight.add(askAndStore(payment)),
    close: inFlight.close,
  };
}

function accepted(payment: Payment, { reference, redirectUrl }: Initiated): Outcome {
  const outcome: Outcome = { status: "processing", reference, source: "reply" };
  if (redirectUrl !== undefined) return { ...outcome, action: { type: "redirect", url: redirectUrl } };
  return withPrompt(payment, outcome);
}

/** The same outcome; of a payment that is being asked for, with the phone that shows it. */
export function withPrompt({ phone }: Pick<Payment, "phone">, outcome: Outcome): Outcome {
  if (outcome.status !== "processing" || phone === undefined) return outcome;
  return { ...outcome, action: { type: "prompt", phone: maskPhone(phone) } };
}
