/** Digits after the point by ISO 4217, where the platform's own tables (made for cash) may say otherwise. */
const digitsOf: Record<string, number> = { KES: 2, TZS: 2, BDT: 2, UGX: 0, RWF: 0 };

/**
 * An amount as people write it, exactly: from whole minor units, never through a fraction. `locale` is a BCP 47 tag;
 * default: the platform's. A currency that is none is written as it is.
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
    // A string is taken digit by digit where a number would be rounded.
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
