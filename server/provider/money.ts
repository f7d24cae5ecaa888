/** Converts amounts between their decimal form on the wire and whole minor units, exactly: no float arithmetic. */
import type { Outcome } from "../order/order.ts";

const decimal = /^(0|[1-9]\d*)(?:\.(\d+))?$/;

const lengthMax = 32;

/**
 * 10^15, because a parsed JSON number is a double, which keeps every decimal of 15 significant digits but not every one of
 * 16. The limit applies to text too: no payment is that large, and below it `Number` is exact.
 */
const minorLimit = 10n ** 15n;

/** The number of decimals of a currency. */
export type MinorDigits = 0 | 2 | 3;

/** ISO 4217, list one: the currencies without a minor unit, and the currencies with three decimals. */
const whole: ReadonlySet<string> = new Set(
  "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(" "),
);
const thousandths: ReadonlySet<string> = new Set("BHD IQD JOD KWD LYD OMR TND".split(" "));

/** By ISO 4217. Do not guess a currency's minor unit from the decimals of an amount. */
export function minorDigits(currency: string): MinorDigits {
  if (whole.has(currency)) return 0;
  return thousandths.has(currency) ? 3 : 2;
}

/** Formats minor units as providers read them: `5000` without decimals, `150.00` with two. The inverse of `parseMinor`. */
export function formatMinor(minor: bigint, digits: MinorDigits): string {
  if (digits === 0) return String(minor);
  const text = String(minor).padStart(digits + 1, "0");
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

/**
 * Parses an amount such as `150`, `1.00` or `"150.00"` into minor units; `digits` are the currency's decimals by ISO 4217.
 * A number is read in its shortest decimal form. Undefined for everything else: a sign, an exponent, spaces, leading zeros,
 * more decimals than `digits` unless they are zeros, 10^15 minor units or more.
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

/** Whether a provider's field has a value. */
export const isStated = (value: unknown): boolean => value !== undefined && value !== null && value !== "";

/**
 * Reads the money that a success states. `own` is the provider's only currency, which an amount has where none is stated. If
 * another currency is stated, the result has that currency and no amount. A stated amount or currency that cannot be read is
 * a mismatch, because the paid amount is then unknown and must not count as the agreed one (G8).
 */
export function readMoney(
  amount: unknown,
  currency: unknown,
  own?: string,
): Pick<Outcome, "amountMinor" | "currency" | "reason"> {
  const code = isStated(currency) ? currency : own;
  if (code === undefined) return {};
  if (typeof code !== "string" || !/^[A-Z]{3}$/i.test(code)) return { reason: "currency_mismatch" };
  const paidIn = code.toUpperCase();
  if (own !== undefined && paidIn !== own) return { currency: paidIn };
  if (!isStated(amount)) return isStated(currency) ? { currency: paidIn } : {};
  const amountMinor = parseMinor(amount, minorDigits(paidIn));
  return amountMinor === undefined ? { reason: "amount_mismatch" } : { amountMinor, currency: paidIn };
}
