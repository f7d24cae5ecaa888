/** Money on the wire, read exactly: from its decimal digits to whole minor units, never through float arithmetic. */
import type { Outcome } from "../order/order.ts";

const decimal = /^(0|[1-9]\d*)(?:\.(\d+))?$/;

const lengthMax = 32;

/**
 * A JSON number is a double once parsed, and a double gives back every decimal of 15 significant digits but not every
 * one of 16. Amounts from here on are refused in text too: no payment is that large, and below it `Number` is exact.
 */
const minorLimit = 10n ** 15n;

/** How many decimals a currency has. */
export type MinorDigits = 0 | 2 | 3;

/** ISO 4217, list one: the currencies that have no minor unit, and those that have three decimals. */
const whole: ReadonlySet<string> = new Set(
  "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" "),
);
const thousandths: ReadonlySet<string> = new Set("BHD IQD JOD KWD LYD OMR TND".split(" "));

/** By ISO 4217. What a currency is worth in minor units must never be guessed from an amount's own decimals. */
export function minorDigits(currency: string): MinorDigits {
  if (whole.has(currency)) return 0;
  return thousandths.has(currency) ? 3 : 2;
}

/** Writes minor units as providers read them: `5000` without decimals, `150.00` with two. The inverse of `parseMinor`. */
export function formatMinor(minor: bigint, digits: MinorDigits): string {
  if (digits === 0) return String(minor);
  const text = String(minor).padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/**
 * Reads an amount such as `150`, `1.00` or `"150.00"` in minor units, where `digits` is what ISO 4217 gives the currency.
 * A number is taken by its shortest decimal form. Undefined for anything not plainly such an amount: a sign, an
 * exponent, spaces, leading zeros, more decimals than `digits` unless they are zeros, 10^15 minor units or more.
 */
export function parseMinor(value: unknown, digits: MinorDigits): bigint | undefined {
  if (typeof value !== "string" && typeof value !== "number") return undefined;
  const text = String(value);
  const match = text.length > lengthMax ? null : decimal.exec(text);
  if (!match) return undefined;
  const [, whole = "", fraction = ""] = match;
  if (/[^0]/.test(fraction.slice(digits))) return undefined;
  const minor = BigInt(whole + fraction.slice(0, digits).padEnd(digits, "0"));
  return minor < minorLimit ? minor : undefined;
}

/** Whether a provider's field says anything. */
export const isStated = (value: unknown): boolean => value !== undefined && value !== null && value !== "";

/**
 * What a success states of money. `own`: the currency where none is named; of another one, which is named alone, the amount
 * is not read. An amount or a currency that is stated and cannot be read is a mismatch: what was paid is then unknown, and
 * must not count as what was agreed.
 */
export function readMoney(
  amount: unknown,
  currency: unknown,
  own?: string,
): Pick<Outcome, "amountMinor" | "currency" | "reason"> {
  const said = isStated(currency) ? currency : own;
  if (said === undefined) return {};
  if (typeof said !== "string" || !/^[A-Z]{3}$/i.test(said)) return { reason: "currency_mismatch" };
  const named = said.toUpperCase();
  if (own !== undefined && named !== own) return { currency: named };
  if (!isStated(amount)) return isStated(currency) ? { currency: named } : {};
  const amountMinor = parseMinor(amount, minorDigits(named));
  return amountMinor === undefined ? { reason: "amount_mismatch" } : { amountMinor, currency: named };
}
