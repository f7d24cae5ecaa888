/** Minor-unit digits by ISO 4217. The platform's own tables differ for some currencies, because they describe cash. */
const digitsOf: Record<string, number> = { KES: 2, TZS: 2, BDT: 2, UGX: 0, RWF: 0 };

/**
 * Formats an amount exactly, from integer minor units and without floating point. `locale` is a BCP 47 tag; default: the
 * platform's locale. An unknown currency code is written before a number with two decimals.
 */
export function formatMoney(amountMinor: number, currency: string, locale?: string): string {
  try {
    const style = { style: "currency", currency } as const;
    const digits =
      digitsOf[currency] ?? new Intl.NumberFormat(locale, style).resolvedOptions().maximumFractionDigits ?? 2;
    const format = new Intl.NumberFormat(locale, {
      ...style,
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
    // A string, because `Intl` formats its digits exactly and would round a large number.
    return format.format(decimal(amountMinor, digits) as `${number}`);
  } catch {
    return `${currency} ${decimal(amountMinor, 2)}`;
  }
}

function decimal(amountMinor: number, digits: number): string {
  const text = String(Math.abs(amountMinor)).padStart(digits + 1, "0");
  const whole = text.slice(0, text.length - digits);
  const sign = amountMinor < 0 ? "-" : "";
  return digits === 0 ? sign + whole : `${sign}${whole}.${text.slice(-digits)}`;
}
