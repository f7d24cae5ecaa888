/** What a stranger, a broken proxy or a fuzzer may send, made by fast-check so that a failing seed can be run again. */
import { readdirSync } from "node:fs";
import fc from "fast-check";
import { type Fixture, fixture } from "../support/sandbox.ts";

/** How many inputs each property tries: few in `npm test`, 100,000 in the soak run. `FUZZ_SEED` runs one again. */
export const fuzz = (runs = 2_000): fc.Parameters<unknown> & { numRuns: number } => ({
  numRuns: Number(process.env.FUZZ_RUNS || runs),
  ...(process.env.FUZZ_SEED && { seed: Number(process.env.FUZZ_SEED) }),
});

/** Enough for the soak run. */
export const fuzzTimeoutMs = 3_600_000;

/** Names that some program treats in its own way. */
const trapNames = ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty", "then", "toJSON", ""];

/** Values at the edges of what parsers, doubles and databases take. */
const trapValues: readonly unknown[] = [
  null,
  -0,
  -1,
  1e308,
  1e21,
  Number.MIN_VALUE,
  2 ** 53,
  "-1",
  "1e3",
  "0x10",
  "NaN",
  "Infinity",
  " 150 ",
  "１５０",
  "150\u0000",
  "\u0000",
  "\ud800",
  "\u202e150",
  "'; drop table payment; --",
  "\r\nSet-Cookie: a=b",
  "$" + "{jndi:ldap://127.0.0.1/a}",
  "../../../../etc/passwd",
  "x".repeat(4_000),
  "9".repeat(400),
  [],
  {},
  [[[[[[[[]]]]]]]],
  { $ne: null },
];

const name = fc.oneof(fc.constantFrom(...trapNames), fc.string({ unit: "binary", maxLength: 12 }));

/** Any JSON value; some names and values are chosen to hurt. `__proto__` is a field like another, as in parsed JSON. */
export const jsonNoise: fc.Arbitrary<unknown> = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    fc.oneof(fc.constantFrom(...trapValues), fc.string({ unit: "binary" }), fc.double(), fc.boolean(), fc.integer()),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.array(fc.tuple(name, tie("value")), { maxLength: 5 }).map(ownFields),
  ),
})).value;

/** An object with these very fields, `__proto__` among them. */
function ownFields(entries: readonly (readonly [string, unknown])[]): object {
  const made = {};
  for (const [key, value] of entries) {
    Object.defineProperty(made, key, { value, enumerable: true, configurable: true, writable: true });
  }
  return made;
}

/** JSON of the given names too, so that it comes closer to what is expected. */
export const jsonNoiseWith = (names: readonly string[]): fc.Arbitrary<unknown> =>
  fc
    .array(fc.tuple(fc.constantFrom(...names), jsonNoise), { minLength: 1, maxLength: 8 })
    .map(ownFields)
    .chain((outer) =>
      fc.oneof(
        fc.constant(outer),
        fc.constantFrom(...names).map((key) => ownFields([[key, outer]])),
      ),
    );

/** Bytes of any kind. */
export const byteNoise: fc.Arbitrary<Buffer> = fc.oneof(
  { weight: 20, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)) },
  { weight: 20, arbitrary: fc.string({ unit: "binary" }).map((text) => Buffer.from(text)) },
  { weight: 2, arbitrary: fc.constantFrom(0, 1, 60_000).map((length) => Buffer.alloc(length, 0x20)) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 30_000 }).map((depth) => nested("[", "]", depth)) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 10_000 }).map((depth) => nested('{"a":', "}", depth)) },
);

/** As deep as 64 KiB go. */
export const nested = (open: string, close: string, depth: number): Buffer =>
  Buffer.from(`${open.repeat(depth)}${open.startsWith("{") ? 1 : ""}${close.repeat(depth)}`);

/** The webhooks of a provider that are kept as fixtures, by their names. */
export function webhookFixtures(provider: string): Map<string, Fixture & { headers?: Record<string, string> }> {
  const folder = new URL(`../fixture/${provider}/`, import.meta.url);
  const names = readdirSync(folder).filter((file) => /^webhook-.*\.json$/.test(file));
  return new Map(names.map((file) => file.replace(/\.json$/, "")).map((one) => [one, fixture(provider, one)]));
}

/** A place within a value: the names and numbers that lead there. */
export type Path = readonly (string | number)[];

/** Every place of a value, itself first. */
export function placesOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const inner: [string | number, unknown][] = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return [path, ...inner.flatMap(([key, one]) => placesOf(one, [...path, key]))];
}

/** Only the ends. */
export const leavesOf = (value: unknown): Path[] =>
  placesOf(value).filter((path) => typeof at(value, path) !== "object" || at(value, path) === null);

export const at = (value: unknown, path: Path): unknown =>
  path.reduce<unknown>((inner, key) => (inner as Record<string | number, unknown>)[key], value);

/** A copy with another value at this place. */
export function replaced(value: unknown, [first, ...rest]: Path, by: unknown): unknown {
  if (first === undefined) return by;
  const inner = replaced((value as Record<string | number, unknown>)[first], rest, by);
  if (Array.isArray(value)) return value.map((one, index) => (index === first ? inner : one));
  return ownFields(Object.entries(value as object).map(([key, one]) => [key, key === first ? inner : one]));
}

/** The same message gone wrong: a value replaced, removed or repeated, or its bytes cut, flipped or spoilt. */
export const mutations = (body: unknown): fc.Arbitrary<Buffer> => {
  const text = JSON.stringify(body);
  const somewhere = fc.constantFrom(...placesOf(body));
  return fc.oneof(
    fc.tuple(somewhere, jsonNoise).map(([path, noise]) => toBytes(replaced(body, path, noise))),
    fc.tuple(somewhere, jsonNoise, somewhere, jsonNoise).map(([path, noise]) => toBytes(replaced(body, path, noise))),
    somewhere.map((path) => toBytes(replaced(body, path, undefined))),
    fc.integer({ min: 0, max: text.length }).map((length) => Buffer.from(text.slice(0, length))),
    fc.tuple(fc.nat(text.length - 1), fc.integer({ min: 0, max: 255 })).map(([index, byte]) => {
      const bytes = Buffer.from(text);
      bytes[index] = byte;
      return bytes;
    }),
    fc.constant(Buffer.from(`${text}${text}`)),
    fc.constant(Buffer.from(`\ufeff${text}`)),
    fc.constant(Buffer.from(text, "utf16le")),
  );
};

const toBytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value) ?? "");

/** Header fields as Node hands them over. */
export const headerNoise: fc.Arbitrary<Record<string, string | string[]>> = fc.dictionary(
  fc.oneof(
    fc.constantFrom(
      "content-type",
      "x-api-key",
      "authorization",
      "x-signature",
      "x-lipana-signature",
      "x-callback-url",
    ),
    fc.stringMatching(/^[a-z-]{1,20}$/),
  ),
  fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 3 })),
  { maxKeys: 6 },
);
