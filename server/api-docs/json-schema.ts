/** JSON Schemas from the zod schemas that parse requests. They describe the input, before any transform. */
import { strict as assert } from "node:assert";
import { z } from "zod";

export type Json = Record<string, unknown>;

/** Collects schemas with an id in `components`, so that the document has each once and refers to it. */
export interface SchemaCollector {
  /** Returns the schema, or a reference to it if it has an id. */
  add(schema: z.ZodType): Json;
  readonly components: Readonly<Record<string, Json>>;
}

export type Dialect = "draft-2020-12" | "draft-07";

export function createSchemaCollector(target: Dialect): SchemaCollector {
  const components: Record<string, Json> = {};

  return {
    add(schema) {
      const made: Json = z.toJSONSchema(schema, { target, io: "input", override });
      const { $schema: _, $defs, definitions, ...root } = relocate(made) as Json;
      const named = ($defs ?? definitions ?? {}) as Record<string, Json>;
      for (const [id, shape] of Object.entries(named)) components[nameOf(id)] ??= shape;
      return root;
    },
    components,
  };
}

/** Keeps defaults and examples, which zod drops before a transform. Drops the pattern of a type with a format. */
function override({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: Json }): void {
  const { def } = zodSchema._zod;
  const { examples } = z.globalRegistry.get(zodSchema) ?? {};
  if (examples !== undefined) jsonSchema.examples = examples;
  if (def.type === "default") jsonSchema.default = def.defaultValue;
  if (jsonSchema.format !== undefined || jsonSchema.type === "integer") delete jsonSchema.pattern;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
}

/** Fails for a generated name, which zod gives to a schema that refers to itself. */
const nameOf = (id: string): string => {
  assert(!id.startsWith("__"), `${id} needs an id`);
  return id;
};

/** Turns references within the schema into references within the document. */
function relocate(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relocate);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const id = key === "$ref" ? /^#\/(?:\$defs|definitions)\/(.+)$/.exec(String(inner))?.[1] : undefined;
      return [key, id === undefined ? relocate(inner) : `#/components/schemas/${nameOf(id)}`];
    }),
  );
}
