/** A webhook on its way through this node: as it came, as its provider's adapter reads it, and how it was handled. */
import { HubError } from "../errors.ts";
import type { Outcome } from "../order/order.ts";
import type { WebhookResult } from "../order/tables.ts";
import type { Claim, Provider, Webhook } from "../provider/provider.ts";

/** The webhook's claim, or the error that explains why the webhook has none. */
export type Translation = Claim | HubError;

export interface IncomingWebhook {
  provider: Provider;
  webhook: Webhook;
  translation: Translation;
}

export interface Received {
  /** The payment that the webhook is about, where it is known. */
  paymentId?: string;
  proof: Claim["proof"];
  /**
   * `spooled`: on disk; it is applied when PostgreSQL is back. `failed`: not stored, and the provider gets an error.
   * `repeat`: its evidence is stored, but these bytes may not be.
   */
  result: WebhookResult | "spooled" | "failed";
  /** The error to answer; absent: the provider's acknowledgement. */
  refusal?: HubError;
}

/** `checkId`: the payment to check because of the webhook. It is due already. */
export type Recorded = Received & { checkId?: string };

/** Authenticates and reads a webhook. Throws programmer errors only. */
export async function translate(provider: Provider, webhook: Webhook): Promise<Translation> {
  const authenticity = await provider.authenticate?.(webhook);
  try {
    return provider.translate(webhook, authenticity);
  } catch (error) {
    if (error instanceof HubError) return error;
    throw error;
  }
}

/** The success that the webhook proves. */
export const successOf = (translation: Translation): Outcome | undefined => {
  if (translation instanceof HubError || translation.proof === "none" || translation.isHint) return undefined;
  return translation.outcome?.status === "succeeded" ? translation.outcome : undefined;
};

/** Whether its secret or signature is wrong. */
export const isRejected = (translation: Translation): boolean =>
  translation instanceof HubError && translation.code === "webhook_rejected";

export const isSubscription = (translation: Translation): boolean =>
  !(translation instanceof HubError) && translation.subscribeUrl !== undefined;
