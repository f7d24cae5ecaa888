/**
 * Reads the phone of a payment request, in any form that people write. A text is read in every way that its form allows; it is
 * accepted if exactly one number comes out that the provider can prompt. Otherwise it is refused, and never guessed.
 */
import { type CountryCode, getExampleNumber, parsePhoneNumberFromString } from "libphonenumber-js/max";
import examples from "libphonenumber-js/mobile/examples";
import { fieldError, type HubError } from "../errors.ts";
import { phoneLengthMax, plainPhone } from "../phone-text.ts";
import { displayNameOf, type Provider } from "../provider/provider.ts";

type PhoneProvider = Pick<Provider, "name" | "countries" | "countriesOf" | "limits">;

interface PhoneTerms {
  provider: PhoneProvider;
  currency: string;
  /** The field of the request, dotted. Default: `phone`. */
  field?: string;
}

/** Converts a phone to E.164. A local number is one of the countries that pay in the currency. Throws `phone_invalid`. */
export function readPhone(phone: string, { provider, currency, field = "phone" }: PhoneTerms): string {
  const countries = provider.countriesOf?.(currency) ?? provider.countries;
  const { limits } = provider;
  const pattern = limits.phone && (limits.phoneIn?.(currency) ?? limits.phone);
  const numbers = new Set(
    readings(phone, countries).flatMap(({ text, country }) => {
      const found = parsePhoneNumberFromString(text, { ...(country && { defaultCountry: country }), extract: false });
      return found?.isValid() && (pattern?.test(found.number) ?? true) ? found.number : [];
    }),
  );
  const [number] = numbers;
  if (number === undefined) throw refusal(field, provider, countries);
  if (numbers.size > 1) throw ambiguity(field, number);
  return number;
}

/**
 * Every number in E.164 that a text may be in one of these countries, to search for payments. Throws `phone_invalid` for a text that is
 * no number in any of them.
 */
export function phonesOf(phone: string, countries: readonly string[]): string[] {
  const numbers = new Set(
    readings(phone, countries).flatMap(({ text, country }) => {
      const found = parsePhoneNumberFromString(text, { ...(country && { defaultCountry: country }), extract: false });
      return found?.isValid() ? found.number : [];
    }),
  );
  if (numbers.size === 0) throw fieldError("phone_invalid", "phone", "is not a phone number, such as +254712345601");
  return [...numbers];
}

/** The error for a request without a phone. */
export const missingPhone = ({ name }: Pick<Provider, "name">): HubError =>
  fieldError("phone_invalid", "phone", `is required, because ${displayNameOf(name)} prompts a phone`);

/** One way to read a text: as a number of the country, or as an international number with `+`. */
interface Reading {
  text: string;
  country?: CountryCode;
}

/** The ways to read a text. None if it has characters that are not a phone's: letters, or a second `+`. */
function readings(phone: string, countries: readonly string[]): Reading[] {
  if (phone.length > phoneLengthMax) return [];
  const written = plainPhone(phone).replace(/^tel:/i, "");
  if (!/^[(\s]*\+?[\d\s().\-\u2010-\u2015\u2212/~]+$/.test(written)) return [];
  // A zero in parentheses is dialled inside the country only: +254 (0) 712 345 678.
  const forms = [written, written.replace(/\(\s*0\s*\)/, "")].map((text) => text.replace(/[^\d+]/g, ""));
  return [...new Set(forms)].flatMap((text) => readingsOf(text, countries));
}

function readingsOf(text: string, countries: readonly string[]): Reading[] {
  if (text.startsWith("+")) return [{ text }];
  const local = countries.map((country) => ({ text, country: country as CountryCode }));
  // 00 is the international prefix in most countries. A country code never begins with 0.
  if (text.startsWith("00")) return [...local, { text: `+${text.slice(2)}` }];
  return text.startsWith("0") ? local : [...local, { text: `+${text}` }];
}

function refusal(field: string, { name, limits }: PhoneProvider, countries: readonly string[]): HubError {
  const [country] = countries;
  const example = country && getExampleNumber(country as CountryCode, examples)?.number;
  const what = limits.phone ? `a number that ${displayNameOf(name)} can prompt` : "a phone number";
  return fieldError("phone_invalid", field, `is not ${what}${example ? `, such as ${example}` : ""}`);
}

const ambiguity = (field: string, number: string): HubError =>
  fieldError(
    "phone_invalid",
    field,
    `can be read as several numbers; write it with + and its country code, as in ${number}`,
  );
