/** The languages of the checkout page. What a payment's state means is in the SDK's words, which `<order-status>` shows too. */
import type { Words } from "../../../client-sdk/element/words.ts";
import { bangla as sdkBangla } from "../../../client-sdk/element/words-bn.ts";
import { english as sdkEnglish } from "../../../client-sdk/element/words-en.ts";
import { swahili as sdkSwahili } from "../../../client-sdk/element/words-sw.ts";
import type { Language } from "../../order/order.ts";
import type { PageWords } from "./words.ts";
import { bangla } from "./words-bn.ts";
import { english } from "./words-en.ts";
import { swahili } from "./words-sw.ts";

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
