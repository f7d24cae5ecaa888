/** Sends requests as the node's OpenAPI document describes them, and validates every answer against that document. */
import { Ajv2020 } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import { expect } from "vitest";

interface Media {
  schema?: object;
  example?: unknown;
  examples?: Record<string, { $ref?: string; value?: unknown }>;
}

interface Described {
  in: "path" | "query" | "header";
  name: string;
  description?: string;
  example?: string | number;
}

export interface DocumentedOperation {
  operationId: string;
  summary: string;
  tags: string[];
  security: Record<string, unknown>[];
  parameters?: Described[];
  requestBody?: { content: Record<string, Media> };
  responses: Record<string, { headers?: Record<string, { schema: object }>; content?: Record<string, Media> }>;
}

export interface OpenApiDocument {
  openapi: string;
  servers: { url: string; description?: string }[];
  tags: { name: string }[];
  paths: Record<string, Record<string, DocumentedOperation>>;
  components: {
    schemas: Record<string, object>;
    responses: Record<string, object>;
    examples: Record<string, { value: unknown }>;
  };
}

/** An operation with its method and path. */
export interface Listed extends DocumentedOperation {
  method: string;
  path: string;
}

export const listOperations = ({ paths }: OpenApiDocument): Listed[] =>
  Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ ...operation, path, method: method.toUpperCase() })),
  );

/** Values to send instead of the document's examples. */
export interface Sent {
  /** Values of path parameters, and of body fields of the same name. */
  names?: Record<string, string>;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: unknown;
}

export interface Received {
  status: number;
  headers: Headers;
  body: unknown;
}

/** Fails unless the value matches the schema at this JSON pointer of the document. */
export type Check = (pointer: readonly string[], value: unknown) => void;

/** Creates a strict check: it rejects undocumented fields, because the document must list every field we send. */
export function createCheck(document: OpenApiDocument): Check {
  const ajv = new Ajv2020({ strict: false, allErrors: true });
  formats.default(ajv);
  ajv.addSchema(closed(document), "openapi.json");
  return (pointer, value) => {
    const escaped = pointer.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")));
    ajv.validate({ $ref: `openapi.json#/${escaped.join("/")}` }, value);
    expect(ajv.errors ?? [], `${pointer.join(" ")}: ${JSON.stringify(value)}`).toEqual([]);
  };
}

/** Copies a schema and forbids undocumented fields in every object. */
export function closed<T>(value: T): T {
  if (Array.isArray(value)) return value.map(closed) as T;
  if (typeof value !== "object" || value === null) return value;
  const inner = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, closed(one)]));
  const isOpen = inner.type === "object" && "properties" in inner && !("additionalProperties" in inner);
  return { ...inner, ...(isOpen && { additionalProperties: false }) } as T;
}

/** Headers that the document must describe wherever an answer has them. */
const describedHeaders = [
  "idempotency-replayed",
  "preference-applied",
  "retry-after",
  "location",
  "www-authenticate",
  "allow",
  "upgrade",
];

/** Creates a function that sends the request of an operation and checks the answer. */
export function createCaller(url: string, document: OpenApiDocument) {
  const check = createCheck(document);
  const operations = new Map(listOperations(document).map((operation) => [operation.operationId, operation]));

  const checkAnswer = ({ path, method, responses }: Listed, { status, headers, body }: Received): void => {
    const described = responses[status];
    expect(described, `${method} ${path} answers ${status}: ${JSON.stringify(body)}`).toBeDefined();
    const [type = ""] = (headers.get("content-type") ?? "").split(";");
    // An answer without a body has no type.
    expect(Object.keys(described?.content ?? { "": {} }), `${method} ${path} ${status}`).toContain(type);
    const at = ["paths", path, method.toLowerCase(), "responses", String(status)];
    if (described?.content?.[type]?.schema) check([...at, "content", type, "schema"], body);
    for (const name of describedHeaders.filter((header) => headers.has(header))) {
      const key = Object.keys(described?.headers ?? {}).find((header) => header.toLowerCase() === name);
      expect(key, `${method} ${path} ${status} has ${name}`).toBeDefined();
      const text = headers.get(name) ?? "";
      if (key !== undefined) check([...at, "headers", key, "schema"], /^\d+$/.test(text) ? Number(text) : text);
    }
  };

  return async (id: string, { names = {}, query, headers = {}, body }: Sent = {}): Promise<Received> => {
    const operation = operations.get(id);
    if (!operation) throw new Error(`no operation ${id}`);
    const response = await fetch(url + addressOf(operation, names, query), {
      method: operation.method,
      redirect: "manual",
      headers: { ...(body !== undefined && { "content-type": "application/json" }), ...headers },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const received = { status: response.status, headers: response.headers, body: await bodyOf(response) };
    checkAnswer(operation, received);
    return received;
  };
}

export function addressOf({ path, parameters = [] }: Listed, names: Record<string, string>, query?: object): string {
  const examples = new Map(parameters.map(({ name, example }) => [name, example]));
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => names[name] ?? String(examples.get(name)));
  const search = new URLSearchParams(Object.entries(query ?? {}));
  return search.size > 0 ? `${filled}?${search}` : filled;
}

/** Reads the body. Cancels an event stream, which has no end. */
async function bodyOf(response: Response): Promise<unknown> {
  const type = response.headers.get("content-type") ?? "";
  if (type.includes("event-stream")) {
    await response.body?.cancel();
    return "";
  }
  const text = await response.text();
  return type.includes("json") ? JSON.parse(text) : text;
}
