/** The descriptions of the routes of keys and of the desk's sessions, for the API docs. */
import { z } from "zod";
import { type Scope, scopes } from "../auth/api-key.ts";
import * as example from "../schema/example.ts";
import { described, openedBy, readProblems, writeProblems } from "../schema/route.ts";
import { storable, text, timeText, wholeText } from "../validation.ts";
import { keysMax, sessionHours, sessionsMax } from "./store.ts";

const time = (description: string) => z.iso.datetime().describe(`${description}. ISO 8601, UTC.`);

const scopeMeanings =
  "`read`: every GET. `pay`: start payments, links and plans, and change what belongs to them. `manage`: decisions, endpoints, keys, and sending again.";

const grantedScopes = z.array(z.enum(scopes)).min(1).max(scopes.length).describe(scopeMeanings);

const keyView = z
  .object({ id: z.uuid(), name: z.string(), scopes: grantedScopes, createdAt: time("When it was created") })
  .meta({ id: "ApiKey", description: "An API key, without its secret." });

export const keyDraft = z
  .strictObject({
    // No control characters, because the name is shown in problems, whose headers and log lines have one line.
    name: z
      .string()
      .trim()
      .min(1)
      .max(100)
      .refine((name) => storable(name) && !/\p{Cc}/u.test(name), "has characters that cannot be stored")
      .describe("What uses the key, such as `checkout server`."),
    scopes: grantedScopes,
  })
  .meta({ id: "ApiKeyDraft" });

const exampleKey = {
  id: example.keyId,
  name: "checkout server",
  scopes: ["read", "pay"] satisfies Scope[],
  createdAt: example.pending.openedAt,
};

const secret = "tukio_key_bm90IGEgc2VjcmV0LCBvbmx5IGFuIGV4YW1wbGUuLi4";

export const createKey = described({
  tag: "Keys",
  security: openedBy.manage,
  operationId: "createKey",
  summary: "Create an API key",
  description: `The answer has the secret, which is not stored and never shown again. It works at once on the node that answers, and within 5 s on the others. At most ${keysMax} keys.`,
  body: keyDraft,
  examples: { shop: { summary: "A key for a shop", value: { name: exampleKey.name, scopes: exampleKey.scopes } } },
  answers: {
    201: {
      description: "The key and its secret.",
      schema: z
        .object({
          key: keyView,
          secret: z.string().describe("`tukio_key_…`. Send it as `Authorization: Bearer`. Shown only here."),
        })
        .meta({ id: "ApiKeyWithSecret" }),
      example: { key: exampleKey, secret },
    },
  },
  problems: ["key_limit", ...writeProblems],
});

export const listKeys = described({
  tag: "Keys",
  security: openedBy.read,
  operationId: "listKeys",
  summary: "List the API keys",
  description: "Without those of `TUKIO_API_KEY`.",
  answers: {
    200: {
      description: "All keys, the oldest first.",
      schema: z.object({ data: z.array(keyView) }).meta({ id: "ApiKeyList" }),
      example: { data: [exampleKey] },
    },
  },
  problems: readProblems,
});

export const revokeKey = described({
  tag: "Keys",
  security: openedBy.manage,
  operationId: "revokeKey",
  summary: "Revoke an API key",
  description: "The key, its sessions and its open streams end within 5 s on every node.",
  answers: { 204: { description: "It is revoked." } },
  problems: ["key_unknown", ...writeProblems],
});

export const auditFilter = z.strictObject({
  keyId: text(36)
    .meta({ description: "Only changes with this key: its id, or `TUKIO_API_KEY`.", examples: ["TUKIO_API_KEY"] })
    .optional(),
  operation: text(64).describe("Only this operation, by its id in the API docs. Not together with `keyId`.").optional(),
  subject: text(64)
    .describe("Only changes of this order, payment link, plan, endpoint or key. Not together with another filter.")
    .optional(),
  from: timeText.meta({ description: "Made at or after.", examples: ["2026-11-20T00:00:00Z"] }).optional(),
  to: timeText.meta({ description: "Made before.", examples: ["2027-11-20T00:00:00Z"] }).optional(),
  cursor: text(500).describe("The `nextCursor` of the previous page.").optional(),
  limit: wholeText(1, 200, { description: "Entries in a page.", examples: [20] }).default(50),
});

