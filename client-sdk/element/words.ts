/**
 * What the element says, in every language it speaks. The compiler checks that each says all of it. English is always
 * at hand; the others are fetched when a page needs them.
 */
import { english } from "./words-en.ts";

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

/** Words, and the tag to format numbers and times by. */
export interface Language {
  words: Words;
  locale: string;
}

const languages: Record<string, () => Promise<Words>> = {
  en: async () => english,
  sw: async () => (await import("./words-sw.ts")).swahili,
  bn: async () => (await import("./words-bn.ts")).bangla,
};

/** The first language that we speak, else English, also where another one's words cannot be fetched. */
export async function chooseLanguage(tags: readonly string[]): Promise<Language> {
  const locale = tags.find((tag) => languages[languageOf(tag)]) ?? "en";
  try {
    Intl.getCanonicalLocales(locale);
    return { locale, words: (await languages[languageOf(locale)]?.()) ?? english };
  } catch {
    return { locale: "en", words: english };
  }
}

const languageOf = (tag: string): string => tag.toLowerCase().split("-")[0] ?? "";
