/** The OpenAPI 3.1 document of the routes that this node really serves. */
import { z } from "zod";
import { type ErrorCode, errorTable, HubError, toProblem } from "../errors.ts";
import { orderIdText } from "../validation.ts";
import { callbackOperations } from "./callback.ts";
import { orderId, processing, prompt } from "./example.ts";
import { createSchemaCollector, type Json, type SchemaCollector } from "./json-schema.ts";
import { nodeOperations } from "./node.ts";
import { type Answer, type Described, type Operation, type Parameter, type Scheme, tags } from "./operation.ts";
import { paymentOperations } from "./payments.ts";
import { problem } from "./shape.ts";
import { watchingOperations } from "./watching.ts";

/** Every public route there can be. */
export const operations: readonly Operation[] = [
  ...paymentOperations,
  ...watchingOperations,
  ...callbackOperations,
  ...nodeOperations,
];

/** How a route is named in `served`. */
export const routeOf = ({ method, url }: { method: string; url: string }): string => `${method} ${url}`;

const about = `Starts mobile-money payments and tells every watcher, within milliseconds, what became of them.

Call with \`Authorization: Bearer <API key>\` from a backend. A payer's page or app gets the \`watchToken\` of its order
and gives it as \`Authorization: Bearer\`, or as \`?token=\` where a browser cannot set headers.

JSON is camelCase; money is a whole number of minor units; times are ISO 8601, UTC; phones are masked on the way out.
Accept fields, reasons and statuses that you do not know, and go by \`settled\`.

Every address refuses a method that it does not take with 405 \`method_not_allowed\` and \`Allow\`, and answers \`OPTIONS\`
with 204 and \`Allow\`. A request that does not arrive in time, is too large, or is not HTTP is refused before it reaches an
operation: 408 \`request_timeout\`, 431 \`headers_too_large\`, 400 \`body_invalid\`. See \`components.responses\`.`;

/** Problems of every address: they arise before an operation is found, so they are beside the operations and not in each. */
export const commonProblems: readonly ErrorCode[] = ["method_not_allowed", "request_timeout", "headers_too_large"];

const securitySchemes: Record<Scheme, Json> = {
  apiKey: { type: "http", scheme: "bearer", description: "The merchant's API key. For backends only." },
  watchToken: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "Opens one order for watching, until it runs out.",
  },
  watchTokenInUrl: {
    type: "apiKey",
    in: "query",
    name: "token",
    description: "The watch token where headers cannot be set: EventSource and WebSocket in a browser.",
  },
};

/** What stands in a path. */
const pathParameters: Readonly<Record<string, Parameter>> = {
  orderId: {
    name: "orderId",
    description: "Your name for the order.",
    schema: z.toJSONSchema(orderIdText) as Json,
    example: orderId,
  },
  provider: { name: "provider", description: "The provider's name.", schema: { type: "string" }, example: "daraja" },
  secret: {
    name: "secret",
    description: "Names one payment and proves that we made the address.",
    schema: { type: "string", pattern: "^[0-9a-f]{64}$" },
    example: "0199f2c47c1e7b1a9f5e2d8c6a3b4e52a7c0d4f86b2e4913875fd01c6e9ab342",
  },
  msisdn: {
    name: "msisdn",
    description: "The phone; its last nine digits count.",
    schema: { type: "string" },
    example: "254712345600",
  },
  file: { name: "file", description: "The file.", schema: { type: "string" }, example: "tukio.js" },
  id: { name: "id", description: "The prompt.", schema: { type: "string", format: "uuid" }, example: prompt.id },
};

export interface OpenApiOptions {
  /** The routes to describe, as `routeOf` names them. */
  served: ReadonlySet<string>;
  version: string;
}

/** Makes the document. Routes that are not served here (the sandbox in production) are not in it. */
export function openApi({ served, version }: OpenApiOptions): Json {
  const schemas = createSchemaCollector("draft-2020-12");
  const shown = operations.filter((operation) => served.has(routeOf(operation)));
  const paths: Record<string, Json> = {};
  for (const operation of shown) {
    const path = operation.url.replace(/:(\w+)/g, "{$1}");
    paths[path] = { ...paths[path], [operation.method.toLowerCase()]: describe(operation, schemas) };
  }
  return {
    openapi: "3.1.1",
    info: { title: "Tukio", version, summary: "Real-time payment status hub", description: about, license },
    servers: [{ url: ".", description: "This node" }],
    tags: Object.entries(tags)
      .filter(([name]) => shown.some(({ tag }) => tag === name))
      .map(([name, description]) => ({ name, description })),
    paths,
    components: {
      securitySchemes,
      responses: Object.fromEntries(commonProblems.map((code) => [code, problemOf([code], schemas)])),
      schemas: schemas.components,
      examples: problemExamples(),
    },
  };
}

const license = { name: "MIT", identifier: "MIT" };

