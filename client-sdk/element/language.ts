/** The languages of the element. English is built in; a page loads each other language when it needs it. */
import type { Words } from "./words.ts";
import { english } from "./words-en.ts";

/** A language's words, and the locale that formats numbers and times. */
export interface Language {
  words: Words;
  locale: string;
}

const languages: Record<string, () => Promise<Words>> = {
  en: async () => english,
  sw: async () => (await import("./words-sw.ts")).swahili,
  bn: async () => (await import("./words-bn.ts")).bangla,
};

/**
 * Chooses the first supported language. Falls back to English, also if another language cannot be loaded. A language without a
 * region takes the one in `preferred`, the visitor's tags.
 */
export async function chooseLanguage(tags: readonly string[], preferred: readonly string[] = []): Promise<Language> {
  const tag = tags.find((one) => languages[languageOf(one)]) ?? "en";
  const locale = preferred.find((one) => one.startsWith(`${tag}-`)) ?? tag;
  try {
    Intl.getCanonicalLocales(locale);
    return { locale, words: (await languages[languageOf(locale)]?.()) ?? english };
  } catch {
    return { locale: "en", words: english };
  }
}

const languageOf = (tag: string): string => tag.toLowerCase().split("-")[0] ?? "";
