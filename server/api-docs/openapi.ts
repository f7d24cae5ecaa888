/** The OpenAPI 3.1 document, from the descriptions of the routes that this node serves (schema/route.ts). */
import swagger from "@fastify/swagger";
import type { FastifyInstance, FastifySchema } from "fastify";
import { z } from "zod";
import { scopes } from "../auth/api-key.ts";
import { type ErrorCode, errorTable, HubError, toProblem } from "../errors.ts";
import { notificationNames } from "../notification/notification.ts";
import { smsGatewayNames } from "../notification/sms/gateway.ts";
import { orderIdForm, orderIdText } from "../order-id.ts";
import { problem } from "../schema/answer.ts";
import {
  endpointId,
  inboxWebhook,
  keyId,
  orderId,
  paymentId,
  paymentLinkId,
  processing,
  prompt,
  ticket,
} from "../schema/example.ts";
import { type Answer, type RouteSchema, tags } from "../schema/route.ts";
import { msisdnText } from "../validation.ts";
import { createSchemaCollector, type Json, type SchemaCollector } from "./json-schema.ts";

const about = `Starts mobile-money payments and delivers their status to every watcher within milliseconds.

A backend sends \`Authorization: Bearer <API key>\`. A payer's page or app gets the \`watchToken\` of its order and sends it
as \`Authorization: Bearer\`, or as \`?token=\` where a browser cannot set headers.

JSON is camelCase, money is a whole number of minor units, times are ISO 8601 in UTC, and answers contain masked phones.
Accept unknown fields, reasons and statuses, and use \`settled\`.

Every URL refuses other methods with 405 \`method_not_allowed\` and \`Allow\`, and answers \`OPTIONS\` with 204 and
\`Allow\`. A request that does not arrive in time, is too large, or is not HTTP is refused before it reaches an operation: 408 \`request_timeout\`, 431 \`headers_too_large\`, 400 \`body_invalid\`. See \`components.responses\`.`;

/** Problems of every URL. They occur before an operation is found, so the document lists them once and not in each operation. */
export const commonProblems: readonly ErrorCode[] = ["method_not_allowed", "request_timeout", "headers_too_large"];

const securitySchemes = {
  apiKey: {
    type: "http",
    scheme: "bearer",
    description: "An API key of the merchant's, with the scope that the operation names. For backends only.",
  },
  watchToken: {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
    description: "Allows to watch one order until it expires.",
  },
  watchTokenInUrl: {
    type: "apiKey",
    in: "query",
    name: "token",
    description: "The watch token of EventSource and WebSocket in a browser, which cannot set headers.",
  },
  deskSession: {
    type: "apiKey",
    in: "cookie",
    name: "__Host-tukio_desk",
    description:
      "A session of the desk, which acts with its API key wherever one is accepted. Only for the desk's own page.",
  },
} as const;

/** The parameters of paths, by their name or by the segment before them and their name. */
const pathParameters: Readonly<Record<string, Json>> = {
  orderId: {
    ...z.toJSONSchema(orderIdText, { override: ({ jsonSchema }) => delete jsonSchema.$schema }),
    description: `Your name for the order. Percent-encode it in the path. ${orderIdForm}`,
    examples: [orderId],
  },
  provider: { type: "string", description: "The provider's name.", examples: ["daraja"] },
  name: {
    type: "string",
    enum: notificationNames,
    description: "The notification's name.",
    examples: ["receipt"],
  },
  secret: {
    type: "string",
    pattern: "^[0-9a-f]{64}$",
    description:
      "Proves that Tukio created the URL. In the URL of a payment's webhook or return it also names the payment.",
    examples: ["0199f2c47c1e7b1a9f5e2d8c6a3b4e52a7c0d4f86b2e4913875fd01c6e9ab342"],
  },
  gateway: { type: "string", enum: smsGatewayNames, description: "The SMS gateway.", examples: ["africastalking"] },
  msisdn: {
    ...z.toJSONSchema(msisdnText, { override: ({ jsonSchema }) => delete jsonSchema.$schema }),
    description: "The phone. Only its last nine digits are compared.",
    examples: ["254712345600"],
  },
  file: { type: "string", description: "The file.", examples: ["tukio.js"] },
  "prompts/id": { type: "string", format: "uuid", description: "The prompt.", examples: [prompt.id] },
  token: { type: "string", description: "The random end of the link's `url`.", examples: ["Zk3vQ0m9sT2xW8bN5rLcYh1D"] },
  "payment-links/id": { type: "string", format: "uuid", description: "The payment link.", examples: [paymentLinkId] },
  planId: {
    ...z.toJSONSchema(orderIdText, { override: ({ jsonSchema }) => delete jsonSchema.$schema }),
    description: `Your name for the plan. Percent-encode it in the path. ${orderIdForm}`,
    examples: ["PHONE-7"],
  },
  "keys/id": { type: "string", format: "uuid", description: "The API key.", examples: [keyId] },
  "payments/id": { type: "string", format: "uuid", description: "The payment.", examples: [paymentId] },
  "webhooks/id": { type: "integer", minimum: 0, description: "The webhook.", examples: [inboxWebhook.id] },
  "endpoints/id": { type: "string", format: "uuid", description: "The endpoint.", examples: [endpointId] },
  resultId: {
    ...z.toJSONSchema(orderIdText, { override: ({ jsonSchema }) => delete jsonSchema.$schema }),
    description: `Your name for the result. Percent-encode it in the path. ${orderIdForm}`,
    examples: [ticket.id],
  },
};

