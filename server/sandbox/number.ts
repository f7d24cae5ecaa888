/** Phone numbers in any form, as the sandbox compares them. */
import { parsePhoneNumberFromString } from "libphonenumber-js/max";
import { phoneDigits } from "../phone-text.ts";

/** Eight, because a number of Eswatini has no more without its country code. */
export const screenOf = (phone: string): string => phoneDigits(phone).slice(-8);

/**
 * Whether a phone, with country code, is the number `msisdn`: with its country code, with or without `+` or 00, or as its country writes
 * it. Only a local form fits the numbers of several countries.
 */
export function isNumber(msisdn: string): (phone: string) => boolean {
  const digits = phoneDigits(msisdn);
  const written = new Set([digits, digits.replace(/^00?/, "")]);
  const known = new Map<string, boolean>();
  const fits = (phone: string): boolean => {
    const national = parsePhoneNumberFromString(`+${phone}`)?.nationalNumber;
    return written.has(phone) || (national !== undefined && written.has(national));
  };
  return (phone) => {
    const full = phoneDigits(phone);
    const isFit = known.get(full) ?? fits(full);
    known.set(full, isFit);
    return isFit;
  };
}
