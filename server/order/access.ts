/** Who may do what: API keys act for the merchant, a watch token watches its one order. */
import { HubError } from "../errors.ts";
import { readOrderId } from "../input.ts";
import type { OrderQuery } from "./query.ts";
import { isSame } from "./secret.ts";
import type { WatchTokens } from "./token.ts";

/** An order that may be watched; with a token, until it runs out. */
export interface Watched {
  id: string;
  orderId: string;
  /** Seconds since 1970. */
  expiresAtS?: number | undefined;
}

export interface Access {
  isMerchant(credential: string | undefined): boolean;
  /** Throws `key_invalid` unless the request's header carries an API key. A key in a URL is not accepted. */
  requireMerchant(request: Bearing): void;
  /**
   * Who this credential lets watch. With an API key `orderId` says which order; with a watch token it may only confirm
   * it. Throws `token_invalid`, `token_expired`, or, with an API key only because a token names its order, `order_unknown`
   * and `body_invalid` (no order can have this name).
   */
  watch(credential: string | undefined, orderId?: string): Promise<Watched>;
}

export interface AccessOptions {
  apiKeys: readonly string[];
  tokens: WatchTokens;
  query: Pick<OrderQuery, "idOf">;
}

export function createAccess({ apiKeys, tokens, query }: AccessOptions): Access {
  const isMerchant = (credential: string | undefined): boolean =>
    credential !== undefined && apiKeys.some((key) => isSame(key, credential));

  return {
    isMerchant,

    requireMerchant(request) {
      if (!isMerchant(bearerOf(request.headers.authorization))) throw new HubError("key_invalid");
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

/** The part of a request that can bear a credential. */
export interface Bearing {
  headers: { authorization?: string | undefined };
  query?: unknown;
}

/** The credential of a request: in its header, or in `?token=` where a browser cannot set headers. */
export function credentialOf({ headers, query }: Bearing): string | undefined {
  const { token } = (query ?? {}) as { token?: unknown };
  return bearerOf(headers.authorization) ?? (typeof token === "string" && token !== "" ? token : undefined);
}

const bearerOf = (authorization: string | undefined): string | undefined =>
  /^Bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
