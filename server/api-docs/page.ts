/** `/docs`: Swagger UI. This process serves all of its files, so that it works offline and with a strict content security policy. */
import type { FastifyInstance } from "fastify";
import { assetRoute, iconFiles, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
import { isLocal } from "../route/local.ts";
import { describedFile } from "../schema/route.ts";

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const swaggerUi = (name: string): URL => new URL(import.meta.resolve(`swagger-ui-dist/${name}`));

const page = keepAsset(own("index.html"));

const findFile = keepAssets({
  ...iconFiles,
  "docs.css": own("docs.css"),
  "docs.js": own("docs.js"),
  "swagger-ui.css": swaggerUi("swagger-ui.css"),
  "swagger-ui-bundle.js": swaggerUi("swagger-ui-bundle.js"),
});

const openDocs = describedFile("Operating", {
  operationId: "openDocs",
  summary: "Read this API as a page",
  type: "text/html",
});

/** `createdApiKey`: the key that the page fills in for a browser on this machine; absent if the operator chose the keys. */
export function pageRoutes(app: FastifyInstance, createdApiKey: string | undefined): void {
  app.get("/docs", openDocs, async (request, reply) =>
    sendPage(request, reply, { page: await page(), framedBy: "none" }),
  );
  app.get("/docs/key", { config: { cors: false } }, async (request, reply) => {
    reply.header("cache-control", "no-store");
    return { key: createdApiKey !== undefined && isLocal(request) ? createdApiKey : null };
  });
  assetRoute(app, "/docs", findFile);
}