function describe(operation: Operation, schemas: SchemaCollector): Json {
  const { id, tag, summary, description, openedBy, problems, answers } = operation;
  const parameters = parametersOf(operation, schemas);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    security: openedBy.map((scheme) => ({ [scheme]: [] })),
    ...(parameters.length > 0 && { parameters }),
    ...requestBodyOf(operation, schemas),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, responseOf(answer, schemas)])),
      ...problemsOf(
        isParametric(operation) ? [...new Set<ErrorCode>(["body_invalid", ...problems])] : problems,
        schemas,
      ),
    },
  };
}

/** Every operation with a path parameter refuses one that is not percent-encoded UTF-8. */
const isParametric = ({ url }: Operation): boolean => url.includes(":");

function parametersOf({ url, headers = [], query }: Operation, schemas: SchemaCollector): Json[] {
  const inPath = [...url.matchAll(/:(\w+)/g)].map(([, name = ""]) => ({
    in: "path",
    required: true,
    ...pathParameters[name],
  }));
  const inQuery = query ? queryOf(query, schemas) : [];
  return [...inPath, ...inQuery, ...headers.map((header) => ({ in: "header", ...header }))];
}

function queryOf({ schema, fields }: Described, schemas: SchemaCollector): Json[] {
  const { properties = {}, required = [] } = schemas.add(schema) as { properties?: Json; required?: string[] };
  return Object.entries(fields).map(([name, field]) => ({
    in: "query",
    name,
    ...(required.includes(name) && { required: true }),
    ...field,
    schema: properties[name],
  }));
}

function requestBodyOf({ body }: Operation, schemas: SchemaCollector): Json {
  if (!body) return {};
  const { id, schema, fields = {}, examples } = body;
  const media = { examples, ...(id !== undefined && schema && { schema: bodyOf(id, { schema, fields }, schemas) }) };
  return { requestBody: { required: true, content: { "application/json": media } } };
}

function bodyOf(id: string, { schema, fields }: Described, schemas: SchemaCollector): Json {
  const { properties = {}, ...rest } = schemas.add(schema) as { properties?: Record<string, Json> };
  const told = Object.entries(properties).map(([name, property]) => [name, { ...property, ...fields[name] }]);
  return schemas.name(id, { ...rest, properties: Object.fromEntries(told) });
}

function responseOf({ description, type, shapes = [], example, headers }: Answer, schemas: SchemaCollector): Json {
  const [first, ...others] = shapes.map((shape) => schemas.add(shape));
  const schema = others.length > 0 ? { oneOf: [first, ...others] } : first;
  const media = { ...(schema && { schema }), ...(example !== undefined && { example }) };
  const isEmpty = type === undefined && Object.keys(media).length === 0;
  return {
    description,
    ...(headers && { headers }),
    ...(!isEmpty && { content: { [type ?? "application/json"]: media } }),
  };
}

/** The codes of one status share a response. */
function problemsOf(codes: readonly ErrorCode[], schemas: SchemaCollector): Json {
  const byStatus = Object.groupBy(codes, (code) => errorTable[code].status);
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, alike = []]) => [status, problemOf(alike, schemas)]),
  );
}

/** The response of codes that have one status. */
function problemOf(alike: readonly ErrorCode[], schemas: SchemaCollector): Json {
  const [first] = alike;
  return {
    description: alike.map((code) => `\`${code}\`: ${errorTable[code].title}`).join(". "),
    ...(alike.includes("rate_limited") && { headers: { "Retry-After": retryAfter } }),
    ...(alike.some(needsBearer) && { headers: { "WWW-Authenticate": challenge } }),
    ...(alike.includes("method_not_allowed") && { headers: { Allow: allow } }),
    ...(alike.includes("upgrade_required") && { headers: { Upgrade: upgrade } }),
    content: {
      "application/problem+json": {
        schema: {
          ...schemas.add(problem),
          properties: { status: { const: first && errorTable[first].status }, code: { enum: alike } },
          ...(alike.every(carriesOrder) && { required: ["order"] }),
        },
        examples: Object.fromEntries(alike.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  };
}

const allow = { description: "The methods that the address takes.", schema: { type: "string" } };

const upgrade = { description: "What to upgrade to.", schema: { type: "string", const: "websocket" } };

const retryAfter = { description: "Seconds.", schema: { type: "integer", minimum: 1 } };

const challenge = { description: "What kind of credential is needed.", schema: { type: "string", const: "Bearer" } };

const needsBearer = (code: ErrorCode): boolean => errorTable[code].status === 401 && code !== "webhook_rejected";

/** Why a payment is refused for the order's sake is told with the order. */
const carriesOrder = (code: ErrorCode): boolean =>
  ["payment_in_progress", "order_paid", "order_in_review", "order_mismatch"].includes(code);

const problemExamples = (): Json =>
  Object.fromEntries(
    (Object.keys(errorTable) as ErrorCode[]).map((code) => [
      code,
      { value: toProblem(new HubError(code, undefined, carriesOrder(code) ? { order: processing } : {})) },
    ]),
  );
