/** The text of a provider's error for the log. It contains no credential, token or phone number. */
import { z } from "zod";

const lengthMax = 300;

/** The names of fields that describe an error at any provider. */
const errorField = /error|message|detail|desc|code|reason|fault|title/i;

const fields = z.record(z.string(), z.unknown());

/**
 * The fields of an answer that describe an error, as JSON, cut to 300 characters; "" without one. Masks `secrets`, and anything
 * else that may be a token or a phone number.
 */
export function providerText(body: unknown, secrets: readonly string[] = []): string {
  const described = Object.entries(fields.safeParse(body).data ?? {}).filter(([name]) => errorField.test(name));
  if (described.length === 0) return "";
  let text = JSON.stringify(Object.fromEntries(described));
  for (const secret of secrets) if (secret.length >= 4) text = text.replaceAll(secret, "***");
  return maskOpaque(text).slice(0, lengthMax);
}

/** Masks JSON web tokens, long runs with a digit, such as keys, and numbers as long as a phone number. */
const maskOpaque = (text: string): string =>
  text
    .replace(/eyJ[\w-]*(?:\.[\w-]*)*/g, "***")
    .replace(/[\w+/=-]{20,}/g, (run) => (/\d/.test(run) ? "***" : run))
    .replace(/\+?\d{9,}/g, "***");
