/** Plain sentences for the issues that zod finds. They continue the name of a field: "phone: must be a string". */
import type { z } from "zod";

/** An issue whose schema has no message of its own. `input` is the wrong value. */
export type RawIssue = z.core.$ZodRawIssue;

type Issue<Code extends z.core.$ZodIssueCode> = Extract<RawIssue, { code: Code }>;

/** The sentence for an issue. Pass it as `error` to every `parse` of input from outside. It never contains the value. */
export function issueSentence(issue: RawIssue): string {
  if (isMissing(issue)) return "is required";
  return (sentences[issue.code] as (issue: RawIssue) => string)(issue);
}

/** Kinds of issues that a value of the wrong type causes. */
const typeCodes: ReadonlySet<z.core.$ZodIssueCode> = new Set(["invalid_type", "invalid_value", "invalid_union"]);

/** Whether the issue is that there is no value. */
export const isMissing = ({ code, input }: { code: z.core.$ZodIssueCode; input?: unknown }): boolean =>
  input === undefined && typeCodes.has(code);

/** By kind. The compiler requires a sentence for each kind that zod has. */
const sentences: { [Code in z.core.$ZodIssueCode]: (issue: Issue<Code>) => string } = {
  invalid_type: ({ expected }) => `must be ${types.get(expected) ?? "of another type"}`,
  too_big: ({ origin, maximum, inclusive, exact }) =>
    limitSentence(origin, maximum, { inclusive, exact, isMost: true }),
  too_small: ({ origin, minimum, inclusive, exact }) =>
    limitSentence(origin, minimum, { inclusive, exact, isMost: false }),
  invalid_format: ({ format }) => formats.get(format) ?? "has the wrong form",
  not_multiple_of: ({ divisor }) => `must be a multiple of ${divisor}`,
  unrecognized_keys: ({ keys }) => `has fields that are not known: ${keys.join(", ")}`,
  invalid_union: () => "has none of the accepted forms",
  invalid_key: () => "has a name that is not accepted",
  invalid_element: () => "has an item that is not accepted",
  invalid_value: ({ values }) =>
    values.length === 1 ? `must be ${String(values[0])}` : `must be one of ${values.map(String).join(", ")}`,
  custom: () => "is not accepted",
};

const types: ReadonlyMap<string, string> = new Map([
  ["string", "a string"],
  ["number", "a number"],
  ["int", "a whole number"],
  ["bigint", "a whole number"],
  ["boolean", "true or false"],
  ["date", "a time"],
  ["null", "null"],
  ["array", "a list"],
  ["tuple", "a list"],
  ["object", "an object"],
  ["record", "an object"],
]);

const formats: ReadonlyMap<string, string> = new Map([
  ["email", "must be an e-mail address"],
  ["url", "must be a URL"],
  ["uuid", "must be a UUID"],
  ["datetime", "must be an ISO 8601 time such as 2026-11-20T21:00:00Z"],
  ["date", "must be an ISO 8601 date such as 2026-11-20"],
]);

interface Limit {
  inclusive?: boolean | undefined;
  exact?: boolean | undefined;
  isMost: boolean;
}

/** What a limit counts, by the type of the value. A number is compared itself. */
const units: ReadonlyMap<string, string> = new Map([
  ["string", "character"],
  ["array", "item"],
  ["set", "item"],
  ["map", "item"],
]);

function limitSentence(origin: string, limit: number | bigint, { inclusive = true, exact, isMost }: Limit): string {
  const unit = units.get(origin);
  if (unit === undefined) {
    if (!inclusive) return `must be ${isMost ? "less" : "more"} than ${limit}`;
    return `must be at ${isMost ? "most" : "least"} ${limit}`;
  }
  if (!isMost && Number(limit) === 1) return "must not be empty";
  const bound = exact ? "" : isMost ? "at most " : "at least ";
  return `must have ${bound}${limit} ${unit}${Number(limit) === 1 ? "" : "s"}`;
}
