/**
 * The interface of every provider: four verbs and a few facts.
 *
 * An adapter guarantees that `initiate` sends at most one request for money per call (G10), that `translate` is pure, that
 * `confirm` never moves money and may be called any number of times, and that no error contains a secret.
 */
import type { IncomingHttpHeaders } from "node:http";
import { providerNames } from "../../client-sdk/provider-name.ts";
import { HubError } from "../errors.ts";
import type { Outcome, Payment, Reason } from "../order/order.ts";

/** The content of a webhook, and the proof that it comes from the provider. */
export interface Claim {
  /** The provider's identifier of the payment. */
  reference?: string;
  /** Our id of the payment: proven by the URL's secret, or stated in the webhook. */
  paymentId?: string;
  /** Our reference in the request for money, if that is not the payment's id. It names the payment and proves nothing. */
  ownReference?: string;
  /** Absent if the webhook states nothing that changes a payment. */
  outcome?: Outcome;
  /**
   * `signature`: the provider signed these bytes. `secret`: a URL or a header that only the provider knows. `none`: no proof,
   * so the claim only causes a query (G7).
   */
  proof: "signature" | "secret" | "none";
  /** Proven, but it only causes a query: none of its statements is used. */
  isHint?: true;
  /** A GET of this URL confirms the subscription to webhooks. The adapter has checked that it is the provider's. */
  subscribeUrl?: URL;
}

