/** The text of a provider's error for the log. It contains no credential, token or phone number. */
import { z } from "zod";

const lengthMax = 300;

/** The names of fields that describe an error at any provider. */
const errorField = /error|message|detail|desc|code|reason|fault|title/i;

const fields = z.record(z.string(), z.unknown());

/** Shorter secrets are not masked, because they occur in ordinary words. */
const secretLengthMin = 4;

/**
 * The fields of an answer that describe an error, as JSON, cut to 300 characters; "" without one. Masks `secrets`, and anything
 * else that may be a token or a phone number.
 */
export function providerText(body: unknown, secrets: readonly string[] = []): string {
  const described = Object.entries(fields.safeParse(body).data ?? {}).filter(([name]) => errorField.test(name));
  if (described.length === 0) return "";
  const text = JSON.stringify(Object.fromEntries(described));
  return maskOpaque(maskSecrets(text, secrets)).slice(0, lengthMax);
}

/** Masks each secret in a JSON text, in any case, also where the provider has encoded it as JSON or for a URL. */
function maskSecrets(text: string, secrets: readonly string[]): string {
  const long = secrets.filter(({ length }) => length >= secretLengthMin);
  // The longest first, because one secret may contain another.
  const spellings = [...new Set(long.flatMap(spellingsOf))].toSorted((one, other) => other.length - one.length);
  if (spellings.length === 0) return text;
  const patterns = spellings.map((spelling) => spelling.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return text.replace(new RegExp(patterns.join("|"), "gi"), "***");
}

/** A secret as it can occur in a JSON text. The provider's message may itself be JSON, once or twice. */
function spellingsOf(secret: string): string[] {
  const url = encodeURIComponent(secret.toWellFormed());
  const plain = [secret, url, url.replaceAll("%20", "+")];
  // PHP escapes the slash too.
  const once = plain.flatMap((one) => [one, inJson(one), inJson(one).replaceAll("/", "\\/")]);
  const twice = once.flatMap((one) => [one, inJson(one)]);
  return twice.map(inJson);
}

/** A text as it stands in a JSON string, without the quotation marks. */
const inJson = (text: string): string => JSON.stringify(text).slice(1, -1);

/** Masks JSON web tokens, runs of characters that are no words, such as keys, and numbers as long as a phone number. */
const maskOpaque = (text: string): string =>
  text
    .replace(/eyJ[\w-]*(?:\.[\w-]*)*/g, "***")
    .replace(/[\w+/=.~-]{16,}/g, (run) => (isOpaque(run) ? "***" : run))
    .replace(/\+?\d{9,}/g, "***");

/** 20 letters, because that is the longest word in a known error text; 3 on average, because random letters change their case. */
function isOpaque(run: string): boolean {
  if (/\d/.test(run)) return true;
  const words = run.match(/[A-Z]?[a-z]+|[A-Z]+/g) ?? [];
  return words.some(({ length }) => length > 20) || words.join("").length < 3 * words.length;
}

/** The values that a call sends, of which any may be a credential, also without the scheme, and the user and the password of Basic credentials. */
export function secretsOf({
  headers,
  body = {},
  form = {},
}: {
  headers: object;
  body?: object;
  form?: object;
}): string[] {
  const values = [headers, body, form].flatMap((one) => Object.values(one)).map(String);
  const sent = [...values, ...values.flatMap((value) => /^[A-Za-z]+ +(\S+)$/.exec(value)?.slice(1) ?? [])];
  const basic = sent.flatMap((value) => /^Basic +(.+)$/i.exec(value)?.slice(1) ?? []);
  return [...sent, ...basic.flatMap((encoded) => [encoded, ...pairOf(Buffer.from(encoded, "base64").toString())])];
}

/** Basic credentials, and their two parts: only the password may have a colon (RFC 7617, section 2). */
function pairOf(credentials: string): string[] {
  const [user = "", ...password] = credentials.split(":");
  return [credentials, user, password.join(":")];
}
