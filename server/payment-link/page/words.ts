/**
 * The texts of the checkout page. The compiler checks that every language has all of them.
 */

import type { Phrase } from "../../../client-sdk/element/words.ts";

export interface PageWords {
  /** The button. Contains `{amount}`. */
  pay: string;
  /** The button without an amount. */
  payOpen: string;
  /** The heading where the payer enters the amount. Contains `{shop}`. */
  payShop: string;
  /** The button after it is pressed. */
  starting: string;
  amount: string;
  /** Contains `{min}` and `{max}`. */
  amountRange: string;
  amountMin: string;
  amountMax: string;
  /** The label of the number. Contains `{provider}`. */
  phoneOf: string;
  /** The label of the number if there are several providers. */
  phone: string;
  phoneHint: string;
  /** Contains `{example}`, a number. */
  example: string;
  /** In place of the number. Contains `{provider}`. */
  pageHint: string;
  method: string;
  /** After the name of a provider that another one has too. Contains `{company}`. */
  via: string;
  /** Says that the payer enters the PIN on the own phone. */
  trust: string;
  /** Says that the payer enters the PIN on the provider's page. Contains `{provider}`. */
  trustPage: string;
  /** The summary of a long list. Contains `{count}`. */
  items: string;
  /** Contains `{time}`. */
  payBy: string;
  /** The link to the merchant's page. Contains `{shop}`. */
  back: string;
  again: string;
  /** Which instalment of its plan it is. Contains `{n}` and `{count}`. */
  part: string;
  /** The same for a plan without an end. Contains `{n}`. */
  partOfEndless: string;
  /** Which instalments it covers. Contain `{n}` and `{to}`, and the first one `{count}`. */
  parts: string;
  partsOfEndless: string;
  /** The link to the page of the plan. */
  plan: string;
  /** The link that reloads the page of an open payment, in a browser without scripts. */
  checkAgain: string;
  closed: Readonly<Record<"open" | "paid" | "cancelled" | "expired", Phrase>>;
  unknown: Phrase;
  /** A payment that another browser started, by its state. Without a reason, which is that payer's alone. */
  elsewhere: Readonly<Record<"inProgress" | "notMade" | "review", Phrase>>;
  fault: {
    phoneMissing: string;
    /** Contains `{example}`, a number. */
    phone: string;
    amountMissing: string;
    /** The range stands below it. */
    amount: string;
    /** An amount with decimals, where the provider takes none. */
    amountWhole: string;
    provider: string;
    inProgress: string;
    /** Contains `{time}`, a duration. */
    phoneLimit: string;
    limit: string;
    /** Contains `{provider}`. */
    providerDown: string;
    other: string;
    /** The form was not sent, because the device has no network. */
    offline: string;
  };
  print: {
    title: string;
    steps: readonly string[];
    /** In place of the second step, where the payer enters the amount. */
    amountStep: string;
    /** The button. */
    button: string;
    /** Before the address. */
    address: string;
  };
}
