/** The languages of the element. English is part of it; a page fetches each of the others when it needs it. */
import type { Words } from "./words.ts";
import { english } from "./words-en.ts";

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
