/**
 * The description of a route, next to its handler, as its Fastify schema. api-docs/openapi.ts makes the OpenAPI document from all
 * of them. The schema does not validate or serialise: a handler parses its input after it has checked the credential, so that a
 * problem names the field, and the compiler checks answers.
 */
import type { FastifySchema, FastifySchemaCompiler } from "fastify";
import type { z } from "zod";
import type { Scope } from "../auth/api-key.ts";
import type { ErrorCode } from "../errors.ts";

export const tags = {
  Payments: "Start payments, read orders and decide on them. For the merchant's backend.",
  Watching:
    "Watch one order with its watch token. Every message is the whole current state: keep the one with the higher `epoch`, and within one epoch the higher `version`. Socket.IO and the frames of WebSocket and server-sent events are described in [asyncapi.json](asyncapi.json).",
  Events: "Signed messages to your backend, and the history of all events. For the merchant's backend.",
  "Payment links": "Links and QR codes by which payers start payments on a page. For the merchant's backend.",
  Notifications: "Messages to payers and to the merchant: receipts, SMS and alerts.",
  Plans: "Instalments and subscriptions: payment links that are due one after another. For the merchant's backend.",
  Providers: "The state of each provider.",
  Keys: "API keys, and the record of the changes that were made with them. For the merchant's backend.",
  Desk: "The sessions of the desk, the merchant's page. For that page only.",
  Operating: "The health, the metrics and the API docs of the node.",
  Sandbox:
    "A demo shop, the payer's phone and an inbox, on nodes with a sandbox. The phone shows the prompts of payments, and answers them. The inbox has the mails about test payments.",
  "Called by providers":
    "Not for your code: only providers and SMS gateways call these. A 2xx means that the webhook is on disk. The answer has the form that the provider expects.",
  "Pages for payers":
    "Not for your code: payers' browsers open these, and return to one of them from a provider's own page.",
} as const;

type Json = Readonly<Record<string, unknown>>;

const key = <S extends Scope>(scope: S) => [{ apiKey: [scope] }] as const;
const watcher = [{ watchToken: [] }, { watchTokenInUrl: [] }, { apiKey: ["read"] }] as const;
const session = [{ deskSession: [] }] as const;

/** The credentials that open a route: any one of them. `read`, `pay` and `manage`: an API key with this scope. */
export const openedBy = {
  read: key("read"),
  pay: key("pay"),
  manage: key("manage"),
  watcher,
  session,
  everyone: [],
} as const;

export interface RouteSchema {
  /** Unique. Generated clients use it as the name of a function. */
  operationId: string;
  tag: keyof typeof tags;
  summary: string;
  description?: string;
  security: (typeof openedBy)[keyof typeof openedBy];
  /** JSON Schemas by the header's name. */
  headers?: Readonly<Record<string, Json>>;
  querystring?: z.ZodObject;
  body?: z.ZodType;
  /** Examples of the body. A route that accepts any bytes has examples and no `body`. */
  examples?: Readonly<Record<string, { summary: string; value: unknown }>>;
  /** By status, without those of `problems`. Not named `response`, because Fastify would then use a serialiser for each answer. */
  answers: Readonly<Record<number, Answer>>;
  problems: readonly ErrorCode[];
}

export interface Answer {
  description: string;
  /** `application/json` by default. */
  type?: string;
  schema?: z.ZodType;
  example?: unknown;
  /** JSON Schemas by the header's name. */
  headers?: Readonly<Record<string, Json>>;
}

/** Problems of every route of the merchant that reads. */
export const readProblems = [
  "key_invalid",
  "origin_refused",
  "scope_missing",
  "rate_limited",
  "internal",
  "store_unavailable",
] as const;

/** Problems of every route of the merchant that takes a body. */
export const writeProblems = ["body_invalid", "body_too_large", ...readProblems] as const;

/** The header of a request that creates something. `effect`: the answer to a repeated request. */
export const idempotencyKey = (effect: string): Json => ({
  type: "string",
  minLength: 1,
  maxLength: 257,
  description: `Quoted or bare, such as \`cart-7f3a\`; kept for 72 h. A request with the same key and body gets ${effect}; one with another body is refused.`,
});

/** The header of an answer to a repeated request. */
export const idempotencyReplayed: Json = {
  type: "string",
  enum: ["true"],
  description: "`true` when the key was used before with the same body.",
};

/** Problems of every route that takes a watch token. */
export const watchProblems = [
  "body_invalid",
  "token_invalid",
  "token_expired",
  "origin_refused",
  "scope_missing",
  "order_unknown",
  "rate_limited",
  "internal",
  "store_unavailable",
] as const;

export interface Described {
  schema: FastifySchema & RouteSchema;
  validatorCompiler: FastifySchemaCompiler<unknown>;
}

/** The options of a route: `app.get(url, described({ … }), handler)`. The API docs omit a route without them. */
export const described = (schema: RouteSchema): Described => ({ schema, validatorCompiler });

/** Accepts everything, because handlers parse. */
const validatorCompiler = () => (value: unknown) => ({ value });

/** The 304 of a file with an ETag. */
export const notModified: Answer = { description: "The client's copy is current." };

/** A page or another file with an ETag, for every client. */
export const describedFile = (
  tag: RouteSchema["tag"],
  { operationId, summary, type }: { operationId: string; summary: string; type: string },
): Described =>
  described({
    operationId,
    tag,
    summary,
    security: openedBy.everyone,
    answers: { 200: { description: "The document.", type }, 304: notModified },
    problems: ["rate_limited"],
  });
