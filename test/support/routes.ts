/** Collects the routes that a node registers, so that tests also cover routes added later. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { FastifyInstance } from "fastify";

export interface RegisteredRoute {
  method: string;
  /** The path with `:name` parameters. */
  url: string;
}

/** Runs `start`, which creates a Fastify app, and returns the routes of that app, including HEAD and OPTIONS. */
export async function collectRoutes<T>(start: () => Promise<T>): Promise<{ started: T; routes: RegisteredRoute[] }> {
  const routes: RegisteredRoute[] = [];
  const listen = (message: unknown): void => {
    (message as { fastify: FastifyInstance }).fastify.addHook("onRoute", ({ method, url }) => {
      for (const one of [method].flat()) routes.push({ method: one, url });
    });
  };
  subscribe("fastify.initialization", listen);
  const started = await start().finally(() => unsubscribe("fastify.initialization", listen));
  return { started, routes };
}
