/**
 * What this node says about its own API: `/openapi.json`, `/asyncapi.json`, and `/docs`, a page that shows the former
 * without asking anybody else. Only routes registered after this one are described, so it has to be the first.
 */
import type { FastifyInstance } from "fastify";
import manifest from "../../package.json" with { type: "json" };
import { type Asset, sendAsset } from "../http/static-files.ts";
import { asyncApi } from "./asyncapi.ts";
import { openApi, routeOf } from "./openapi.ts";
import { pageRoutes } from "./page.ts";

export interface DocumentRoutesOptions {
  /** Where clients reach this node; may be known only once it listens. */
  publicUrl: () => string;
}

export function apiDocsRoutes(app: FastifyInstance, { publicUrl }: DocumentRoutesOptions): void {
  const served = new Set<string>();
  app.addHook("onRoute", ({ method, url }) => {
    for (const one of [method].flat()) served.add(routeOf({ method: one, url }));
  });
  const { version } = manifest;

  const openApiAsset = buildOnce(() => openApi({ served, version }));
  const asyncApiAsset = buildOnce(() => asyncApi({ publicUrl: publicUrl(), version }));
  app.get("/openapi.json", { config: { isCheap: true } }, (request, reply) =>
    sendAsset(request, reply, openApiAsset()),
  );
  app.get("/asyncapi.json", { config: { isCheap: true } }, (request, reply) =>
    sendAsset(request, reply, asyncApiAsset()),
  );
  pageRoutes(app);
}

/** Builds a document at the first request for it, because building one takes tens of milliseconds of CPU. */
function buildOnce(build: () => unknown): () => Asset {
  let built: Asset | undefined;
  return () => {
    built ??= { body: Buffer.from(JSON.stringify(build())), contentType: "application/json; charset=utf-8" };
    return built;
  };
}
