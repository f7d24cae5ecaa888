/** Converts the zod schemas of requests and answers to JSON Schemas. They describe the input, before any transform. */
import { strict as assert } from "node:assert";
import { z } from "zod";

export type Json = Record<string, unknown>;

/** Collects schemas. Those with an id are in `components`, so that the document contains each of them once. */
export interface SchemaCollector {
  /** Returns the JSON Schema, or a reference to it if the schema has an id. */
  add(schema: z.ZodType): Json;
  readonly components: Readonly<Record<string, Json>>;
}

export type Dialect = "draft-2020-12" | "draft-07";

export function createSchemaCollector(target: Dialect): SchemaCollector {
  const components: Record<string, Json> = {};

  return {
    add(schema) {
      const made: Json = z.toJSONSchema(schema, {
        target,
        io: "input",
        override(context) {
          override(context);
          // OpenAPI only: AsyncAPI's own `discriminator` has another form.
          if (target === "draft-2020-12") addDiscriminator(context);
        },
      });
      const { $schema: _, $defs, definitions, ...root } = relocate(made) as Json;
      const named = ($defs ?? definitions ?? {}) as Record<string, Json>;
      for (const [id, shape] of Object.entries(named)) components[nameOf(id)] ??= shape;
      return root;
    },
    components,
  };
}

/**
 * Adds defaults and examples, because zod leaves them out of a schema with a transform. Removes the pattern of a string with a format,
 * and the maximum that zod adds to every integer, because both repeat the type.
 */
function override({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: Json }): void {
  const { def } = zodSchema._zod;
  const { examples } = z.globalRegistry.get(zodSchema) ?? {};
  if (examples !== undefined) jsonSchema.examples = examples;
  if (def.type === "default") jsonSchema.default = def.defaultValue;
  if (jsonSchema.format !== undefined || jsonSchema.type === "integer") delete jsonSchema.pattern;
  if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
}

/** Names the schema of each value that tells the members of a union apart, for generators of clients. Every member needs an id. */
function addDiscriminator({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: Json }): void {
  const { def } = zodSchema._zod;
  if (def.type !== "union" || !("discriminator" in def)) return;
  const propertyName = String(def.discriminator);
  const mapping = Object.fromEntries(
    def.options.flatMap((option) => {
      const { id = "__member" } = z.globalRegistry.get(option) ?? {};
      const values = [...(option._zod.propValues?.[propertyName] ?? [])];
      return values.map((value) => [String(value), `#/components/schemas/${nameOf(id)}`]);
    }),
  );
  jsonSchema.discriminator = { propertyName, mapping };
}

/** Returns the id. Throws for a name that zod generated, because a schema that refers to itself needs an id of its own. */
const nameOf = (id: string): string => {
  assert(!id.startsWith("__"), `${id} needs an id`);
  return id;
};

/** Rewrites references within the schema to `#/components/schemas/`. */
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
