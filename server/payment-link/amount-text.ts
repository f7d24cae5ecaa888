/** Amounts as payers type them. */

import { plainPhone } from "../phone-text.ts";
import { minorDigits, parseMinor } from "../provider/money.ts";

/** Digits in groups of two or three, as in 1,500 and 1,00,000, or without groups; then at most three decimals. */
const form = /^(?:\d{1,3}(?:[, ]\d{2,3})*[, ]\d{3}|\d+)(?:\.(\d{1,3}))?$/;

/**
 * The amount in minor units, in the digits of any script, with or without the currency. Undefined for text that is no amount, or that
 * could be read as two: with more decimals than the currency has, or with a comma before them.
 */
export function readAmountText(text: string, currency: string): number | undefined {
  // The digits of other scripts and invisible characters are those that people type in phones too.
  const plain = plainPhone(text).toUpperCase().replace(currency, "").trim();
  const found = form.exec(plain);
  const digits = minorDigits(currency);
  if (!found || (found[1]?.length ?? 0) > digits) return undefined;
  const amount = parseMinor(plain.replace(/[, ]/g, "").replace(/^0+(?=\d)/, ""), digits);
  return amount === undefined || amount === 0n ? undefined : Number(amount);
}
