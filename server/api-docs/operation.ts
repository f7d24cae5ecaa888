/** How one route is described. The tables beside this file are made of these; openapi.ts turns them into a document. */
import type { z } from "zod";
import type { ErrorCode } from "../errors.ts";

export interface Operation {
  method: "GET" | "POST" | "PUT";
  /** As the route is registered, with `:name` parameters. */
  url: string;
  /** Unique; what generated clients call it. */
  id: string;
  tag: Tag;
  summary: string;
  description?: string;
  /** Who may call: any one of these; none means anybody. */
  openedBy: readonly Scheme[];
  headers?: readonly Parameter[];
  query?: Described;
  body?: Body;
  answers: Readonly<Record<number, Answer>>;
  problems: readonly ErrorCode[];
}

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
    "A demo shop and the payer's phone, where this node is the sandbox. The phone answers the prompts that payments ring.",
} as const;

export type Tag = keyof typeof tags;

export type Scheme = "apiKey" | "watchToken" | "watchTokenInUrl";

export const merchant = ["apiKey"] as const;
export const watcher = ["watchToken", "watchTokenInUrl", "apiKey"] as const;
export const anybody = [] as const;

export interface Parameter {
  name: string;
  description: string;
  schema: Record<string, unknown>;
  example?: string;
}

/** An object that a route parses, with a line and an example for each field; the compiler knows the fields. */
export interface Described {
  schema: z.ZodObject;
  fields: Readonly<Record<string, Field>>;
}

export interface Field {
  description: string;
  example?: string | number;
}

export const described = <S extends z.ZodObject>(
  schema: S,
  fields: Record<keyof z.input<S> & string, Field>,
): Described => ({ schema, fields });

export interface Body extends Partial<Described> {
  /** Absent where any bytes will do. */
  id?: string;
  examples: Readonly<Record<string, { summary: string; value: unknown }>>;
}

export interface Answer {
  description: string;
  /** `application/json` unless said otherwise. */
  type?: string;
  /** Any one of these. */
  shapes?: readonly z.ZodType[];
  example?: unknown;
  headers?: Readonly<Record<string, { description: string; schema: Record<string, unknown> }>>;
}
