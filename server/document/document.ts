/**
 * What this node says about its own API: `/openapi.json`, `/asyncapi.json`, and `/docs`, a page that shows the former
 * without asking anybody else. Only routes registered after this one are described, so it has to be the first.
 */
import type { FastifyInstance } from "fastify";
import manifest from "../../package.json" with { type: "json" };
import { asyncApi } from "./asyncapi.ts";
import { openApi, routeOf } from "./openapi.ts";
import { pageRoutes } from "./page.ts";

export interface DocumentRoutesOptions {
  /** Where clients reach this node; may be known only once it listens. */
  publicUrl: () => string;
}

export function documentRoutes(app: FastifyInstance, { publicUrl }: DocumentRoutesOptions): void {
  const served = new Set<string>();
  app.addHook("onRoute", ({ method, url }) => {
    for (const one of [method].flat()) served.add(routeOf({ method: one, url }));
  });
  const { version } = manifest;

  app.get("/openapi.json", async () => openApi({ served, version }));
  app.get("/asyncapi.json", async () => asyncApi({ publicUrl: publicUrl(), version }));
  pageRoutes(app);
}
