/** The routes that a node registers, so that tests cover the ones of the future too. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { FastifyInstance } from "fastify";

export interface RegisteredRoute {
  method: string;
  /** With `:name` parameters. */
  url: string;
}

/** Starts something that makes a Fastify app, and tells which routes that registered, those of HEAD and OPTIONS among them. */
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
