/** The texts of the element. The compiler checks that every language is complete. */

/** A short title, and a text with the payer's next step. */
export type Phrase = readonly [title: string, text: string];

/** A status, or a status with its reason or action. Phrases may contain `{provider}`, `{phone}` and `{paid}`. */
export type PhraseKey =
  | "connecting"
  | "pending"
  | "processing"
  | "processing.prompt"
  | "processing.redirect"
  | "overdue"
  | "succeeded"
  | "succeeded.late"
  | "succeeded.paid_twice"
  | "succeeded.amount_mismatch"
  | "failed"
  | "failed.cancelled"
  | "failed.insufficient_funds"
  | "failed.wrong_pin"
  | "failed.declined"
  | "failed.limit"
  | "failed.busy"
  | "failed.provider_error"
  | "failed.rejected"
  | "expired"
  | "expired.no_response"
  | "review"
  | "review.amount_mismatch"
  | "unknown"
  | "refused";

export interface Words {
  phrases: Record<PhraseKey, Phrase>;
  /** The title without a network, and what follows it. */
  offline: Phrase;
  /** The prompt has not arrived after a while. May contain `{provider}`. */
  noPrompt: string;
  /** The time to pay has just ended. */
  mayBeLate: string;
  /** Before the merchant's contact. */
  contact: string;
  share: string;
  print: string;
  /** The notice of a test payment, in the sandbox. */
  test: string;
  tryAgain: string;
  /** The page could not start another payment. */
  tryFailed: string;
  /** The label of the link to the provider's own page. May contain `{provider}`. */
  goOn: string;
  left: string;
  /** Contains `{time}`. */
  waited: string;
  reconnecting: string;
  stopped: string;
  order: string;
  receipt: string;
  received: string;
  at: string;
  /** The generic word for a provider without a display name. */
  provider: string;
}
