/** What all transports share: the request for an order, and the limits of a connection. */
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import { afterText, parseInput } from "../input.ts";
import { type Access, credentialOf, type Watched } from "../order/access.ts";
import type { Hub } from "../status/hub.ts";

export interface TransportOptions {
  hub: Hub;
  access: Access;
}

export interface OrderRequest {
  Params: { orderId: string };
}

/** A reader that leaves more than this unread is closed to come back. */
export const unreadBytesMax = 65_536;

/** Who may watch the order of this request. Throws the problem of its token. */
export const watched = (access: Access, request: FastifyRequest<OrderRequest>): Promise<Watched> =>
  access.watch(credentialOf(request), request.params.orderId);

/** Where a watcher is. */
export const positionQuery = z.object({ after: afterText.optional() });

/** The last version seen, from `?after=`; undefined when not given. */
export const afterOf = (request: FastifyRequest): number | undefined => parseInput(positionQuery, request.query).after;

/** Calls back when a token runs out, if it does. Returns the way to cancel. */
export function onExpiry(expiresAt: Date | undefined, expired: () => void): () => void {
  if (!expiresAt) return () => undefined;
  const timer = setTimeout(expired, Math.max(0, expiresAt.getTime() - Date.now()));
  return () => clearTimeout(timer);
}
