/**
 * Generates `schema.ts`, the types of the API, from `docs/openapi.json`. `npm run build:types --workspace merchant-sdk` writes it, and a
 * test fails if the two differ. The generator needs TypeScript 5, because TypeScript 7 has no API for programs.
 */
import { readFile, writeFile } from "node:fs/promises";
import openapiTypescript, { astToString, type OpenAPI3 } from "openapi-typescript";

const documentFile = new URL("../../docs/openapi.json", import.meta.url);

/** The file with the generated types. */
export const schemaFile = new URL("../schema.ts", import.meta.url);

const preamble = `/**
 * The types of Tukio's API for merchants, generated from docs/openapi.json by build/schema.ts. Do not edit: run
 * \`npm run build:types --workspace merchant-sdk\`.
 */
`;

/** The calls of a merchant's backend and of the desk: the API without the channels of watchers, and for tests the phone and the clock of the sandbox. */
const isMerchants = (path: string): boolean =>
  /^\/(v1\/|sandbox\/(phone\/|clock$)|desk\/session$)/.test(path) && !/^\/v1\/orders\/.*\/(events|socket)$/.test(path);

/** Returns the text of `schema.ts`. */
export async function generateSchema(): Promise<string> {
  const document = JSON.parse(await readFile(documentFile, "utf8"), dropProblems) as OpenAPI3;
  const paths = Object.fromEntries(Object.entries(document.paths ?? {}).filter(([path]) => isMerchants(path)));
  const nodes = await openapiTypescript({ ...document, paths }, { defaultNonNullable: false });
  return preamble + astToString(nodes);
}

/** Drops the answers that are problems, because they all have one type, which is a schema of its own. */
const dropProblems = (key: string, value: unknown): unknown =>
  key === "responses" && typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value).filter(([status]) => /^2/.test(status)))
    : value;

if (import.meta.main) await writeFile(schemaFile, await generateSchema());
