/** Every route that a node registers, whatever it is for. */
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { FastifyInstance } from "fastify";
import { type NodeOptions, startNode, type TestNode } from "./node.ts";

export interface Route {
  method: string;
  /** With `:name` parameters and `*`. */
  url: string;
}

export async function startListedNode(options: NodeOptions): Promise<{ node: TestNode; routes: Route[] }> {
  const routes: Route[] = [];
  const listen = (message: unknown): void => {
    (message as { fastify: FastifyInstance }).fastify.addHook("onRoute", ({ method, url }) => {
      for (const one of [method].flat()) routes.push({ method: one, url });
    });
  };
  subscribe("fastify.initialization", listen);
  const node = await startNode(options).finally(() => unsubscribe("fastify.initialization", listen));
  return { node, routes };
}
