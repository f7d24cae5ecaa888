/**
 * The API docs: `/openapi.json`, `/asyncapi.json`, and `/docs`, a page that shows the OpenAPI document without other servers. They
 * describe the routes that are added after them, so they must be added first.
 */
import type { FastifyInstance } from "fastify";
import manifest from "../../package.json" with { type: "json" };
import type { Config } from "../config/config.ts";
import { type Asset, sendAsset } from "../http/static-files.ts";
import { describedFile } from "../schema/route.ts";
import { asyncApi } from "./asyncapi.ts";
import { collectOperations } from "./openapi.ts";
import { pageRoutes } from "./page.ts";

export interface DocumentRoutesOptions {
  /** Base URL for clients. Called when the documents are requested, because it may be known only after the server listens. */
  publicUrl: () => string;
  /** Its `publicUrl` is the same on every node. */
  config: Pick<Config, "publicUrl" | "createdApiKey">;
}

const cheap = { config: { isCheap: true } } as const;
const json = "application/json";

const readOpenApi = describedFile("Operating", {
  operationId: "readOpenApi",
  summary: "Read this API as OpenAPI 3.1",
  type: json,
});

const readAsyncApi = describedFile("Operating", {
  operationId: "readAsyncApi",
  summary: "Read the sockets and streams as AsyncAPI 3",
  type: json,
});

export async function apiDocsRoutes(app: FastifyInstance, { publicUrl, config }: DocumentRoutesOptions): Promise<void> {
  const { version } = manifest;
  const openApi = await collectOperations(app, { publicUrl: config.publicUrl, version });
  const openApiAsset = buildOnce(openApi);
  const asyncApiAsset = buildOnce(() => asyncApi({ publicUrl: publicUrl(), version }));
  app.get("/openapi.json", { ...cheap, ...readOpenApi }, (request, reply) => sendAsset(request, reply, openApiAsset()));
  app.get("/asyncapi.json", { ...cheap, ...readAsyncApi }, (request, reply) =>
    sendAsset(request, reply, asyncApiAsset()),
  );
  pageRoutes(app, config.createdApiKey);
}

/** Builds a document at the first request for it, because building one takes tens of milliseconds of CPU. */
function buildOnce(build: () => unknown): () => Asset {
  let built: Asset | undefined;
  return () => {
    built ??= { body: Buffer.from(JSON.stringify(build())), contentType: "application/json; charset=utf-8" };
    return built;
  };
}