export interface OpenApiOptions {
  /** `PUBLIC_URL`, if it is set. */
  publicUrl?: string | undefined;
  version: string;
}

/** Collects every route that is added from now on. Returns a function that makes the document once all are added. */
export async function collectOperations(
  app: FastifyInstance,
  { publicUrl, version }: OpenApiOptions,
): Promise<() => Json> {
  const schemas = createSchemaCollector("draft-2020-12");
  await app.register(swagger, {
    openapi: {
      openapi: "3.1.1",
      info: { title: "Tukio", version, summary: "Real-time payment status hub", description: about, license },
      components: { securitySchemes },
    },
    convertConstToEnum: false,
    transform: ({ schema, url }) => ({
      schema: isDescribed(schema) ? operationOf(schema, url, schemas) : { hide: true },
      url,
    }),
  });
  return () => {
    const document: Json = { ...app.swagger() };
    const used = new Set(Object.values(document.paths as Json).flatMap(tagsOf));
    const responses = Object.fromEntries(commonProblems.map((code) => [code, commonProblem(code, schemas)]));
    return {
      ...document,
      servers: [publicUrl === undefined ? { url: ".", description: "This node" } : { url: publicUrl }],
      tags: Object.entries(tags).flatMap(([name, description]) => (used.has(name) ? { name, description } : [])),
      components: { securitySchemes, responses, schemas: schemas.components, examples: problemExamples() },
    };
  };
}

const isDescribed = (schema: FastifySchema | undefined): schema is FastifySchema & RouteSchema =>
  schema !== undefined && "answers" in schema;

/** The tags of all operations of one path. */
const tagsOf = (path: unknown): string[] =>
  Object.values(path as Record<string, { tags: string[] }>).flatMap((operation) => operation.tags);

const license = { name: "MIT", identifier: "MIT" };

/** Translates a route's description into the schema that `@fastify/swagger` reads. */
function operationOf(schema: RouteSchema, url: string, schemas: SchemaCollector) {
  const { operationId, tag, summary, description, security, headers, querystring, answers, problems } = schema;
  const params = [...url.matchAll(/([\w-]*)\/:(\w+)/g)].map(([, before, name = ""]) => [
    name,
    pathParameters[`${before}/${name}`] ?? pathParameters[name],
  ]);
  // An operation with a path parameter refuses a parameter that is not percent-encoded UTF-8.
  const codes = params.length > 0 ? [...new Set<ErrorCode>(["body_invalid", ...problems])] : problems;
  return {
    operationId,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    security,
    ...(params.length > 0 && { params: { type: "object", properties: Object.fromEntries(params) } }),
    ...(querystring && { querystring: schemas.add(querystring) }),
    ...(headers && { headers: { type: "object", properties: headers } }),
    ...bodyOf(schema, schemas),
    response: responsesOf(
      Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, answerOf(answer, schemas)])),
      problemsOf(codes, schemas),
    ),
  };
}

/** A page may have the status of a problem: then the response has both. */
function responsesOf(answers: Responses, problems: Responses): Responses {
  const shared = Object.entries(problems).flatMap(([status, problem]) => {
    const answer = answers[status];
    if (!answer) return [];
    const description = `${answer.description} Or ${problem.description}`;
    const headers = { ...answer.headers, ...problem.headers };
    const content = { ...answer.content, ...problem.content };
    return [[status, { description, content, ...(Object.keys(headers).length > 0 && { headers }) }]];
  });
  return { ...answers, ...problems, ...Object.fromEntries(shared) };
}

