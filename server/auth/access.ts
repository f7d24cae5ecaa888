/** Who may do what: API keys act for the merchant, a watch token watches its one order. */
import { createHash } from "node:crypto";
import { HubError } from "../errors.ts";
import type { OrderQuery } from "../order/query.ts";
import { readOrderId } from "../validation.ts";
import { isSame } from "./keys.ts";
import type { WatchTokens } from "./watch-token.ts";

/** An order that may be watched; with a token, until it runs out. */
export interface WatchGrant {
  id: string;
  orderId: string;
  /** Seconds since 1970. */
  expiresAtS?: number | undefined;
}

/** Who is at the other end, as far as it has shown: nobody yet, the bearer of a watch token, or of an API key. */
export type Role = "anonymous" | "payer" | "merchant";

/** Whose request it is, as far as its credential shows: `id` tells merchants by their key, and payers by their order's uuid. */
export type Caller = { role: Exclude<Role, "anonymous">; id: string } | { role: "anonymous" };

export interface Access {
  isMerchant(credential: string | undefined): boolean;
  /** Never rejects: whoever has no credential that is good is a stranger. */
  callerOf(request: Bearing): Promise<Caller>;
  /** Throws `key_invalid` unless the request's header carries an API key. A key in a URL is not accepted. */
  requireMerchant(request: Bearing): void;
  /**
   * Who this credential lets watch. With an API key `orderId` says which order; with a watch token it may only confirm
   * it. Throws `token_invalid`, `token_expired`, or, with an API key only because a token names its order, `order_unknown`
   * and `body_invalid` (no order can have this name).
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
      if (!isMerchant(bearerOf(request))) throw new HubError("key_invalid");
    },

    async watch(credential, orderId) {
      if (credential === undefined) throw new HubError("token_invalid", "A watch token is needed");
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

/** The hook of routes for the merchant alone: refuses before the body is read, which may be a stranger's. */
export const merchantOnly =
  (access: Pick<Access, "requireMerchant">) =>
  async (request: Bearing): Promise<void> =>
    access.requireMerchant(request);

/** The part of a request that can bear a credential. */
export interface Bearing {
  headers: { authorization?: string | undefined };
  query?: unknown;
}

/**
 * The credential of a request: in its header, or in `?token=` where a browser cannot set headers. An API key in a URL, where
 * logs and histories keep it, watches and does nothing else.
 */
export const credentialOf = (request: Bearing): string | undefined => bearerOf(request) ?? tokenOf(request);

/** Tells keys apart where they must not be read. */
const fingerprint = (key: string): string => createHash("sha256").update(key).digest("base64url").slice(0, 16);

/** The credential in the header. */
export const bearerOf = ({ headers }: Bearing): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];

function tokenOf({ query }: Bearing): string | undefined {
  const { token } = (query ?? {}) as { token?: unknown };
  return typeof token === "string" && token !== "" ? token : undefined;
}
