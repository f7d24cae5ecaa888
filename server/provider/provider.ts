/**
 * The interface of every provider: four verbs and a few facts.
 *
 * Guarantees asked of an adapter: `initiate` sends at most one request for money per call; `translate` is pure;
 * `confirm` never moves money and may be called any number of times; nothing it throws carries a secret.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Outcome, Payment, Reason } from "../order/order.ts";

/** What a webhook says, and why we may believe it. */
export interface Claim {
  /** The provider's own handle for the payment. */
  reference?: string;
  /** Our own id of the payment, where the webhook proves or names it. */
  paymentId?: string;
  /** Our own reference in the request for money, where that is not the payment's id. It names the payment and proves nothing. */
  ownReference?: string;
  /** Absent when the webhook says nothing that changes a payment. */
  outcome?: Outcome;
  /** `signature`: over these bytes. `secret`: a URL or header only the provider knows. `none`: only a hint to ask. */
  proof: "signature" | "secret" | "none";
  /** Proven, and still only a reason to ask the provider: nothing that it states is believed. */
  isHint?: true;
  /** The address that confirms a subscription to the provider's webhooks. The adapter has checked that it is the provider's. */
  subscribeUrl?: URL;
}

/** One webhook as it arrived. */
export interface Webhook {
  /** The payment whose URL secret was right; absent for account-wide webhooks. */
  paymentId?: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** What a signature is worth. `unknown`: what is needed to check it, such as a certificate, cannot be had just now. */
export type Authenticity = "signed" | "unsigned" | "unknown";

/** An answer in the provider's own form. */
export interface Reply {
  status: number;
  contentType: string;
  body: string;
}

/** What the provider can be asked for. Amounts are in minor units. */
export interface Limits {
  minMinor: bigint;
  maxMinor: bigint;
  /** Amounts must be a multiple of this: 100 where only whole shillings can be asked for. */
  stepMinor: bigint;
  /** What a phone must look like in E.164; absent where no phone is prompted. */
  phone?: RegExp;
}

/** Where `initiate` got to: the provider accepted and is asking the payer. */
export interface Initiated {
  reference: string;
  /** What the payer does next; absent means a prompt on the payment's phone. */
  redirectUrl?: string;
}

/** The addresses that a provider is given for one payment. Each carries a secret of its own. */
export interface Urls {
  webhook: URL;
  /** Where the payer's browser comes back to from the provider's own page. */
  return: URL;
}

/** Of providers on whose page the payer agrees, but where the money moves only when we say so. */
export interface Checkout {
  /**
   * What the payer's browser says as it comes back, which proves nothing: `approved` makes us complete the payment, a
   * reason is how it failed unless the provider says otherwise. Undefined: nothing that can be read.
   */
  read(query: Readonly<Record<string, unknown>>): "approved" | Reason | undefined;
  /** Takes the money. Called at most once per payment. Undefined when even asking afterwards taught nothing. */
  complete(payment: Payment, signal: AbortSignal): Promise<Outcome | undefined>;
}

export interface Provider {
  readonly name: string;
  /** ISO 4217. */
  readonly currencies: readonly string[];
  /** ISO 3166-1 alpha-2; local phone forms are read in the first. */
  readonly countries: readonly string[];
  readonly limits: Limits;
  /** Whether `confirm` can say how much was paid. Where it cannot, a success without an amount is accepted as paid. */
  readonly statesAmount: boolean;
  /** Whether `confirm` can say by which receipt it was paid. */
  readonly statesReceipt: boolean;
  /** `confirm` asks nothing about a payment whose reference is not known. */
  readonly needsReference?: true;
  /** When to ask, in seconds after the request for money, if no webhook comes; 10, 15, 20 and 30 by default. */
  readonly checksAtS?: readonly number[];
  /** Webhooks come to one address for all payments, and may name a payment by a reference that we do not know yet. */
  readonly isAccountWide?: true;
  /** Every webhook that `translate` does not throw at is signed. */
  readonly signsWebhooks?: true;
  /** What this provider wants to hear back once a webhook is stored. */
  readonly acknowledgement: Reply;
  /** Fetches ahead what asking needs and may take long, such as an access token. Throws `Declined`. */
  prepare?(): Promise<void>;
  /**
   * Asks for the money, once. Throws `Declined` when it surely did not happen; anything else thrown means unknown.
   */
  initiate(payment: Payment, urls: Urls, signal: AbortSignal): Promise<Initiated>;
  /**
   * Checks a signature that takes more than the webhook and our account, such as the sender's certificate from the network.
   * Called before `translate`, which is given the result. Bounded in time and in calls; never throws.
   */
  authenticate?(webhook: Webhook): Promise<Authenticity>;
  /**
   * Authenticates and reads one webhook. Pure: no clock, network or database. `authenticity` is what `authenticate` found,
   * where there is one; without it such a webhook counts as unsigned.
   * Throws `HubError` `webhook_rejected` or `webhook_unreadable`; `provider_unavailable` for what may be believed only when
   * signed, while that cannot be checked, so that it is sent again.
   */
  translate(webhook: Webhook, authenticity?: Authenticity): Claim;
  /**
   * Asks what really happened; safe to repeat. Three kinds of answer: a settled outcome, `processing` (surely still
   * open), or undefined when the answer teaches nothing or there is no way to ask. Throws when the provider cannot be
   * reached or does not work.
   */
  confirm(payment: Payment, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Confirms a subscription by one request to a claim's `subscribeUrl`. The caller limits how often. Throws `HubError`
   * `provider_unavailable`.
   */
  confirmSubscription?(url: URL): Promise<void>;
  readonly checkout?: Checkout;
}

/** The provider surely did not and will not move money for this call. */
export class Declined extends Error {
  readonly reason: Reason;

  constructor(reason: Reason, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = "Declined";
    this.reason = reason;
  }
}