/** One webhook as it arrived. */
export interface Webhook {
  /** The payment that the secret in the URL belongs to; absent for account-wide webhooks. */
  paymentId?: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** The result of a signature check. `unknown`: it cannot be checked now, for example without the certificate. */
export type Authenticity = "signed" | "unsigned" | "unknown";

/** An HTTP reply in the form that the provider expects. */
export interface Reply {
  status: number;
  contentType: string;
  body: string;
}

/** The payments that the provider accepts. Amounts are in minor units. */
export interface Limits {
  minMinor: bigint;
  maxMinor: bigint;
  /** Amounts must be a multiple of this: 100 for whole shillings. */
  stepMinor: bigint;
  /** The pattern of a phone in E.164; absent if the provider prompts no phone. */
  phone?: RegExp;
  /** The pattern of a phone that pays in this currency: by default `phone`. */
  phoneIn?(currency: string): RegExp;
}

/** The provider accepted the request and asks the payer. */
export interface Initiated {
  reference: string;
  /** The page that the payer visits next; absent if the payment's phone shows a prompt. */
  redirectUrl?: string;
}

/** The URLs that a provider gets for one payment. Each has a secret of its own. */
export interface Urls {
  webhook: URL;
  /** The payer's browser returns to it from the provider's page. */
  return: URL;
}

/** For providers on whose page the payer approves the payment, and that move the money only on our request. */
export interface Checkout {
  /**
   * Reads the query string of the payer's return, which proves nothing (G7). `approved` makes Tukio complete the payment. A
   * reason is how the payment failed, unless the provider states otherwise. Undefined if the query string is unreadable.
   */
  read(query: Readonly<Record<string, unknown>>): "approved" | Reason | undefined;
  /** Takes the money. Called at most once per payment (G10). The caller queries the payment if the answer is inconclusive. */
  complete(payment: Payment, signal: AbortSignal): Promise<Completion>;
}

/** The result of the request to take the money. */
export interface Completion {
  isConclusive: boolean;
  /** If inconclusive: the outcome in case that a query then finds no payment. */
  outcome?: Outcome;
  /** The provider gave no usable answer, so the money may have moved. */
  isLost?: true;
}

/** The answer to a call that checks an account. */
export interface Probe {
  status: number;
  /** False for an empty answer, HTML, and anything else that the API does not send. */
  isJson: boolean;
  /** The company's own words about an error, without credentials. */
  text: string;
  /** The body, if it is JSON. */
  body: unknown;
}

export interface Provider {
  readonly name: string;
  /** ISO 4217. */
  readonly currencies: readonly string[];
  /** ISO 3166-1 alpha-2. A phone in local form is read as one of these. */
  readonly countries: readonly string[];
  /** Those of `countries` that pay in this currency: by default all. */
  countriesOf?(currency: string): readonly string[];
  readonly limits: Limits;
  /** Whether `confirm` states the paid amount. If not, a success without an amount is accepted as paid in full. */
  readonly statesAmount: boolean;
  /** Whether `confirm` states the receipt. */
  readonly statesReceipt: boolean;
  /** `confirm` makes no call for a payment without a reference. */
  readonly needsReference?: true;
  /** When to query without a webhook, in seconds after the request for money: 10, 15, 20 and 30 by default. */
  readonly checksAtS?: readonly number[];
  /** The provider sends the webhooks of all payments to one URL. They may name a reference that is not stored yet. */
  readonly isAccountWide?: true;
  /** Every webhook that `translate` accepts is signed. */
  readonly signsWebhooks?: true;
  /** The reply to a stored webhook (G1). */
  readonly acknowledgement: Reply;
  /** Fetches an access token, so that the request's deadline need not include it. Throws `Declined`. */
  prepare?(): Promise<void>;
  /**
   * Sends one request for money. Throws `Declined` if the provider certainly does not ask the payer. Any other error means
   * that this is unknown.
   */
  initiate(payment: Payment, urls: Urls, signal: AbortSignal): Promise<Initiated>;
  /**
   * Checks a signature for which the webhook and the account are not enough, for example because a certificate must be
   * fetched. Tukio calls it before `translate` and passes on the result. Bounded in time and calls; never throws.
   */
  authenticate?(webhook: Webhook): Promise<Authenticity>;
  /**
   * Authenticates and reads one webhook. Pure: no clock, network or database. `authenticity` is the result of `authenticate`;
   * an absent one means `unsigned`.
   * Throws `HubError` `webhook_rejected` or `webhook_unreadable`. Throws `provider_unavailable` if the webhook needs a
   * signature that cannot be checked now, so that the provider sends it again.
   */
  translate(webhook: Webhook, authenticity?: Authenticity): Claim;
  /**
   * Queries the payment; safe to repeat. Returns a settled outcome, `processing` if the payment is certainly still open, or
   * undefined if the answer has no evidence or the payment cannot be queried. Throws if the provider cannot be reached or
   * does not work.
   */
  confirm(payment: Payment, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Confirms a subscription by one request to a claim's `subscribeUrl`. The caller limits how often. Throws `HubError`
   * `provider_unavailable`.
   */
  confirmSubscription?(url: URL): Promise<void>;
  readonly checkout?: Checkout;
  /**
   * Makes one call that the account's credentials allow and that changes nothing. Absent if the access token proves them. Throws if the
   * provider cannot be reached.
   */
  probe?(signal: AbortSignal): Promise<Probe>;
}

/** The name by which payers know the provider. A problem has this name, because shops show problems to payers. */
export const displayNameOf = (name: string): string => providerNames[name] ?? "Mobile money";

/** Companies that payers do not know by name, because their networks' names are on the prompt. */
const companies: Readonly<Record<string, string>> = { zenopay: "ZenoPay" };

/** The provider's name for the merchant, who chose it, in texts that a shop may show to payers. */
export const merchantNameOf = (name: string): string =>
  providerNames[name] ?? (companies[name] ? `${displayNameOf(name)} (${companies[name]})` : displayNameOf(name));

/** The provider of a request. Throws `provider_unknown`, which names the enabled ones. */
export function requireProvider(providers: ReadonlyMap<string, Provider>, name: string): Provider {
  const provider = providers.get(name);
  if (provider) return provider;
  const names = [...providers.keys()].map((one) => (providerNames[one] ? `${one} (${providerNames[one]})` : one));
  const message = `must be an enabled provider: ${names.join(", ") || "none is enabled"}`;
  throw new HubError("provider_unknown", `provider: ${message}`, { errors: [{ path: "provider", message }] });
}

/** The provider certainly did not and will not move money for this call. */
export class Declined extends Error {
  readonly reason: Reason;

  constructor(reason: Reason, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.name = "Declined";
    this.reason = reason;
  }
}
