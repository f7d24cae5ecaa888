/**
 * Removes everything from a provider's message that may name a person or open an account, and keeps its form: an adapter reads the rest as
 * it read the message. Pure.
 *
 * A text is kept only if it is of a kind that names nobody: a word of a status or a label, a currency, an amount, a time, our own id. The
 * letters of all others become `a` or `A`, their digits `0`. Fields that describe an error keep their words.
 */

/** Fields with a word of the provider's vocabulary, or a text that describes an outcome. */
const described =
  /^(type|event|currency|network|provider|channel|mode|intent|name)$|status|result|code|desc|message|error|reason|fault|title|detail/i;

/** Fields that hold credentials, whatever they look like. */
const secret = /token|secret|password|passkey|signature|credential|authorization|(^|_)(app_?|api_?)?key$/i;

/** The labels of Safaricom's list of items, whose values have fields of their own. */
const labels = new Set(["Amount", "MpesaReceiptNumber", "Balance", "TransactionDate", "PhoneNumber"]);

const kept = [
  // Our ids of payments, which are random.
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^\d{4}-\d\d-\d\d([T ][\d:.+Z-]*)?$/,
  // Amounts and codes: no phone number is so short.
  /^-?\d{1,6}(\.\d{1,4})?$/,
  // Safaricom's codes of errors.
  /^\d{3}\.\d{3}\.\d{2,4}$/,
  // The topic of bKash's notifications is a name and no secret.
  /^arn:aws:sns:[a-z0-9-]+:\d{12}:[\w-]+$/,
];

export const redact = (value: unknown, field = ""): unknown => {
  if (Array.isArray(value)) return value.map((one) => redact(one, field));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [maskName(name), redact(inner, name)]));
  }
  if (typeof value === "number") return maskNumber(value);
  return typeof value === "string" ? redactText(value, field) : value;
};

function redactText(text: string, field: string): string {
  if (secret.test(field)) return "redacted";
  const inner = parseObject(text);
  if (inner !== undefined) return JSON.stringify(redact(inner));
  if (kept.some((pattern) => pattern.test(text)) || labels.has(text)) return text;
  if (/^name$/i.test(field) || !described.test(field)) return maskForm(text);
  return maskWords(text);
}

/** Amazon's envelope has the message as a text. */
function parseObject(text: string): object | undefined {
  if (!text.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Words stay. Numbers with more than six digits, with or without separators, addresses and runs that are no words lose their characters. */
const maskWords = (text: string): string =>
  text
    .replace(/\S+@\S+|\w+:\/\/\S+/g, maskForm)
    .replace(/\d(?:[\s()+._-]*\d){6,}/g, maskForm)
    .replace(/[\w+/=.~-]{12,}/g, (run) => (/\d/.test(run) && /[a-z]/i.test(run) ? maskForm(run) : run));

const maskForm = (text: string): string =>
  text
    .replace(/\p{Lu}/gu, "A")
    .replace(/[\p{L}--\p{Lu}]/gv, "a")
    .replace(/\p{N}/gu, "0");

/** Keeps the type and the number of digits. */
const maskNumber = (value: number): number =>
  Math.abs(value) < 1_000_000 ? value : 10 ** Math.floor(Math.log10(Math.abs(value)));

/** A field may be named by a phone number or a token, in a map. */
const maskName = (name: string): string =>
  /^[A-Za-z_][\w. -]{0,40}$/.test(name) && !/\d{4}/.test(name) ? name : maskForm(name);

/** The form of a message: its fields and the words of its vocabulary, without numbers and masks. Messages of one shape are captured once. */
export const shapeOf = (value: unknown): string =>
  JSON.stringify(value, (_name, one) => (typeof one === "number" ? 0 : one)).replace(/[aA\d]+/g, "0");
