/** Phone numbers as people type and paste them, before they are read as a number of a country. */

/** 64, because a phone has at most 15 digits, and people write separators and paste invisible marks between them. */
export const phoneLengthMax = 64;

/** The zeros of scripts whose ten digits follow each other: Arabic, Persian and Urdu, Devanagari, Bangla, full-width. */
const zeros = [0x0660, 0x06f0, 0x0966, 0x09e6, 0xff10];

/**
 * The text with visible characters and ASCII digits only: without the marks that address books and messengers put around a
 * number (zero-width characters, directions of text, soft hyphens), with plain spaces, and with the digits of other scripts
 * replaced by their values. Other characters stay.
 */
export const plainPhone = (text: string): string =>
  text
    .replace(/\p{Default_Ignorable_Code_Point}/gu, "")
    .replace(/\p{Nd}/gu, toAsciiDigit)
    .replace(/[+＋﹢]/g, "+")
    .replace(/\s+/g, " ")
    .trim();

function toAsciiDigit(digit: string): string {
  const code = digit.codePointAt(0) ?? 0;
  const zero = zeros.find((zero) => code >= zero && code <= zero + 9);
  return zero === undefined ? digit : String(code - zero);
}

/** The digits of a phone in any form. */
export const phoneDigits = (text: string): string => plainPhone(text).replace(/\D/g, "");
