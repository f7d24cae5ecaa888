/**
 * Serves the merchant's page: the same document at `/desk` and every address under it, and its scripts and styles, which have a
 * hash in their names. `npm ci` builds them (desk/build/bundle.ts); the server only reads them.
 */
import { randomBytes } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { HubError } from "../errors.ts";
import { type Asset, assetRoute, iconFiles, keepAssets } from "../http/static-files.ts";
import { describedFile } from "../schema/route.ts";

const builtFolder = new URL("../../desk/dist/", import.meta.url);

const openDesk = describedFile("Operating", {
  operationId: "openDesk",
  summary: "Open the merchant's page",
  type: "text/html",
});

const config = { isCheap: true } as const;

interface Files {
  page: string;
  find: (name: string) => Promise<Asset | undefined>;
}

/** Adds the page and its files. `folder`: the built files; answers with 404 while there are none. */
export function deskRoutes(app: FastifyInstance, { folder = builtFolder } = {}): void {
  let reading: Promise<Files> | undefined;
  const files = (): Promise<Files> => {
    reading ??= readFiles(folder).catch((cause: unknown) => {
      // Reads again at the next request, because the files may be built while the node runs.
      reading = undefined;
      throw new HubError("route_unknown", "The desk has not been built here: run `npm run build:desk`", { cause });
    });
    return reading;
  };

  const open = async (request: FastifyRequest, reply: FastifyReply) => {
    const root = rootOf(request.url);
    return root === undefined ? reply.callNotFound() : sendDesk(request, reply, { page: (await files()).page, root });
  };
  app.get("/desk", { config, ...openDesk }, open);
  app.get("/desk/*", { config }, open);
  assetRoute(app, "/desk/assets", async (name) => (await files()).find(name));
}

async function readFiles(folder: URL): Promise<Files> {
  const assets = new URL("assets/", folder);
  const [page, names] = await Promise.all([readFile(new URL("index.html", folder), "utf8"), readdir(assets)]);
  const find = keepAssets({ ...iconFiles, ...Object.fromEntries(names.map((name) => [name, new URL(name, assets)])) });
  const isHashed = new Set(names);
  const findKept = async (name: string): Promise<Asset | undefined> => {
    const asset = await find(name);
    return asset && { ...asset, immutable: isHashed.has(name) };
  };
  return { page, find: findKept };
}

/** More segments than any address of the desk has. */
const segmentsMax = 8;

/**
 * The relative address of the desk's root, as seen from an address under it, because a proxy may serve the node under a path.
 * Undefined for an address that the desk cannot have.
 */
function rootOf(url: string): string | undefined {
  const segments = (url.split("?")[0] ?? "").split("/").slice(2);
  if (segments.length > segmentsMax) return undefined;
  return segments.length === 0 ? "desk/" : "../".repeat(segments.length - 1) || "./";
}

async function sendDesk(
  request: FastifyRequest,
  reply: FastifyReply,
  { page, root }: { page: string; root: string },
): Promise<FastifyReply> {
  // Of one answer: for the few style rules that the components insert.
  const nonce = randomBytes(16).toString("base64url");
  reply.headers({
    "content-security-policy": policyWith(nonce),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
    vary: "Accept-Encoding",
  });
  reply.type("text/html; charset=utf-8");
  const html = page
    .replaceAll('"./', `"${root}`)
    .replace("<head>", `<head>\n    <meta property="csp-nonce" nonce="${nonce}">`);
  if (!/\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""))) return reply.send(html);
  return reply.header("content-encoding", "gzip").send(await promisify(gzip)(html));
}

/** Forbids every other origin, inline code, frames and forms. */
const policyWith = (nonce: string): string =>
  [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'none'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
