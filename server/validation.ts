/** Validation of input at the edge, and the zod types that routes and the configuration share. */
import { z } from "zod";
import { type ErrorCode, type FieldError, fieldError, HubError } from "./errors.ts";
import { isMissing, issueSentence } from "./issue.ts";
import { orderIdText } from "./order-id.ts";
import { phoneLengthMax, plainPhone } from "./phone-text.ts";

/** The error codes of wrong values of single fields. Every other issue has `body_invalid`. */
const fieldCodes: ReadonlyMap<PropertyKey, ErrorCode> = new Map([
  ["amountMinor", "amount_invalid"],
  ["currency", "currency_invalid"],
  ["phone", "phone_invalid"],
]);

/** Parses a value, or throws `HubError` with every wrong field in `errors`. The first wrong field gives the code. */
export function parseInput<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = safeParse(schema, value);
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const errors = issues.filter(isFirstOfType).flatMap((issue) => fieldErrors(issue, value));
  const [first] = errors;
  throw new HubError(codeOf(issues[0]), first && `${first.path}: ${first.message}`, { errors });
}

/**
 * False for an issue of a value that has the wrong type, other than that one: zod also checks the length of a string in place of a
 * list.
 */
const isFirstOfType = (issue: z.core.$ZodIssue, index: number, issues: readonly z.core.$ZodIssue[]): boolean =>
  !issues
    .slice(0, index)
    .some(({ code, path }) => code === "invalid_type" && path.join("\u0000") === issue.path.join("\u0000"));

function safeParse<T extends z.ZodType>(schema: T, value: unknown): z.ZodSafeParseResult<z.infer<T>> {
  try {
    return schema.safeParse(value, { error: issueSentence });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new HubError("body_invalid", "The request is nested too deeply", { cause });
  }
}

/** A field that is not known has no code of its own, even if other requests have a field of this name. */
function codeOf(issue: z.core.$ZodIssue | undefined): ErrorCode {
  const [field, ...inner] = issue?.path ?? [];
  if (field === undefined || inner.length > 0 || issue?.code === "unrecognized_keys") return "body_invalid";
  return fieldCodes.get(field) ?? "body_invalid";
}

function fieldErrors(issue: z.core.$ZodIssue, value: unknown): FieldError[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({ path: [...issue.path, key].join("."), message: "is not a known field" }));
  }
  if (value === undefined && issue.path.length === 0) return [{ path: "body", message: "is empty" }];
  // Checked again, because the message of a schema describes a wrong value and not a missing one.
  const message = isMissing({ code: issue.code, input: valueAt(value, issue.path) }) ? "is required" : issue.message;
  return [{ path: issue.path.join(".") || "body", message }];
}

const valueAt = (value: unknown, path: readonly PropertyKey[]): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Record<PropertyKey, unknown> | null | undefined)?.[key], value);

/** Text that PostgreSQL can store: well-formed Unicode without NUL. */
export const storable = (text: string): boolean => text.isWellFormed() && !text.includes("\u0000");

export const text = (lengthMax: number) =>
  z.string().min(1).max(lengthMax).refine(storable, "has characters that cannot be stored");

/** A comma-separated list of an environment variable. Spaces around an item and empty items are dropped. */
export const commaList = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter(Boolean),
);

/** A whole number in a query string. `meta` is added to its schema in the API docs. */
export const wholeText = (min: number, max: number, meta: { description?: string; examples?: number[] } = {}) =>
  z
    .string()
    .regex(/^\d{1,10}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number from ${min} to ${max}`)
    .meta({ type: "integer", minimum: min, maximum: max, ...meta });

const positionPattern = /^(?:(\d{1,12})\.)?(\d{1,10})$/;

export const afterForm = "must be a version, or an epoch and a version as in 1.3";

/** The last state that a watcher has seen, as `version` or `epoch.version`. */
export const afterText = z
  .string()
  .regex(positionPattern, afterForm)
  .transform((value) => {
    const [, epoch, version] = positionPattern.exec(value) ?? [];
    return { ...(epoch !== undefined && { epoch: Number(epoch) }), version: Number(version) };
  })
  .meta({
    type: "string",
    pattern: positionPattern.source,
    description:
      "The last state that the client has: its `version`, or its `epoch` and `version` as in `0.3`. Only newer states are sent. A state of another epoch counts as newer.",
    examples: ["1"],
  });

const flagForm = "must be true or false";

const clockMeaning =
  "Whether the first state of the connection has `sentAt`, the server's time, for a countdown that does not depend on the device's clock. Default: false.";

/** Whether a watcher asks for the server's time, in a query string. */
export const clockText = z
  .string()
  .refine((value) => value === "true" || value === "false", flagForm)
  .transform((value) => value === "true")
  .meta({ type: "boolean", description: clockMeaning, examples: [true] });

/** Like `clockText`, in a message. Text is allowed because some clients of Socket.IO send only text in `auth`. */
export const clockValue = z
  .union([z.boolean(), z.enum(["true", "false"])], flagForm)
  .nullish()
  .transform((value) => value === true || value === "true")
  .meta({ description: clockMeaning });

const orderParams = z.object({ orderId: orderIdText });

/** Reads the order id of a path. Throws `body_invalid`, naming `orderId`, for an id that no order can have. */
export const readOrderId = (orderId: string): string => parseInput(orderParams, { orderId }).orderId;

/** A time in a request. */
export const timeText = z.iso
  .datetime({ offset: true, error: "must be an ISO 8601 time such as 2026-11-20T21:00:00Z" })
  .transform((value) => new Date(value))
  .refine((at) => isStorable(at), "must be a year from 1970 to 9999");

/** Whether PostgreSQL and an ISO string with four digits of year can both hold the time. */
export const isStorable = (at: Date): boolean => at.getUTCFullYear() >= 1970 && at.getUTCFullYear() <= 9999;

export const msisdnText = z.string().max(phoneLengthMax, `must have at most ${phoneLengthMax} characters`);

const phoneParams = z.object({ msisdn: msisdnText.transform(plainPhone) });

/** Reads the phone of a path, in any form. Throws `body_invalid`, naming `msisdn`, for text that is too long. */
export const readMsisdn = (params: unknown): string => parseInput(phoneParams, params).msisdn;

/** Reads the header `Idempotency-Key`: quoted or bare, 1 to 255 characters. Throws `body_invalid`. */
export function readIdempotencyKey(header: string | string[] | undefined): string | undefined {
  if (header === undefined) return undefined;
  const key = /^"(.*)"$/.exec(String(header))?.[1] ?? String(header);
  if (key.length < 1 || key.length > 255) {
    throw fieldError("body_invalid", "Idempotency-Key", "must have 1 to 255 characters");
  }
  return key;
}
