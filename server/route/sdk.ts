/**
 * The client SDK's browser files: `/sdk/tukio.js` for `<script type="module">`, the pieces that it fetches when needed,
 * and the integrity hashes to pin them by. Any shop's page may have them. The server never builds them.
 */
import type { FastifyInstance } from "fastify";
import { readBrowserFiles, type ServedFile } from "../../client-sdk/build/served.ts";
import { HubError } from "../errors.ts";
import { sendAsset } from "../http/static-files.ts";
import { integrity } from "../schema/answer.ts";
import { described, notModified, openedBy } from "../schema/route.ts";

const readSdkFile = described({
  operationId: "readSdkFile",
  tag: "Watching",
  summary: "The client SDK for browsers",
  description:
    "`tukio.js` is a module that registers `<order-status>` and exports `watchOrder`; it fetches the other files when it needs them. For every origin.",
  security: openedBy.anybody,
  answers: { 200: { description: "The file.", type: "text/javascript" }, 304: notModified },
  problems: ["route_unknown", "rate_limited"],
});

const readSdkIntegrity = described({
  operationId: "readSdkIntegrity",
  tag: "Watching",
  summary: "What to pin the SDK's scripts by",
  security: openedBy.anybody,
  answers: {
    200: {
      description: "For `integrity=`, by file.",
      schema: integrity,
      example: { "tukio.js": "sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC" },
    },
  },
  problems: ["route_unknown", "rate_limited"],
});

const config = { isCheap: true } as const;

/** `readFiles` rejects while the files have not been made. */
export function sdkRoutes(app: FastifyInstance, { readFiles = () => readBrowserFiles() } = {}): void {
  let reading: Promise<Map<string, ServedFile>> | undefined;

  const files = (): Promise<Map<string, ServedFile>> => {
    reading ??= readFiles().catch((cause: unknown) => {
      // They may be made while we run.
      reading = undefined;
      throw new HubError("route_unknown", "The SDK has not been built here: run `npm run build:sdk`", { cause });
    });
    return reading;
  };

  app.get("/sdk/integrity.json", { config, ...readSdkIntegrity }, async (_request, reply) => {
    const hashes = [...(await files())].filter(([name]) => name.endsWith(".js"));
    reply.headers({ "cache-control": "no-cache", "access-control-allow-origin": "*" });
    return Object.fromEntries(hashes.map(([name, { integrity }]) => [name, integrity]));
  });

  app.get<{ Params: { file: string } }>("/sdk/:file", { config, ...readSdkFile }, async (request, reply) => {
    const file = (await files()).get(request.params.file);
    if (!file) return reply.callNotFound();
    // A pinned script is fetched with CORS, whoever may watch orders.
    reply.header("access-control-allow-origin", "*");
    return sendAsset(request, reply, file);
  });
}
