/** The sentences for wrong values in bodies, queries and the environment. */
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { ConfigError, readConfig } from "../server/config/config.ts";
import { HubError } from "../server/errors.ts";
import { issueSentence } from "../server/issue.ts";
import { paymentBody } from "../server/payment/start.ts";
import { orderFilter } from "../server/route/order-list.ts";
import { decision } from "../server/route/orders.ts";
import { watchRequest } from "../server/transport/socketio-message.ts";
import { parseInput } from "../server/validation.ts";

function refusal(schema: z.ZodType, value: unknown): HubError {
  try {
    parseInput(schema, value);
  } catch (error) {
    if (error instanceof HubError) return error;
    throw error;
  }
  throw new Error("the value was accepted");
}

const errorsOf = (schema: z.ZodType, value: unknown) =>
  refusal(schema, value).details.errors?.map(({ path, message }) => `${path}: ${message}`);

const field = (schema: z.ZodType, value?: unknown) => errorsOf(z.object({ a: schema }), { a: value })?.[0];

describe("the sentence for a wrong value", () => {
  it.each<[string, z.ZodType, unknown, string]>([
    ["a missing text", z.string(), undefined, "is required"],
    ["a missing choice", z.enum(["b", "c"]), undefined, "is required"],
    ["a missing union", z.union([z.string(), z.number()]), undefined, "is required"],
    ["a missing value of a schema with a message", z.number("must be whole"), undefined, "is required"],
    ["a number for a text", z.string(), 7, "must be a string"],
    ["null for a text", z.string(), null, "must be a string"],
    ["a text for a number", z.number(), "7", "must be a number"],
    ["a fraction", z.int(), 1.5, "must be a whole number"],
    ["a text for a truth", z.boolean(), "yes", "must be true or false"],
    ["a list for an object", z.object({}), [], "must be an object"],
    ["a list for a record", z.record(z.string(), z.unknown()), [], "must be an object"],
    ["an object for a list", z.array(z.string()), {}, "must be a list"],
    ["a long text", z.string().max(3), "abcd", "must have at most 3 characters"],
    ["a short text", z.string().min(2), "a", "must have at least 2 characters"],
    ["an empty text", z.string().min(1), "", "must not be empty"],
    ["a text of another length", z.string().length(1), "ab", "must have 1 character"],
    ["a long list", z.array(z.number()).max(1), [1, 2], "must have at most 1 item"],
    ["a large number", z.number().max(3), 4, "must be at most 3"],
    ["a small number", z.number().min(3), 2, "must be at least 3"],
    ["a number at an open limit", z.number().gt(3), 3, "must be more than 3"],
    ["a number that is no multiple", z.number().multipleOf(5), 3, "must be a multiple of 5"],
    ["a wrong e-mail address", z.email(), "x", "must be an e-mail address"],
    ["a wrong URL", z.url(), "x", "must be a URL"],
    ["a wrong UUID", z.uuid(), "x", "must be a UUID"],
    ["a wrong time", z.iso.datetime(), "x", "must be an ISO 8601 time such as 2026-11-20T21:00:00Z"],
    ["a text that a pattern refuses", z.string().regex(/b/), "x", "has the wrong form"],
    ["a wrong choice", z.enum(["b", "c"]), "x", "must be one of b, c"],
    ["a wrong literal", z.literal("b"), "x", "must be b"],
    ["no form of a union", z.union([z.string(), z.number()]), true, "has none of the accepted forms"],
    ["a wrong key", z.record(z.string().max(1), z.number()), { bb: 1 }, "has a name that is not accepted"],
    ["a refinement without a message", z.string().refine(() => false), "x", "is not accepted"],
  ])("is plain for %s", (_what, schema, value, message) => {
    expect(field(schema, value)?.replace(/^a(\.\w+)?: /, "")).toBe(message);
  });

  it("covers every kind of issue that zod has", () => {
    const kinds: Record<z.core.$ZodIssueCode, z.core.$ZodRawIssue> = {
      invalid_type: { code: "invalid_type", expected: "symbol", input: 1 },
      too_big: { code: "too_big", origin: "file", maximum: 1, input: 1 },
      too_small: { code: "too_small", origin: "date", minimum: 1, input: 1 },
      invalid_format: { code: "invalid_format", format: "cidrv6", input: "x" },
      not_multiple_of: { code: "not_multiple_of", divisor: 2, input: 1 },
      unrecognized_keys: { code: "unrecognized_keys", keys: ["b"], input: {} },
      invalid_union: { code: "invalid_union", errors: [], input: 1 },
      invalid_key: { code: "invalid_key", origin: "map", issues: [], input: 1 },
      invalid_element: { code: "invalid_element", origin: "set", key: 1, issues: [], input: 1 },
      invalid_value: { code: "invalid_value", values: [1n, true, null], input: 1 },
      custom: { code: "custom", input: 1 },
    };
    for (const issue of Object.values(kinds)) expect(issueSentence(issue)).toMatch(/^(must|has|is) /);
  });

  it("names the body when there is none, and every unknown field", () => {
    expect(errorsOf(paymentBody, undefined)).toEqual(["body: is empty"]);
    expect(errorsOf(paymentBody, [])).toEqual(["body: must be an object"]);
    expect(errorsOf(z.strictObject({ a: z.strictObject({}) }), { a: { b: 1, c: 2 }, d: 3 })).toEqual([
      "a.b: is not a known field",
      "a.c: is not a known field",
      "d: is not a known field",
    ]);
  });

  it("is one for a value of the wrong type, although it also has a wrong length", () => {
    const schema = z.object({ a: z.array(z.string()).max(8), b: z.string().min(3), c: z.string().max(3).regex(/^d/) });
    expect(errorsOf(schema, { a: "order.succeeded", b: [], c: "eeee" })).toEqual([
      "a: must be a list",
      "b: must be a string",
      "c: must have at most 3 characters",
      "c: has the wrong form",
    ]);
  });

  it("asks for a currency in capitals", () => {
    const draft = { orderId: "A-1", amountMinor: 100, provider: "daraja", phone: "0712345600" };
    expect(errorsOf(paymentBody, { ...draft, currency: "kes" })).toEqual([
      "currency: must be in capitals, such as KES",
    ]);
    expect(errorsOf(paymentBody, { ...draft, currency: "KSh." })).toEqual([
      "currency: must be an ISO 4217 code such as KES",
    ]);
  });

  it("does not exist for null in a field of a payment that an order answers with null", () => {
    const draft = { orderId: "A-1", amountMinor: 100, currency: "KES", provider: "daraja", phone: "0712345600" };
    const nulls = { description: null, customer: null, items: null, lang: null, metadata: null };
    expect(parseInput(paymentBody, { ...draft, ...nulls })).toEqual(parseInput(paymentBody, draft));
  });

  it("is plain for every field of each body and query, whatever its value is", () => {
    const values = [undefined, null, 7, "", "x", "\u0000", [], {}, true];
    for (const schema of [paymentBody, decision, orderFilter]) {
      for (const value of values) {
        const fields = Object.fromEntries(Object.keys(schema.shape).map((name) => [name, value]));
        const { details } = refusal(schema, { ...fields, nosuch: value });
        for (const { message } of details.errors ?? []) {
          expect(message).not.toMatch(/invalid|expected|received|regex|pattern|too (big|small)/i);
          expect(message).toMatch(/^(must|has|is) /);
        }
      }
    }
  });

  it("is plain for a request over Socket.IO", () => {
    expect(errorsOf(watchRequest, { token: 1, orderId: "#7", after: "x" })).toEqual([
      "token: must be a string",
      'orderId: must not contain "#"; use for example 7',
      "after: must be a version, or an epoch and a version as in 1.3",
    ]);
  });

  it("is plain for the environment", () => {
    const names = ["NODE_ENV", "SANDBOX", "SPOOL", "LOG_LEVEL", "DATABASE_URL", "REDIS_URL", "DATABASE_ACCEPT_OFF"];
    const others = ["PORT", "PUBLIC_URL", "DARAJA_DEADLINE_S", "DARAJA_TRANSACTION_TYPE", "TUKIO_SECRET", "LIMIT_IP"];
    const env = Object.fromEntries([...names, ...others].map((name) => [name, "secret-value"]));
    const read = () => readConfig(env);
    expect(read).toThrow(ConfigError);
    expect(read).toThrow(/NODE_ENV: must be one of production, development, test$/m);
    expect(read).toThrow(/SANDBOX: must be one of daraja, payhero/);
    expect(read).not.toThrow(/invalid (input|option|string)|expected|secret-value/i);
  });
});

describe("the code of a wrong value", () => {
  const query = z.strictObject({ phone: z.string().optional(), inner: z.strictObject({}).optional() });

  it.each(["phone", "currency", "amountMinor"])("is `body_invalid` for the unknown field %s", (name) => {
    expect(refusal(decision, { [name]: "1" })).toMatchObject({ code: "body_invalid" });
    expect(refusal(query, { inner: { [name]: "1" } })).toMatchObject({ code: "body_invalid" });
  });

  it.each([
    ["phone", "phone_invalid"],
    ["currency", "currency_invalid"],
    ["amountMinor", "amount_invalid"],
    ["provider", "body_invalid"],
  ])("is that of the field %s for each of its wrong values: %s", (name, code) => {
    const whole = { orderId: "A-1", amountMinor: 100, currency: "KES", provider: "daraja", phone: "0712345600" };
    for (const value of [[], null, {}])
      expect(refusal(paymentBody, { ...whole, [name]: value })).toMatchObject({ code });
  });

  it("is that of the field in the body only, and not of one with the same name inside", () => {
    const nested = z.object({ customer: z.object({ phone: z.string() }) });
    expect(refusal(nested, { customer: { phone: 7 } })).toMatchObject({ code: "body_invalid" });
  });
});
