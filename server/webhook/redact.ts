/**
 * Shows a stored webhook without what identifies the payer or opens anything: phones keep their ends, names and secrets nothing. A body whose
 * fields cannot be told apart is not shown, because a name in it could not be found. The stored bytes stay as they are.
 */
import { parseJson } from "../json.ts";
import { maskTokens } from "../log.ts";
import { maskPhone } from "../order/order.ts";

const hidden = "***";

/** Fields whose value identifies a person, in any spelling of any provider. */
const personal = /name|mail|msisdn|phone|mobile|party|payer|customer|buyer|address|note|accountno/i;

/** Fields whose value opens something. */
const secret = /authorization|cookie|key|token|secret|password|username|signature|subscribeurl|credential/i;

/**
 * Fields of the provider's own identifiers and times, whose digits are no phone. Exactly these, because others may have one: the end of
 * Daraja's `CheckoutRequestID` is the payer's.
 */
const plain: ReadonlySet<string> = new Set([
  ...[
    "mpesareceiptnumber",
    "receipt",
    "receiptnumber",
    "transactionid",
    "financialtransactionid",
    "trxid",
    "paymentid",
  ],
  ...[
    "merchantrequestid",
    "orderid",
    "externalid",
    "amount",
    "transactiondate",
    "resultcode",
    "timestamp",
    "messageid",
  ],
]);

/** A UUID, which has no phone, or nine and more digits, with or without separators: a phone, or a number that may end with one. */
const uuidOrPhone = /[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}|\+?\d(?:[\s().-]?\d){8,}/gi;

/** Masks what a phone could be: all but the first four and the last three digits, of a long number all but its beginning. */
const maskNumber = (found: string): string => {
  if (/^[\da-f]{8}-[\da-f]{4}-/i.test(found)) return found;
  const digits = found.replace(/[^\d+]/g, "");
  if (digits.length <= 16) return maskPhone(digits);
  return `${digits.slice(0, -9)}******${digits.slice(-3)}`;
};

const redactText = (text: string): string => maskTokens(text).replace(uuidOrPhone, maskNumber);

/** `field`: the name of the field that has the value. */
function redactValue(field: string, value: unknown): unknown {
  const name = field.toLowerCase().replace(/[^a-z]/g, "");
  if (value === null || typeof value === "boolean") return value;
  if (Array.isArray(value)) return value.map((item) => redactValue(field, item));
  if (typeof value === "object") return redactObject(value as Record<string, unknown>);
  if (secret.test(field)) return hidden;
  if (plain.has(name)) return typeof value === "string" ? maskTokens(value) : value;
  const text = String(value);
  const nested = typeof value === "string" ? redactJson(value) : undefined;
  if (nested !== undefined) return nested;
  const shown = redactText(text);
  if (personal.test(field)) return shown === text ? hidden : shown.replace(/\p{L}{2,}/gu, hidden);
  return shown === text ? value : shown;
}

/** Daraja lists fields as `{ "Name": "PhoneNumber", "Value": … }`. */
function redactObject(object: Record<string, unknown>): Record<string, unknown> {
  const { Name: name } = object;
  const isListed = typeof name === "string" && Object.keys(object).every((key) => key === "Name" || key === "Value");
  if (isListed) return { ...object, ...("Value" in object && { Value: redactValue(name, object.Value) }) };
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [redactText(key), redactValue(key, value)]));
}

/** The text of a JSON object or list, redacted. Undefined for other texts. */
function redactJson(text: string): string | undefined {
  if (!/^\s*[{[]/.test(text.replace(/^\ufeff/, ""))) return undefined;
  try {
    return JSON.stringify(redactValue("", parseJson(text)));
  } catch {
    return undefined; // Not JSON.
  }
}

/** The body as JSON or as a form, redacted. Null for another form. */
export function redactBody(body: Buffer, contentType: unknown): string | null {
  if (body.length === 0) return null;
  const text = body.toString();
  const json = redactJson(text);
  if (json !== undefined) return json;
  if (!/^application\/x-www-form-urlencoded\b/i.test(String(contentType ?? ""))) return null;
  const fields = [...new URLSearchParams(text)].map(([name, value]) => [
    redactText(name),
    String(redactValue(name, value)),
  ]);
  return JSON.stringify(Object.fromEntries(fields));
}

/** Addresses of the provider and of proxies are kept: they are no payer's. */
export const redactHeaders = (headers: Readonly<Record<string, unknown>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, secret.test(name) ? hidden : maskTokens(String(value))]),
  );
