/**
 * The client SDK's browser files: `/sdk/tukio.js` for `<script type="module">`, the pieces that it fetches when needed,
 * and the integrity hashes to pin them by. Any shop's page may have them. The server never builds them.
 */
import type { FastifyInstance } from "fastify";
import { readBrowserFiles, type ServedFile } from "../../client-sdk/build/served.ts";
import { HubError } from "../errors.ts";
import { sendAsset } from "../http/static-files.ts";

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

  app.get("/sdk/integrity.json", { config: { isCheap: true } }, async (_request, reply) => {
    const hashes = [...(await files())].filter(([name]) => name.endsWith(".js"));
    reply.headers({ "cache-control": "no-cache", "access-control-allow-origin": "*" });
    return Object.fromEntries(hashes.map(([name, { integrity }]) => [name, integrity]));
  });

  app.get<{ Params: { file: string } }>("/sdk/:file", { config: { isCheap: true } }, async (request, reply) => {
    const file = (await files()).get(request.params.file);
    if (!file) return reply.callNotFound();
    // A pinned script is fetched with CORS, whoever may watch orders.
    reply.header("access-control-allow-origin", "*");
    return sendAsset(request, reply, file);
  });
}
