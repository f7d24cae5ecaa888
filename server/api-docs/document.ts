/**
 * What this node says about its own API: `/openapi.json`, `/asyncapi.json`, and `/docs`, a page that shows the former
 * without asking anybody else. Only routes registered after this one are described, so it has to be the first.
 */
import type { FastifyInstance } from "fastify";
import manifest from "../../package.json" with { type: "json" };
import { type Asset, sendAsset } from "../http/static-files.ts";
import { describedFile } from "../schema/route.ts";
import { asyncApi } from "./asyncapi.ts";
import { collectOperations } from "./openapi.ts";
import { pageRoutes } from "./page.ts";

export interface DocumentRoutesOptions {
  /** Where clients reach this node; may be known only once it listens. */
  publicUrl: () => string;
  /** The same where it is configured, and so holds for every node. */
  configuredUrl: string | undefined;
}

const config = { isCheap: true } as const;
const json = "application/json";

const readOpenApi = describedFile("Operating", {
  operationId: "readOpenApi",
  summary: "This API as OpenAPI 3.1",
  type: json,
});

const readAsyncApi = describedFile("Operating", {
  operationId: "readAsyncApi",
  summary: "The sockets and streams as AsyncAPI 3",
  type: json,
});

export async function apiDocsRoutes(
  app: FastifyInstance,
  { publicUrl, configuredUrl }: DocumentRoutesOptions,
): Promise<void> {
  const { version } = manifest;
  const openApi = await collectOperations(app, { publicUrl: configuredUrl, version });
  const openApiAsset = buildOnce(openApi);
  const asyncApiAsset = buildOnce(() => asyncApi({ publicUrl: publicUrl(), version }));
  app.get("/openapi.json", { config, ...readOpenApi }, (request, reply) => sendAsset(request, reply, openApiAsset()));
  app.get("/asyncapi.json", { config, ...readAsyncApi }, (request, reply) =>
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
