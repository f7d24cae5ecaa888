/** `/docs`: Swagger UI, served whole from this process, so that it works offline and under a strict policy. */
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { FastifyInstance } from "fastify";

/** Nothing from elsewhere and nothing inline; the pictures in Swagger UI's stylesheet are data URLs. */
const policy = [
  "default-src 'self'",
  "img-src 'self' data:",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const own = (name: string): URL => new URL(`./page/${name}`, import.meta.url);
const swaggerUi = (name: string): URL => new URL(import.meta.resolve(`swagger-ui-dist/${name}`));

const files: Readonly<Record<string, { at: URL; type: string }>> = {
  "docs.css": { at: own("docs.css"), type: "text/css; charset=utf-8" },
  "docs.js": { at: own("docs.js"), type: "text/javascript; charset=utf-8" },
  "swagger-ui.css": { at: swaggerUi("swagger-ui.css"), type: "text/css; charset=utf-8" },
  "swagger-ui-bundle.js": { at: swaggerUi("swagger-ui-bundle.js"), type: "text/javascript; charset=utf-8" },
};

export function pageRoutes(app: FastifyInstance): void {
  const zipped = new Map<string, Promise<Buffer>>();

  const zip = (name: string, at: URL): Promise<Buffer> => {
    const made = zipped.get(name) ?? readFile(at).then((bytes) => promisify(gzip)(bytes));
    zipped.set(name, made);
    return made;
  };

  app.get("/docs", async (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .header("content-security-policy", policy)
      .header("referrer-policy", "no-referrer")
      .header("cache-control", "no-cache")
      .send(await readFile(own("index.html"))),
  );

  app.get<{ Params: { file: string } }>("/docs/:file", async (request, reply) => {
    const { file } = request.params;
    const found = Object.hasOwn(files, file) ? files[file] : undefined;
    if (!found) return reply.callNotFound();
    reply.type(found.type).header("cache-control", "public, max-age=600").header("vary", "Origin, Accept-Encoding");
    if (!/\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""))) return reply.send(await readFile(found.at));
    return reply.header("content-encoding", "gzip").send(await zip(file, found.at));
  });
}
