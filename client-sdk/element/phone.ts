/** Writes a masked phone number as its owner writes it. */

/** The groups of digits of a national number, with its leading 0, by country code. Other numbers keep the international form. */
const groupsOf: Record<string, readonly number[]> = {
  254: [4, 3, 3], // Kenya
  255: [4, 3, 3], // Tanzania
  256: [4, 3, 3], // Uganda
  250: [4, 3, 3], // Rwanda
  260: [4, 3, 3], // Zambia
  233: [3, 3, 4], // Ghana
  880: [5, 3, 3], // Bangladesh
};

/**
 * `+2547*****678` becomes `07•• ••• 678`, with spaces that do not break. `known` is what the page knows of the number, in
 * any form: if it fits the masked one, its first group is shown too: `0712 ••• 678`.
 */
export function nationalPhone(masked: string, known = ""): string {
  const code = masked.slice(1, 4);
  const groups = groupsOf[code];
  // Only a code from the table becomes a part of an expression.
  const digits = groups ? national(masked, code) : "";
  if (!groups || digits.length !== groups.reduce((sum, size) => sum + size)) return masked.replace(/\*/g, "•");
  const [full, first = 0, middle = 0] = [national(known, code), ...groups];
  const fits = full.length === digits.length && [...digits].every((digit, at) => digit === "•" || digit === full[at]);
  const shown = fits ? full.slice(0, first) + "•".repeat(middle) + digits.slice(first + middle) : digits;
  return [shown.slice(0, first), shown.slice(first, first + middle), shown.slice(first + middle)].join("\u00a0");
}

/** With a leading 0, which the number may lack, or have after the country code too, as in `+254 (0) 712 345 678`. */
function national(phone: string, code: string): string {
  const digits = phone
    .replace(/\p{Nd}/gu, asciiDigit)
    .replace(/\*/g, "•")
    .replace(/[^\d•]|^00/g, "");
  return digits.replace(RegExp(`^(${code})?0?`), "0");
}

/** The last hexadecimal digit of a code point is the value, from 6 on in Devanagari and Bangla. */
const asciiDigit = (digit: string): string =>
  String((digit.charCodeAt(0) - (/[\u0900-\u09ff]/.test(digit) ? 6 : 0)) & 15);
