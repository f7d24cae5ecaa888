/** Authorizes requests: an API key acts for the merchant, as far as its scopes go; a watch token allows to watch one order. */
import type { IncomingHttpHeaders } from "node:http";
import type { FastifyRequest, FastifySchema } from "fastify";
import { HubError } from "../errors.ts";
import type { OrderQuery } from "../order/query.ts";
import { addressKey, type Counter, createLimit } from "../rate-limit.ts";
import { readOrderId } from "../validation.ts";
import { type ApiKey, environmentKey, type KeyRing, type Scope, scopes } from "./api-key.ts";
import { type CookieSettings, isOwnPage, tokenInCookie } from "./desk-cookie.ts";
import type { WatchTokens } from "./watch-token.ts";

/** The permission to watch an order. */
export interface WatchGrant {
  id: string;
  orderId: string;
  /** Seconds since 1970; absent with an API key, which does not expire. */
  expiresAtS?: number | undefined;
  /** The API key, whose end ends the permission. */
  key?: ApiKey | undefined;
}

/** The credential that a client has proved to hold: none, a watch token or an API key. */
export type Role = "anonymous" | "payer" | "merchant";

/** The sender of a request. `id` is a fingerprint of the merchant's API key, or the uuid of the payer's order. */
export type Caller = { role: Exclude<Role, "anonymous">; id: string } | { role: "anonymous" };

export interface Access {
  /** Whether the credential is an API key, whatever its scopes. */
  isMerchant(credential: string | undefined): boolean;
  /** Returns the sender; `anonymous` for a request without a valid credential. Never rejects. */
  callerOf(request: Bearing): Promise<Caller>;
  /** The API key of the header or else of the desk's session. A key in the URL is not accepted. */
  keyOf(request: Bearing): ApiKey | undefined;
  /**
   * Returns the key that allows what the scope stands for. Throws `key_invalid`, which says what to send; `scope_missing`, which names the
   * scope; `origin_refused`, for the desk's cookie in a request of another page; and `store_unavailable` while the key may have been
   * revoked without this node's notice.
   */
  requireKey(request: Bearing & { method: string }, scope: Scope): ApiKey;
  /** Counts a request with a wrong key. Throws `rate_limited`. */
  countWrongKey(address: string): Promise<void>;
  /**
   * Returns the order that a credential allows to watch (G11). An API key requires `orderId`. A watch token names its order, and
   * `orderId` must be the same if it is given. Throws `token_invalid` and `token_expired`; with an API key also `order_unknown`,
   * `body_invalid` for a name that no order can have, and what `requireKey` throws. The desk's cookie allows to watch nothing.
   */
  watch(credential: string | undefined, orderId?: string): Promise<WatchGrant>;
}

export interface AccessOptions {
  ring: KeyRing;
  tokens: WatchTokens;
  query: Pick<OrderQuery, "idOf">;
  cookie: CookieSettings;
  counter: Counter;
}

/** Requests of an address with wrong keys in a minute, on all nodes. A right key is accepted beyond it too, because proxies share an address. */
const wrongKeysMax = 60;

export function createAccess({ ring, tokens, query, cookie, counter }: AccessOptions): Access {
  const wrongKeys = createLimit(counter, { subject: "address's wrong API keys", max: wrongKeysMax, windowMs: 60_000 });
  const keyOfCredential = (credential: string | undefined): ApiKey | undefined =>
    credential === undefined ? undefined : ring.keyOf(credential);
  const isMerchant = (credential: string | undefined): boolean => keyOfCredential(credential) !== undefined;
  const keyOf = ({ headers }: Bearing): ApiKey | undefined => {
    if (headers.authorization !== undefined) return keyOfCredential(bearerOf({ headers }));
    const token = tokenInCookie(cookie, headers);
    return token === undefined ? undefined : ring.sessionOf(token);
  };
  const requireCurrent = (): void => {
    if (!ring.isCurrent) throw new HubError("store_unavailable", "The API keys cannot be read now", { retryAfterS: 1 });
  };
  const requireScope = (key: ApiKey, scope: Scope): ApiKey => {
    if (key.id !== environmentKey) requireCurrent();
    if (!key.scopes.includes(scope)) throw scopeMissing(key, scope);
    return key;
  };

  return {
    isMerchant,
    keyOf,

    async callerOf(request) {
      const key = keyOf(request);
      if (key) return { role: "merchant", id: key.fingerprint };
      const credential = credentialOf(request);
      if (credential === undefined) return { role: "anonymous" };
      const inUrl = keyOfCredential(credential);
      if (inUrl) return { role: "merchant", id: inUrl.fingerprint };
      const watchable = await tokens.verify(credential).catch(() => undefined);
      return watchable ? { role: "payer", id: watchable.id } : { role: "anonymous" };
    },

    requireKey(request, scope) {
      const key = keyOf(request);
      if (key?.session && !isOwnPage(cookie, request.method, request.headers)) throw foreignPage();
      if (key) return requireScope(key, scope);
      // A key that was created while this node could not read the keys may be valid.
      if (isCreatedSecret(bearerOf(request))) requireCurrent();
      const fault = keyFault(request, isMerchant, tokenInCookie(cookie, request.headers) !== undefined);
      throw new HubError("key_invalid", `${fault}. Send "Authorization: Bearer <API key>"`);
    },

    countWrongKey: (address) => wrongKeys.take(addressKey(address)),

    async watch(credential, orderId) {
      if (credential === undefined)
        throw new HubError("token_invalid", 'A watch token is needed. Send "Authorization: Bearer <watch token>"');
      const key = keyOfCredential(credential);
      if (key) {
        requireScope(key, "read");
        if (orderId === undefined) throw new HubError("order_unknown");
        const id = await query.idOf(readOrderId(orderId));
        if (id === undefined) throw new HubError("order_unknown");
        return { id, orderId, key };
      }
      const watchable = await tokens.verify(credential);
      if (orderId !== undefined && orderId !== watchable.orderId) throw new HubError("token_invalid");
      return watchable;
    },
  };
}

