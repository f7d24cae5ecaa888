/**
 * Sessions of the desk: an API key is exchanged for a cookie, so that the page need not keep the key.
 *
 * A session's token is new at each sign-in, whatever cookie the browser sends (session fixation), and no page of another origin may sign a
 * browser in or out.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Access } from "../auth/access.ts";
import { type ApiKey, environmentKey, type KeyRing } from "../auth/api-key.ts";
import { type CookieSettings, clearCookie, isOwnPage, storeCookie, tokenInCookie } from "../auth/desk-cookie.ts";
import { HubError } from "../errors.ts";
import { addressKey, type Counter, limitDetail, limited } from "../rate-limit.ts";
import { parseInput } from "../validation.ts";
import * as route from "./route-schema.ts";
import type { Keys } from "./store.ts";

export interface SessionRoutesOptions {
  access: Access;
  ring: KeyRing;
  keys: Pick<Keys, "openSession" | "endSession">;
  cookie: CookieSettings;
  counter: Counter;
}

/** Failed sign-ins of an address in a minute. */
const failuresMax = 10;

const windowMs = 60_000;

const config = { cors: false } as const;

export function sessionRoutes(app: FastifyInstance, options: SessionRoutesOptions): void {
  const { ring, keys, cookie, counter } = options;
  const sessionOf = ({ headers }: FastifyRequest): ApiKey | undefined => {
    const token = tokenInCookie(cookie, headers);
    return token === undefined ? undefined : ring.sessionOf(token);
  };
  /** A program sends no origin and no cookie of a browser, so a sign-in need not be a page's. */
  const requireOwnPage = ({ method, headers }: FastifyRequest): void => {
    const isProgram = headers.origin === undefined && headers["sec-fetch-site"] === undefined;
    if (!isProgram && !isOwnPage(cookie, method, headers))
      throw new HubError("origin_refused", "Only the desk's own page may send this request");
  };

  app.post("/desk/session", { config, ...route.signIn }, async (request, reply) => {
    requireOwnPage(request);
    const { key: secret } = parseInput(route.signInBody, request.body);
    const key = await exchange(options, request.ip, secret);
    const { token, expiresAt } = await keys.openSession(key, sessionOf(request));
    reply.header("set-cookie", storeCookie(cookie, token, (expiresAt.getTime() - Date.now()) / 1_000));
    return reply.code(201).send(viewOf(key, expiresAt));
  });

  app.get("/desk/session", { config, ...route.readSession }, async (request) => {
    const key = sessionOf(request);
    if (key?.session && !isOwnPage(cookie, request.method, request.headers))
      throw new HubError("origin_refused", "Only the desk's own page may send this request");
    if (key) requireCurrent(ring, key);
    if (!key?.session) throw new HubError("key_invalid", "There is no session, or it has ended. Sign in");
    return viewOf(key, key.session.expiresAt);
  });

  app.delete("/desk/session", { config, ...route.signOut }, async (request, reply) => {
    requireOwnPage(request);
    const id = sessionOf(request)?.session?.id;
    if (id !== undefined) await keys.endSession(id);
    return reply.header("set-cookie", clearCookie(cookie)).code(204).send();
  });

  /** Counts each attempt, and takes it back when it succeeds, so that attempts at once do not exceed the limit either. */
  async function exchange({ ring: keyRing }: SessionRoutesOptions, address: string, secret: string): Promise<ApiKey> {
    const name = `address's sign-ins:${addressKey(address)}`;
    const { current, remainingMs } = await counter.count(name, 1, windowMs);
    if (current > failuresMax)
      throw limited(limitDetail("failed sign-ins", { max: failuresMax, windowMs, remainingMs }), remainingMs);
    const key = keyRing.keyOf(secret.trim());
    if (key) requireCurrent(keyRing, key);
    if (!key) throw new HubError("key_invalid", "The API key is wrong");
    await counter.count(name, -1, windowMs);
    return key;
  }
}

function requireCurrent({ isCurrent }: KeyRing, { id }: ApiKey): void {
  if (id !== environmentKey && !isCurrent)
    throw new HubError("store_unavailable", "The API keys cannot be read now", { retryAfterS: 1 });
}

const viewOf = ({ name, scopes }: ApiKey, expiresAt: Date) => ({ name, scopes, expiresAt: expiresAt.toISOString() });
