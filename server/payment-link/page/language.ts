/** The languages of the checkout page. */
import type { Words } from "../../../client-sdk/element/words.ts";
import type { Language } from "../../order/order.ts";
import { sdkWordsOf } from "../../page/language.ts";
import type { PageWords } from "./words.ts";
import { bangla } from "./words-bn.ts";
import { english } from "./words-en.ts";
import { swahili } from "./words-sw.ts";

export interface Spoken {
  locale: Language;
  page: PageWords;
  sdk: Words;
}

const pages: Readonly<Record<Language, PageWords>> = { en: english, sw: swahili, bn: bangla };

export const wordsOf = (lang: Language): Spoken => ({ locale: lang, page: pages[lang], sdk: sdkWordsOf(lang) });