/** RFC 6750 has the header of this refusal. */
const scopeMissing = ({ name, scopes: granted }: ApiKey, scope: Scope): HubError =>
  new HubError("scope_missing", `This needs the scope ${scope}; the key ${name} has ${granted.join(", ")}`, {
    headers: { "www-authenticate": `Bearer error="insufficient_scope", scope="${scope}"` },
  });

const foreignPage = (): HubError => new HubError("origin_refused", "Only the desk's own page may use its session");

/** By its form. */
const isCreatedSecret = (credential: string | undefined): boolean => credential?.startsWith("tukio_key_") === true;

/** Explains why the request has no valid API key. The text contains nothing of the credential. */
function keyFault(request: Bearing, isMerchant: Access["isMerchant"], hasCookie: boolean): string {
  const { authorization = "", "x-api-key": otherKey } = request.headers;
  const [scheme = "", ...rest] = authorization.trim().split(/ +/);
  if (scheme === "") {
    if (hasCookie) return "The desk's session has ended; sign in again";
    if (otherKey !== undefined) return "The header X-API-Key is not read";
    if (tokenOf(request) !== undefined) return "An API key in the URL is not accepted here";
    return "The header Authorization is missing";
  }
  if (isMerchant(scheme)) return "The word Bearer is missing before the API key";
  if (/^(?:basic|digest)$/i.test(scheme)) return `The scheme ${scheme} is not accepted`;
  if (!/^bearer$/i.test(scheme)) return "The header Authorization has no Bearer";
  const [key, ...more] = rest;
  if (key === undefined) return "The API key after Bearer is missing";
  if (more.length > 0) return "The API key must not contain spaces";
  return isWatchToken(key) ? "A watch token opens only its order" : "The API key is wrong";
}

/** By its form, because a watch token that has expired is one too. */
const isWatchToken = (credential: string): boolean => /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/.test(credential);

/** The scope that the description of a route names, as in `security: [{ apiKey: ["pay"] }]`. */
export function scopeOf(schema: FastifySchema | undefined): Scope | undefined {
  const named = schema?.security?.find((one) => one.apiKey)?.apiKey?.[0];
  return scopes.find((scope) => scope === named);
}

declare module "fastify" {
  interface FastifyRequest {
    /** The key that allowed the request. */
    apiKey?: ApiKey;
    /** The id of what the request has created, for the record of changes. */
    subject?: string;
  }
}

/** The hook of the merchant's routes. It refuses a request before its body is read, by the scope that the route's description names. */
export const merchantOnly =
  (access: Pick<Access, "requireKey" | "countWrongKey">) =>
  async (request: FastifyRequest): Promise<void> => {
    const scope = scopeOf(request.routeOptions.schema);
    if (!scope) throw new Error(`the description of ${request.routeOptions.url} names no scope`);
    try {
      request.apiKey = access.requireKey(request, scope);
    } catch (error) {
      const isWrongKey = error instanceof HubError && error.code === "key_invalid" && bearerOf(request) !== undefined;
      if (isWrongKey) await access.countWrongKey(request.ip);
      throw error;
    }
  };

/** The part of a request that can carry a credential. */
export interface Bearing {
  headers: IncomingHttpHeaders;
  query?: unknown;
}

/**
 * The credential of a request: from the header, or from `?token=` because a browser cannot set the headers of every transport.
 * An API key in the URL allows to watch and nothing else, because logs and browser histories keep URLs.
 */
export const credentialOf = (request: Bearing): string | undefined => bearerOf(request) ?? tokenOf(request);

/** The credential in the header. */
export const bearerOf = ({ headers }: Pick<Bearing, "headers">): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];

function tokenOf({ query }: Bearing): string | undefined {
  const { token } = (query ?? {}) as { token?: unknown };
  return typeof token === "string" && token !== "" ? token : undefined;
}
