/**
 * The text of the SMS to the payer of an order: amount, shop, receipt, and the codes of its results. It fits one part where it can: the
 * shop's name is shortened for that, a code never.
 */
import type { Language } from "../../order/order.ts";
import { isGsm, partsOf, toGsm } from "./parts.ts";

export interface SmsFacts {
  lang: Language;
  /** As the payer reads it, with the currency. */
  amount: string;
  /** The name of the shop. */
  shop: string;
  /** The display name of the payment company, if payers know it by one. */
  provider?: string | undefined;
  receipt?: string | undefined;
  /** Of tickets and vouchers, in their order. */
  codes: readonly string[];
}

/** The parts of one language. `{shop}`, `{amount}`, `{provider}`, `{receipt}`, `{codes}` and `{count}` are replaced. */
interface SmsWords {
  paid: string;
  receipt: string;
  receiptOf: string;
  code: string;
  codes: string;
  more: string;
}

/** The Swahili and Bangla texts are not reviewed by a native speaker. */
const words: Readonly<Record<Language, SmsWords>> = {
  en: {
    paid: "{amount} paid to {shop}.",
    receipt: "Receipt {receipt}.",
    receiptOf: "{provider} receipt {receipt}.",
    code: "Code: {codes}",
    codes: "Codes: {codes}",
    more: " and {count} more",
  },
  sw: {
    paid: "{amount} imelipwa kwa {shop}.",
    receipt: "Risiti {receipt}.",
    receiptOf: "Risiti ya {provider} {receipt}.",
    code: "Msimbo: {codes}",
    codes: "Misimbo: {codes}",
    more: " na mingine {count}",
  },
  bn: {
    paid: "{shop}: {amount} পরিশোধিত।",
    receipt: "রসিদ {receipt}।",
    receiptOf: "{provider} রসিদ {receipt}।",
    code: "কোড: {codes}",
    codes: "কোড: {codes}",
    more: " এবং আরও {count}",
  },
};

/** 3, because each part costs as much as a message, and phones join more of them unreliably. */
const partsMax = 3;

/** A name is not shortened below this, because it would be unknown to the payer. */
const shopLengthMin = 12;

/** `isGsmOnly`: the gateway refuses other texts. Bangla is then replaced by English, and what cannot be written is left out. */
export function composeSms(facts: SmsFacts, { isGsmOnly }: { isGsmOnly: boolean }): string {
  const lang = isGsmOnly && facts.lang === "bn" ? "en" : facts.lang;
  const usable = writable({ ...facts, lang }, isGsmOnly);
  const [full = "", ...shorter] = variants(usable).map((variant) => textOf(usable, variant, usable.codes.length));
  const fitting = [full, ...shorter].find((text) => partsOf(text).parts === 1);
  return fitting ?? withFewerCodes(usable, full);
}

/** The text of a test. English, because it goes to the merchant. */
export function composeTestSms(shop: string, { isGsmOnly }: { isGsmOnly: boolean }): string {
  const name = toGsm(shop) ?? (isGsmOnly ? "" : shop);
  return `Test SMS${name === "" ? "" : ` from ${name}`}. Your payers receive receipts like this.`;
}

/** The facts in characters that the text may have. Codes stay as they are, because another character is another code. */
function writable(facts: SmsFacts, isGsmOnly: boolean): SmsFacts {
  const plain = (text: string): string => toGsm(text) ?? (isGsmOnly ? "" : text);
  if (facts.lang === "bn") return facts;
  return {
    ...facts,
    amount: plain(facts.amount),
    shop: plain(facts.shop),
    provider: facts.provider && plain(facts.provider),
    receipt: facts.receipt && plain(facts.receipt),
    codes: isGsmOnly ? facts.codes.filter(isGsm) : facts.codes,
  };
}

interface Variant {
  shop: string;
  hasProvider: boolean;
}

/** From the complete one to the shortest. */
function variants({ shop }: SmsFacts): Variant[] {
  const shops = [shop, ...shortened(shop)];
  return [{ shop, hasProvider: true }, ...shops.map((name) => ({ shop: name, hasProvider: false }))];
}

/** The name without its last words, and at last cut inside a word. */
function shortened(shop: string): string[] {
  const all = shop.split(" ");
  const fewer = all.slice(1).map((_, index) =>
    all
      .slice(0, all.length - 1 - index)
      .join(" ")
      .replace(/[,;:&-]+$/, ""),
  );
  const long = fewer.filter(({ length }) => length >= shopLengthMin);
  const cut = [...shop].slice(0, shopLengthMin).join("").trim();
  return cut.length < shop.length ? [...long, cut] : long;
}

function textOf(facts: SmsFacts, { shop, hasProvider }: Variant, codeCount: number): string {
  const { paid, receipt, receiptOf, code, codes, more } = words[facts.lang];
  const shown = facts.codes.slice(0, codeCount);
  const left = facts.codes.length - shown.length;
  const isNamed = hasProvider && Boolean(facts.provider);
  const templates = [
    shop === "" ? paid.replace(/ ?[^ ]* ?\{shop\}:?/, "") : paid,
    ...(facts.receipt ? [isNamed ? receiptOf : receipt] : []),
    ...(facts.codes.length > 0 ? [(facts.codes.length > 1 ? codes : code) + (left > 0 ? more : "")] : []),
  ];
  const values: Record<string, string> = {
    ...{ amount: facts.amount, shop, provider: facts.provider ?? "", receipt: facts.receipt ?? "" },
    ...{ codes: shown.join(", "), count: String(left) },
  };
  // In one step, so that a name with braces is not replaced again.
  return templates.join(" ").replace(/\{(\w+)\}/g, (_whole, name: string) => values[name] ?? "");
}

/** The longest text of at most `partsMax` parts; with one code at least. */
function withFewerCodes(facts: SmsFacts, full: string): string {
  const variant = variants(facts).at(-1) ?? { shop: facts.shop, hasProvider: false };
  let text = full;
  for (let count = facts.codes.length; count > 0 && partsOf(text).parts > partsMax; count -= 1) {
    text = textOf(facts, variant, count);
  }
  return text;
}
