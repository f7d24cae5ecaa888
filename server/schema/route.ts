/**
 * How a route is described, beside its handler, in its Fastify schema; api-docs/openapi.ts makes the OpenAPI document of
 * them all. Nothing here validates or serialises: handlers parse what they take, after the credential, so that a problem
 * names the field, and answers are typed by the compiler.
 */
import type { FastifySchema, FastifySchemaCompiler } from "fastify";
import type { z } from "zod";
import type { ErrorCode } from "../errors.ts";

export const tags = {
  Payments: "Starting payments, reading orders, deciding about them. For the merchant's backend.",
  Watching:
    "Following one order with its watch token. Every message is the whole current state: keep the newer `version`. Socket.IO and the frames of WebSocket and server-sent events are described in [asyncapi.json](asyncapi.json).",
  Providers: "The state of each provider.",
  Webhooks:
    "Only providers call these. The bytes are kept before the answer: a 2xx means on disk, will not be lost. The answer is in the provider's own form.",
  "Return address": "The payer's browser comes back here from a provider's own page.",
  Operating: "Whether this node is well.",
  Sandbox:
    "A demo shop and the payer's phone, where this node is the sandbox. The phone shows the prompts of payments and answers them.",
} as const;

type Json = Readonly<Record<string, unknown>>;

const merchant = [{ apiKey: [] }] as const;
const watcher = [{ watchToken: [] }, { watchTokenInUrl: [] }, { apiKey: [] }] as const;

/** Who may call: any one of these. */
export const openedBy = { merchant, watcher, anybody: [] } as const;

export interface RouteSchema {
  /** Unique; what generated clients call it. */
  operationId: string;
  tag: keyof typeof tags;
  summary: string;
  description?: string;
  security: (typeof openedBy)[keyof typeof openedBy];
  /** JSON Schemas by the header's name. */
  headers?: Readonly<Record<string, Json>>;
  querystring?: z.ZodObject;
  body?: z.ZodType;
  /** Of the body; alone where any bytes will do. */
  examples?: Readonly<Record<string, { summary: string; value: unknown }>>;
  /** By status; those of `problems` are added. Not `response`, which would choose a serialiser for each answer. */
  answers: Readonly<Record<number, Answer>>;
  problems: readonly ErrorCode[];
}

export interface Answer {
  description: string;
  /** `application/json` unless said otherwise. */
  type?: string;
  schema?: z.ZodType;
  example?: unknown;
  /** JSON Schemas by the header's name. */
  headers?: Readonly<Record<string, Json>>;
}

/** Problems of every route that takes a watch token. */
export const watchProblems = [
  "body_invalid",
  "token_invalid",
  "token_expired",
  "origin_refused",
  "order_unknown",
  "rate_limited",
  "internal",
  "store_unavailable",
] as const;

export interface Described {
  schema: FastifySchema & RouteSchema;
  validatorCompiler: FastifySchemaCompiler<unknown>;
}

/** Options of a route: `app.get(url, described({ … }), handler)`. A route without them is in no document. */
export const described = (schema: RouteSchema): Described => ({ schema, validatorCompiler });

/** Lets everything through: handlers parse. */
const validatorCompiler = () => (value: unknown) => ({ value });

/** Of what is sent with an ETag. */
export const notModified: Answer = { description: "What the reader has is still right." };

/** A page or another document for anybody, with an ETag. */
export const describedFile = (
  tag: RouteSchema["tag"],
  { operationId, summary, type }: { operationId: string; summary: string; type: string },
): Described =>
  described({
    operationId,
    tag,
    summary,
    security: openedBy.anybody,
    answers: { 200: { description: "The document.", type }, 304: notModified },
    problems: ["rate_limited"],
  });
