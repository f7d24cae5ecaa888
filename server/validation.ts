/** What comes from outside is parsed here, once, at the edge: either it fits or a problem names the field. */
import { z } from "zod";
import { type ErrorCode, HubError } from "./errors.ts";

/** Codes of their own for some fields; every other field is `body_invalid`. */
const fieldCodes: ReadonlyMap<string, ErrorCode> = new Map([
  ["amountMinor", "amount_invalid"],
  ["currency", "currency_invalid"],
  ["phone", "phone_invalid"],
]);

/** Parses or throws a 400 whose `errors` name every field that is wrong. The first of them gives the code. */
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

/** A whole number in a query string. `told`: what its description says beside its bounds. */
export const wholeText = (min: number, max: number, told: { description?: string; examples?: number[] } = {}) =>
  z
    .string()
    .regex(/^\d{1,10}$/, `must be a whole number from ${min} to ${max}`)
    .transform(Number)
    .refine((value) => value >= min && value <= max, `must be a whole number from ${min} to ${max}`)
    .meta({ type: "integer", minimum: min, maximum: max, ...told });

/** The last version that a watcher has seen. */
export const afterText = wholeText(0, 2_147_483_647, {
  description: "The last version seen; what is known is not sent again.",
  examples: [1],
});

export const orderIdText = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/, "must be 1-64 of [A-Za-z0-9._:-], first a letter or digit");

const orderParams = z.object({ orderId: orderIdText });

/** The order id of a path. Throws `body_invalid`, naming `orderId`, where no order can have this name. */
export const readOrderId = (orderId: string): string => parseInput(orderParams, { orderId }).orderId;

/** A moment that every database can hold. */
export const isStorable = (at: Date): boolean => at.getUTCFullYear() >= 1970 && at.getUTCFullYear() <= 9999;

/** A phone has 15 digits at most; the rest is for what is written between them. */
export const msisdnText = z.string().max(32, "must have at most 32 characters");

const phoneParams = z.object({ msisdn: msisdnText });

/** The phone of a path, in any form. Throws `body_invalid`, naming `msisdn`, where it is too long for one. */
export const readMsisdn = (params: unknown): string => parseInput(phoneParams, params).msisdn;