interface Response {
  description: string;
  headers?: Json;
  content?: Json;
  /** Without a body. */
  type?: "null";
}

type Responses = Record<string, Response>;

/** Wraps a reference in `allOf`, because the plugin drops the other fields of an object with `$ref`. */
function bodyOf({ body, examples }: RouteSchema, schemas: SchemaCollector): Json {
  if (!examples) return {};
  const schema = { ...(body && { allOf: [schemas.add(body)] }), "x-examples": examples };
  return { body: { content: { "application/json": { schema } } } };
}

/** An answer that is not JSON has a content type and no schema. */
function answerOf({ description, type, schema, example, headers }: Answer, schemas: SchemaCollector): Response {
  const shared = { description, ...(headers && { headers }) };
  if (!schema && type === undefined && example === undefined) return { ...shared, type: "null" };
  const isText = type !== undefined && type !== "application/json";
  const media = {
    schema: schema ? schemas.add(schema) : isText ? { type: "string" } : {},
    ...(example !== undefined && { example }),
  };
  return { ...shared, content: { [type ?? "application/json"]: media } };
}

/** The responses by status. The codes of one status share a response. */
function problemsOf(codes: readonly ErrorCode[], schemas: SchemaCollector): Responses {
  const byStatus = Object.groupBy(codes, (code) => errorTable[code].status);
  return Object.fromEntries(
    Object.entries(byStatus).map(([status, alike = []]) => [status, problemOf(alike, schemas)]),
  );
}

/** The response of several codes with the same status. */
function problemOf(
  alike: readonly ErrorCode[],
  schemas: SchemaCollector,
): Response & { headers?: Record<string, Json> } {
  const [first] = alike;
  const headers = {
    ...(alike.includes("rate_limited") && { "Retry-After": retryAfter }),
    ...(alike.some(needsBearer) && { "WWW-Authenticate": challenge }),
    ...(alike.includes("scope_missing") && { "WWW-Authenticate": scopeChallenge }),
    ...(alike.includes("method_not_allowed") && { Allow: allow }),
    ...(alike.includes("upgrade_required") && { Upgrade: upgrade }),
  };
  return {
    description: alike.map((code) => `\`${code}\`: ${errorTable[code].title}`).join(". "),
    ...(Object.keys(headers).length > 0 && { headers }),
    content: {
      "application/problem+json": {
        schema: {
          allOf: [schemas.add(problem)],
          properties: { status: { const: first && errorTable[first].status }, code: { enum: alike } },
          ...(alike.every(carriesOrder) && { required: ["order"] }),
        },
        examples: Object.fromEntries(alike.map((code) => [code, { $ref: `#/components/examples/${code}` }])),
      },
    },
  };
}

/** The response as a component, which `@fastify/swagger` does not change. */
function commonProblem(code: ErrorCode, schemas: SchemaCollector): Json {
  const { headers = {}, ...response } = problemOf([code], schemas);
  const documented = Object.entries(headers).map(([name, { description, ...schema }]) => [
    name,
    { description, schema },
  ]);
  return { ...response, ...(documented.length > 0 && { headers: Object.fromEntries(documented) }) };
}

const allow = { type: "string", description: "The methods that the URL accepts." };

const upgrade = { type: "string", const: "websocket", description: "The protocol to upgrade to." };

const retryAfter = { type: "integer", minimum: 1, description: "Seconds." };

const challenge = { type: "string", const: "Bearer", description: "The required kind of credential." };

const scopeChallenge = {
  type: "string",
  pattern: `^Bearer error="insufficient_scope", scope="(${scopes.join("|")})"$`,
  description: "With `scope_missing`: the scope that is needed.",
};

const needsBearer = (code: ErrorCode): boolean => errorTable[code].status === 401 && code !== "webhook_rejected";

/** Problems that are caused by the order's state contain the order. Not `order_mismatch`: the order id may belong to a payment link. */
const carriesOrder = (code: ErrorCode): boolean =>
  ["payment_in_progress", "order_paid", "order_unpaid", "order_in_review"].includes(code);

const problemExamples = (): Record<string, { value: unknown }> =>
  Object.fromEntries(
    (Object.keys(errorTable) as ErrorCode[]).map((code) => [
      code,
      { value: toProblem(new HubError(code, undefined, carriesOrder(code) ? { order: processing } : {})) },
    ]),
  );
