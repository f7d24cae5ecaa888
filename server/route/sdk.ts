/**
 * Serves the client SDK's browser files to pages of every origin: `/sdk/tukio.js` for `<script type="module">`, the files that it
 * loads on demand, and their integrity hashes. The server does not build them.
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
  summary: "Read a file of the client SDK",
  description:
    "`tukio.js` is a module that registers `<order-status>` and exports `watchOrder`. It loads the other files on demand. Open to every origin.",
  security: openedBy.everyone,
  answers: { 200: { description: "The file.", type: "text/javascript" }, 304: notModified },
  problems: ["route_unknown", "rate_limited"],
});

const readSdkIntegrity = described({
  operationId: "readSdkIntegrity",
  tag: "Watching",
  summary: "Read the hashes of the SDK's scripts",
  security: openedBy.everyone,
  answers: {
    200: {
      description: "Values for `integrity=`, by file.",
      schema: integrity,
      example: { "tukio.js": "sha384-oqVuAfXRKap7fdgcCY5uykM6+R9GqQ8K/uxy9rx7HNQlGYl1kPzQho1wx4JwY8wC" },
    },
  },
  problems: ["route_unknown", "rate_limited"],
});

const config = { isCheap: true } as const;

/** `readFiles` rejects while the files are not built. */
export function sdkRoutes(app: FastifyInstance, { readFiles = () => readBrowserFiles() } = {}): void {
  let reading: Promise<Map<string, ServedFile>> | undefined;

  const files = (): Promise<Map<string, ServedFile>> => {
    reading ??= readFiles().catch((cause: unknown) => {
      // Reads again at the next request, because the files may be built while the node runs.
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
    // Browsers load a script with `integrity` through CORS, from pages of any origin.
    reply.header("access-control-allow-origin", "*");
    return sendAsset(request, reply, file);
  });
}
