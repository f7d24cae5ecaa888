/** `/docs`: Swagger UI. This process serves all of its files, so that it works offline and with a strict content security policy. */
import type { FastifyInstance } from "fastify";
import { assetRoute, iconFiles, keepAsset, keepAssets, sendPage } from "../http/static-files.ts";
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

export function pageRoutes(app: FastifyInstance): void {
  app.get("/docs", openDocs, async (request, reply) =>
    sendPage(request, reply, { page: await page(), framedBy: "none" }),
  );
  assetRoute(app, "/docs", findFile);
}
