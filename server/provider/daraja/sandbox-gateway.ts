/**
 * The gateway in front of the sandbox of Safaricom Daraja: access tokens, the error format, and the parsing of bodies. The
 * codes and texts are from the Safaricom portal, "Authorization" and "M-Pesa Express", "Error Codes".
 */
import { createHmac, randomBytes, randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { z } from "zod";
import { isSame } from "../../auth/keys.ts";
import { Fault, handleFaults, parseEveryBodyAsJson } from "../../sandbox/fault.ts";
import type { IsMerchant } from "../../sandbox/server.ts";

/** An error in Safaricom's format. */
export const fault = (status: number, errorCode: string, errorMessage: string): Fault =>
  new Fault(status, { requestId: randomUUID(), errorCode, errorMessage });

const tokenLifetimeS = 3_599;

/** 14, because a token is a nonce and a signature of equal length, 28 characters like Safaricom's. */
const nonceLength = 14;

/** Sets up errors and bodies as at Safaricom. A body without a JSON content type is ignored. */
export function configureSafaricomHttp(app: FastifyInstance): void {
  handleFaults(app, {
    notFound: () => fault(404, "404.001.01", "Resource not found"),
    internal: () => fault(500, "500.003.1001", "Internal Server Error"),
  });
  parseEveryBodyAsJson(app, (contentType) => /^application\/json\b/i.test(contentType));
}

interface Tokens {
  /** Throws Safaricom's error unless the request has the newest token. */
  requireToken(request: FastifyRequest): void;
  isMerchant: IsMerchant;
}

/**
 * Serves the token calls. Only the newest token is valid. A token is signed, so the sandbox recognises the merchant by a
 * token from before a restart or from another node.
 */
export function issueTokens(
  app: FastifyInstance,
  { consumerKey, consumerSecret, now }: { consumerKey: string; consumerSecret: string; now: () => Date },
): Tokens {
  const basic = `Basic ${Buffer.from(`${consumerKey}:${consumerSecret}`).toString("base64")}`;
  const macOf = (nonce: string): string =>
    createHmac("sha256", consumerSecret).update(nonce).digest("base64url").slice(0, nonceLength);
  const mint = (): string => {
    const nonce = randomBytes(nonceLength).toString("base64url").slice(0, nonceLength);
    return nonce + macOf(nonce);
  };
  let current: { token: string; expiresAtMs: number } | undefined;

  app.get<{ Querystring: { grant_type?: string } }>("/oauth/v1/generate", async ({ headers, query }, reply) => {
    const { authorization } = headers;
    if (!authorization?.startsWith("Basic ")) throw fault(400, "400.008.01", "Invalid Authentication passed");
    if (query.grant_type !== "client_credentials") throw fault(400, "400.008.02", "Invalid grant type passed");
    // Integrators report that wrong credentials get an answer without a body.
    if (!isSame(authorization, basic)) return reply.code(400).send();
    current = { token: mint(), expiresAtMs: now().getTime() + tokenLifetimeS * 1_000 };
    return { access_token: current.token, expires_in: String(tokenLifetimeS) };
  });

  return {
    requireToken({ headers }) {
      const isNewest = current !== undefined && headers.authorization === `Bearer ${current.token}`;
      const isFresh = current !== undefined && now().getTime() < current.expiresAtMs;
      if (!isNewest || !isFresh) throw fault(404, "404.001.03", "Invalid Access Token");
    },
    isMerchant({ headers: { authorization = "" } }) {
      const [, nonce, mac] = /^Bearer (.{14})(.{14})$/.exec(authorization) ?? [];
      return isSame(authorization, basic) || (nonce !== undefined && mac !== undefined && isSame(mac, macOf(nonce)));
    },
  };
}

/** Parses a body. The error names the first invalid field, in the order of the documentation. */
export function parseFields<T extends z.ZodType>(schema: T, body: unknown): z.infer<T> {
  const parsed = schema.safeParse(body ?? {});
  if (parsed.success) return parsed.data;
  throw invalid(String(parsed.error.issues[0]?.path[0] ?? "BusinessShortCode"));
}

/** The error for an invalid field. */
export const invalid = (field: string): Fault => fault(400, "400.002.02", `Bad Request - Invalid ${field}`);
