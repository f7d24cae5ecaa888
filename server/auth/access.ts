/** Authorizes requests: an API key acts for the merchant, a watch token allows to watch one order. */
import { createHash } from "node:crypto";
import { HubError } from "../errors.ts";
import type { OrderQuery } from "../order/query.ts";
import { readOrderId } from "../validation.ts";
import { isSame } from "./keys.ts";
import type { WatchTokens } from "./watch-token.ts";

/** The permission to watch an order. */
export interface WatchGrant {
  id: string;
  orderId: string;
  /** Seconds since 1970; absent with an API key, which does not expire. */
  expiresAtS?: number | undefined;
}

/** The credential that a client has proved to hold: none, a watch token or an API key. */
export type Role = "anonymous" | "payer" | "merchant";

/** The sender of a request. `id` is a fingerprint of the merchant's API key, or the uuid of the payer's order. */
export type Caller = { role: Exclude<Role, "anonymous">; id: string } | { role: "anonymous" };

export interface Access {
  isMerchant(credential: string | undefined): boolean;
  /** Returns the sender; `anonymous` for a request without a valid credential. Never rejects. */
  callerOf(request: Bearing): Promise<Caller>;
  /**
   * Throws `key_invalid`, which says what to send, unless the request's `Authorization` header has an API key. A key in the URL is
   * not accepted.
   */
  requireMerchant(request: Bearing): void;
  /**
   * Returns the order that a credential allows to watch (G11). An API key requires `orderId`. A watch token names its order, and
   * `orderId` must be the same if it is given. Throws `token_invalid` and `token_expired`; with an API key also `order_unknown`,
   * and `body_invalid` for a name that no order can have.
   */
  watch(credential: string | undefined, orderId?: string): Promise<WatchGrant>;
}

export interface AccessOptions {
  apiKeys: readonly string[];
  tokens: WatchTokens;
  query: Pick<OrderQuery, "idOf">;
}

export function createAccess({ apiKeys, tokens, query }: AccessOptions): Access {
  const keyOf = (credential: string | undefined): string | undefined =>
    credential === undefined ? undefined : apiKeys.find((key) => isSame(key, credential));
  const isMerchant = (credential: string | undefined): boolean => keyOf(credential) !== undefined;

  return {
    isMerchant,

    async callerOf(request) {
      const credential = credentialOf(request);
      if (credential === undefined) return { role: "anonymous" };
      const key = keyOf(credential);
      if (key !== undefined) return { role: "merchant", id: fingerprint(key) };
      const watchable = await tokens.verify(credential).catch(() => undefined);
      return watchable ? { role: "payer", id: watchable.id } : { role: "anonymous" };
    },

    requireMerchant(request) {
      if (isMerchant(bearerOf(request))) return;
      throw new HubError("key_invalid", `${keyFault(request, isMerchant)}. Send "Authorization: Bearer <API key>"`);
    },

    async watch(credential, orderId) {
      if (credential === undefined)
        throw new HubError("token_invalid", 'A watch token is needed. Send "Authorization: Bearer <watch token>"');
      if (isMerchant(credential)) {
        if (orderId === undefined) throw new HubError("order_unknown");
        const id = await query.idOf(readOrderId(orderId));
        if (id === undefined) throw new HubError("order_unknown");
        return { id, orderId };
      }
      const watchable = await tokens.verify(credential);
      if (orderId !== undefined && orderId !== watchable.orderId) throw new HubError("token_invalid");
      return watchable;
    },
  };
}

/** Explains why the request has no valid API key. The text contains nothing of the credential. */
function keyFault(request: Bearing, isMerchant: Access["isMerchant"]): string {
  const { authorization = "", "x-api-key": otherKey } = request.headers;
  const [scheme = "", ...rest] = authorization.trim().split(/ +/);
  if (scheme === "") {
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

/** The hook of the merchant's routes. It refuses a request before its body is read. */
export const merchantOnly =
  (access: Pick<Access, "requireMerchant">) =>
  async (request: Bearing): Promise<void> =>
    access.requireMerchant(request);

/** The part of a request that can carry a credential. */
export interface Bearing {
  headers: { authorization?: string | undefined; "x-api-key"?: string | string[] | undefined };
  query?: unknown;
}

/**
 * The credential of a request: from the header, or from `?token=` because a browser cannot set the headers of every transport.
 * An API key in the URL allows to watch and nothing else, because logs and browser histories keep URLs.
 */
export const credentialOf = (request: Bearing): string | undefined => bearerOf(request) ?? tokenOf(request);

/** Identifies an API key without containing it. */
const fingerprint = (key: string): string => createHash("sha256").update(key).digest("base64url").slice(0, 16);

/** The credential in the header. */
export const bearerOf = ({ headers }: Bearing): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];

function tokenOf({ query }: Bearing): string | undefined {
  const { token } = (query ?? {}) as { token?: unknown };
  return typeof token === "string" && token !== "" ? token : undefined;
}
