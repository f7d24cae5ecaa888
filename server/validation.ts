/** Validation of input at the edge, and the zod types that routes and the configuration share. */
import { z } from "zod";
import { type ErrorCode, HubError } from "./errors.ts";

/** The error codes of single fields. Every other field has `body_invalid`. */
const fieldCodes: ReadonlyMap<string, ErrorCode> = new Map([
  ["amountMinor", "amount_invalid"],
  ["currency", "currency_invalid"],
  ["phone", "phone_invalid"],
]);

/** Parses a value, or throws `HubError` with every wrong field in `errors`. The first wrong field gives the code. */
export function parseInput<T extends z.ZodType>(schema: T, value: unknown): z.infer<T> {
  const parsed = safeParse(schema, value);
  if (parsed.success) return parsed.data;
  const errors = parsed.error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys"
      ? issue.keys.map((key) => ({ path: [...issue.path, key].join("."), message: "is not a known field" }))
      : [{ path: issue.path.join(".") || "body", message: issue.message }],
  );
  const [first] = errors;
  const code = fieldCodes.get(first?.path ?? "") ?? "body_invalid";
  throw new HubError(code, first ? `${first.path}: ${first.message}` : undefined, { errors });
}

function safeParse<T extends z.ZodType>(schema: T, value: unknown): z.ZodSafeParseResult<z.infer<T>> {
  try {
    return schema.safeParse(value);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new HubError("body_invalid", "The request is nested too deeply", { cause });
  }
}

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

/** The last state that a watcher has seen, as `version` or `epoch.version`. */
export const afterText = z
  .string()
  .regex(positionPattern, "must be a version, or an epoch and a version as in 1.3")
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

export const orderIdText = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/, "must be 1-64 of [A-Za-z0-9._:-], first a letter or digit");

const orderParams = z.object({ orderId: orderIdText });

/** Reads the order id of a path. Throws `body_invalid`, naming `orderId`, for an id that no order can have. */
export const readOrderId = (orderId: string): string => parseInput(orderParams, { orderId }).orderId;

/** Whether PostgreSQL and an ISO string with four digits of year can both hold the time. */
export const isStorable = (at: Date): boolean => at.getUTCFullYear() >= 1970 && at.getUTCFullYear() <= 9999;

/** 32, because a phone has at most 15 digits, and people write separators between them. */
export const msisdnText = z.string().max(32, "must have at most 32 characters");

const phoneParams = z.object({ msisdn: msisdnText });

/** Reads the phone of a path, in any form. Throws `body_invalid`, naming `msisdn`, for text that is too long. */
export const readMsisdn = (params: unknown): string => parseInput(phoneParams, params).msisdn;
