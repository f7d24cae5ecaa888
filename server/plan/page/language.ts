/** The languages of a plan's page. It also has words of the checkout page. */
import type { Language } from "../../order/order.ts";
import { type Spoken as CheckoutSpoken, wordsOf as checkoutWordsOf } from "../../payment-link/page/language.ts";
import type { PlanWords } from "./words.ts";
import { bangla } from "./words-bn.ts";
import { english } from "./words-en.ts";
import { swahili } from "./words-sw.ts";

export interface Spoken extends CheckoutSpoken {
  plan: PlanWords;
}

const plans: Readonly<Record<Language, PlanWords>> = { en: english, sw: swahili, bn: bangla };

export const wordsOf = (lang: Language): Spoken => ({ ...checkoutWordsOf(lang), plan: plans[lang] });