const auditEntry = z
  .object({
    at: time("When the change was made"),
    operation: z.string().describe("The operation, by its id in the API docs."),
    key: z.object({ id: z.string().describe("A uuid, or `TUKIO_API_KEY`."), name: z.string() }),
    desk: z.boolean().describe("Made in the desk."),
    subject: z
      .string()
      .exactOptional()
      .describe(
        "What was changed: the id of an order, payment link, plan, endpoint or key, or the name of a provider or notification.",
      ),
    done: z
      .boolean()
      .describe("False: the node that began the change has not recorded its end. It may have been made."),
  })
  .meta({ id: "AuditEntry", description: "A change that was made with an API key." });

export const listAudit = described({
  tag: "Keys",
  security: openedBy.read,
  operationId: "listAudit",
  summary: "List the changes that were made with API keys",
  description: "Newest first, of the last 365 days. A change with the scope `pay` is listed within a few seconds.",
  querystring: auditFilter,
  answers: {
    200: {
      description: "A page.",
      schema: z.object({ data: z.array(auditEntry), nextCursor: z.string().nullable() }).meta({ id: "AuditPage" }),
      example: {
        data: [
          {
            at: example.succeeded.occurredAt,
            operation: "resolveReview",
            key: { id: example.keyId, name: exampleKey.name },
            desk: true,
            subject: example.orderId,
            done: true,
          },
        ],
        nextCursor: null,
      },
    },
  },
  problems: ["body_invalid", ...readProblems],
});

const session = z
  .object({
    name: z.string().describe("The name of the session's key."),
    scopes: grantedScopes,
    expiresAt: time("When the session ends"),
  })
  .meta({ id: "DeskSession", description: "A session of the desk." });

const exampleSession = { name: exampleKey.name, scopes: exampleKey.scopes, expiresAt: "2026-11-21T09:00:00.000Z" };

const setCookie = { type: "string", description: "The session's token, or its removal." };

export const signInBody = z
  .strictObject({ key: z.string().min(1).max(1_000).describe("An API key.") })
  .meta({ id: "SignIn" });

export const signIn = described({
  tag: "Desk",
  security: openedBy.everyone,
  operationId: "signIn",
  summary: "Sign in to the desk with an API key",
  description: `Opens a session of ${sessionHours} hours, whose token is in a cookie that scripts cannot read. It ends the session that the browser had, and the oldest one of more than ${sessionsMax} sessions of the key.`,
  body: signInBody,
  examples: { key: { summary: "A key", value: { key: secret } } },
  answers: {
    201: {
      description: "The session.",
      schema: session,
      example: exampleSession,
      headers: { "Set-Cookie": setCookie },
    },
  },
  problems: [
    "body_invalid",
    "key_invalid",
    "origin_refused",
    "body_too_large",
    "rate_limited",
    "internal",
    "store_unavailable",
  ],
});

export const readSession = described({
  tag: "Desk",
  security: openedBy.session,
  operationId: "readSession",
  summary: "Read the session",
  answers: { 200: { description: "The session.", schema: session, example: exampleSession } },
  problems: ["key_invalid", "origin_refused", "rate_limited", "internal", "store_unavailable"],
});

export const signOut = described({
  tag: "Desk",
  security: openedBy.session,
  operationId: "signOut",
  summary: "Sign out of the desk",
  description: "The session ends within 5 s on every node. Without a session, only the cookie is removed.",
  answers: { 204: { description: "There is no session.", headers: { "Set-Cookie": setCookie } } },
  problems: ["body_invalid", "origin_refused", "body_too_large", "rate_limited", "internal", "store_unavailable"],
});
