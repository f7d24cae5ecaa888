/** Limits what unauthenticated clients may ask of the sandboxes (G12). */
import type { FastifyInstance, FastifyRequest } from "fastify";

/** Whether the headers of a request have the merchant's credentials. */
export type IsMerchant = (request: FastifyRequest) => boolean;

/**
 * Limits the requests without the merchant's credentials before their bodies are read. The node counts requests for unknown
 * routes. Call this before the provider adds its own hooks.
 */
export function limitUnauthenticated(
  scope: FastifyInstance,
  { admit, isMerchant }: { admit: (request: FastifyRequest) => Promise<void>; isMerchant: IsMerchant },
): void {
  scope.addHook("onRoute", (route) => {
    route.config = { ...route.config, isLimited: false };
  });
  scope.addHook("onRequest", async (request) => {
    if (!request.is404 && !isMerchant(request)) await admit(request);
  });
}
