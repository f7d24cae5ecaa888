/** Hooks for all routes of a scope, and for closing. */
import type { FastifyInstance } from "fastify";
import { HubError } from "../errors.ts";

/** Refuses pages of origins that are not allowed, and forbids to cache answers. */
export function restrictToOrigins(
  scope: FastifyInstance,
  isAllowedOrigin: (origin: string | undefined) => boolean,
): void {
  scope.addHook("onRequest", ({ headers }, reply, done) => {
    reply.header("cache-control", "no-store");
    done(isAllowedOrigin(headers.origin) ? undefined : new HubError("origin_refused"));
  });
}

/** Refuses requests once the node drains. The hook runs directly before the handler, so that no call begins after it. */
export function refuseWhileDraining(scope: FastifyInstance, isDraining: () => boolean): void {
  scope.addHook("preHandler", async () => {
    if (isDraining()) throw new HubError("restarting", undefined, { retryAfterS: 1 });
  });
}

/**
 * Adds steps that run one after the other when the app closes, before the server stops listening. Fastify runs `preClose`
 * hooks in series, those of a scope after those of the app, and scopes in the order of their registration.
 */
export async function addClosingSteps(app: FastifyInstance, steps: readonly (() => Promise<void>)[]): Promise<void> {
  for (const step of steps) await app.register(async (scope) => void scope.addHook("preClose", step));
}
