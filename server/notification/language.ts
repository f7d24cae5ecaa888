/** The languages of notifications. */
import type { Language } from "../order/order.ts";
import type { NotificationWords } from "./words.ts";
import { bangla } from "./words-bn.ts";
import { english } from "./words-en.ts";
import { swahili } from "./words-sw.ts";

const languages: Readonly<Record<Language, NotificationWords>> = { en: english, sw: swahili, bn: bangla };

export const notificationWordsOf = (lang: Language): NotificationWords => languages[lang];
