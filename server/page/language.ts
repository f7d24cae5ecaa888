/**
 * The languages of pages and mails for payers, and the words that they share. A payment's state has the SDK's words, which `<order-status>`
 * shows too.
 */
import type { Words } from "../../client-sdk/element/words.ts";
import { bangla } from "../../client-sdk/element/words-bn.ts";
import { english } from "../../client-sdk/element/words-en.ts";
import { swahili } from "../../client-sdk/element/words-sw.ts";
import type { Language } from "../order/order.ts";

/** The names of the languages in themselves. */
export const languageNames: Readonly<Record<Language, string>> = { en: "English", sw: "Kiswahili", bn: "বাংলা" };

/** The name of the choice of a language, for screen readers. */
export const languageLabels: Readonly<Record<Language, string>> = { en: "Language", sw: "Lugha", bn: "ভাষা" };

const sdkWords: Readonly<Record<Language, Words>> = { en: english, sw: swahili, bn: bangla };

export const sdkWordsOf = (lang: Language): Words => sdkWords[lang];

/** Replaces `{name}` by the value of that name. */
export const fillIn = (template: string, values: Readonly<Record<string, string>>): string =>
  template.replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? "");
