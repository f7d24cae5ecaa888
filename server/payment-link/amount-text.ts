/** Amounts as payers type them. */

import { plainPhone } from "../phone-text.ts";
import { minorDigits, parseMinor } from "../provider/money.ts";

/** The signs that people write beside an amount, besides the currency's code. Upper case. */
const signs: Readonly<Record<string, string>> = {
  KES: "KSHS?|SHS?",
  TZS: "TSHS?|SHS?",
  UGX: "USHS?|SHS?",
  RWF: "FRW|RF",
  GHS: "GH₵|GHC|₵",
  // Before the amount only, because `5K` may mean 5,000.
  ZMW: "ZK|K(?= ?\\d)",
  XOF: "F ?CFA|CFA",
  XAF: "F ?CFA|CFA",
  BDT: "৳|TK|TAKA",
};

/** Removes one sign before the amount and one after it. Shillings are also written as `500/=`. */
function withoutSign(text: string, currency: string): string {
  const sign = `(?:${[currency, signs[currency]].filter(Boolean).join("|")})[.]?`;
  return text.replace(new RegExp(`^${sign}|/[=-]$|${sign}$`, "g"), "").trim();
}

/** Digits in groups of two or three, as in 1,500 and 1,00,000, or without groups; then at most three decimals. */
const form = /^(?:\d{1,3}(?:[, ]\d{2,3})*[, ]\d{3}|\d+)(?:\.(\d{1,3}))?$/;

/**
 * The amount in minor units, in the digits of any script, with or without the currency. Undefined for text that is no amount, or that
 * could be read as two: with more decimals than the currency has, or with a comma before them.
 */
export function readAmountText(text: string, currency: string): number | undefined {
  // The digits of other scripts and invisible characters are those that people type in phones too.
  const plain = withoutSign(plainPhone(text).toUpperCase(), currency);
  const found = form.exec(plain);
  const digits = minorDigits(currency);
  if (!found || (found[1]?.length ?? 0) > digits) return undefined;
  const amount = parseMinor(plain.replace(/[, ]/g, "").replace(/^0+(?=\d)/, ""), digits);
  return amount === undefined || amount === 0n ? undefined : Number(amount);
}
