/** The texts of receipts and alerts. The compiler checks that every language has all of them. */

/** The kinds of alert. At most one mail per kind and hour is sent. */
export const alertKinds = [
  "review",
  "paid_twice",
  "endpoint_disabled",
  "provider_failing",
  "invariant_violated",
] as const;

export type AlertKind = (typeof alertKinds)[number];

export interface ReceiptWords {
  title: string;
  /** Contains `{shop}` and `{amount}`. */
  subject: string;
  /** Contains `{shop}`. */
  thanks: string;
  total: string;
  order: string;
  /** The number by which the provider knows the payment. Contains `{provider}`. */
  receipt: string;
  method: string;
  phone: string;
  /** When it was paid. */
  at: string;
  /** Before a code in plain text. */
  code: string;
  /** The button in the mail, and the page that it opens. */
  open: string;
  openHint: string;
  notTax: string;
  /** Why the payer receives the mail. */
  why: string;
  print: string;
  unknown: readonly [title: string, text: string];
}

interface AlertPhrase {
  /** The heading, with `{count}`. */
  one: string;
  many: string;
  text: string;
  /** Advice to the merchant. */
  advice: string;
}

export interface AlertWords {
  kinds: Readonly<Record<AlertKind, AlertPhrase>>;
  /** Contains `{count}`. */
  more: string;
  /** The amount that arrived, and the amount of the order. Contains `{paid}` and `{amount}`. */
  mismatch: string;
  receiptReused: string;
  currencyMismatch: string;
  /** Contains `{failed}` and `{total}`. */
  failedCalls: string;
  /** Why the merchant receives the mail. */
  why: string;
  /** The same in the sandbox, without a configured address. */
  whyDefault: string;
}

export interface TestMailWords {
  title: string;
  /** Contains `{shop}`. */
  text: string;
  /** Why the recipient has the mail. */
  why: string;
}

export interface NotificationWords {
  receipt: ReceiptWords;
  alert: AlertWords;
  testMail: TestMailWords;
  /** In the subject of a mail about payments that move no money. Contains `{subject}`. */
  testSubject: string;
}
