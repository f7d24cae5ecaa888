/** The texts of the element. The compiler checks that each language has all of them. */

/** A title that is understood at a glance, and a sentence that says what to do. */
export type Phrase = readonly [title: string, text: string];

/** A status, or a status with its reason or the payer's action. `{provider}`, `{phone}` and `{paid}` are filled in. */
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
  /** In the sandbox. */
  test: string;
  tryAgain: string;
  /** To the provider's own page; `{provider}` is filled in. */
  goOn: string;
  left: string;
  /** `{time}` is filled in. */
  waited: string;
  reconnecting: string;
  stopped: string;
  order: string;
  receipt: string;
  received: string;
  at: string;
  /** When the provider has no name that payers know. */
  provider: string;
}
