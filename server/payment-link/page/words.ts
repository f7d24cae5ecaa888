/**
 * The texts of the checkout page. What a payment's state means is in the SDK's words, which `<order-status>` shows too. The compiler
 * checks that every language is complete.
 */

import type { Phrase, Words } from "../../../client-sdk/element/words.ts";
import { bangla as sdkBangla } from "../../../client-sdk/element/words-bn.ts";
import { english as sdkEnglish } from "../../../client-sdk/element/words-en.ts";
import { swahili as sdkSwahili } from "../../../client-sdk/element/words-sw.ts";
import type { Language } from "../../order/order.ts";
import { bangla } from "./words-bn.ts";
import { english } from "./words-en.ts";
import { swahili } from "./words-sw.ts";

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
  /** Where the payer enters the PIN on the own phone. */
  trust: string;
  /** Where the payer enters the PIN on the provider's page. Contains `{provider}`. */
  trustPage: string;
  /** The summary of a long list. Contains `{count}`. */
  items: string;
  /** Contains `{time}`. */
  payBy: string;
  /** The link to the merchant's page. Contains `{shop}`. */
  back: string;
  again: string;
  /** The heading of the choice of a language, for screen readers. */
  language: string;
  /** The link that reloads the page of an open payment, in a browser without scripts. */
  checkAgain: string;
  closed: Readonly<Record<"open" | "paid" | "cancelled" | "expired", Phrase>>;
  unknown: Phrase;
  /** A payment that another browser started. */
  elsewhere: Phrase;
  fault: {
    phoneMissing: string;
    /** Contains `{example}`, a number. */
    phone: string;
    amountMissing: string;
    /** The range stands below it. */
    amount: string;
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
    /** The button. */
    button: string;
    /** Before the address. */
    address: string;
  };
}

export interface Spoken {
  locale: Language;
  page: PageWords;
  sdk: Words;
}

const languages: Readonly<Record<Language, Spoken>> = {
  en: { locale: "en", page: english, sdk: sdkEnglish },
  sw: { locale: "sw", page: swahili, sdk: sdkSwahili },
  bn: { locale: "bn", page: bangla, sdk: sdkBangla },
};

export const wordsOf = (lang: Language): Spoken => languages[lang];

/** Replaces `{name}` by the value of that name. */
export const fillIn = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? "");
