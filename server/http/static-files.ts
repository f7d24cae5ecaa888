/**
 * Serves the files of pages, compressed for clients that accept gzip. A file is read at its first request and then kept in
 * memory. Only the listed names are served.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

export interface Asset {
  body: Buffer;
  contentType: string;
  /** Whether the name changes with the content, so that clients may cache it without revalidation. */
  immutable?: boolean;
}

/** Finds an asset by its name. Undefined when there is none. */
export type FindAsset = (name: string) => Promise<Asset | undefined>;

const contentTypes: Readonly<Record<string, string>> = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  png: "image/png",
  svg: "image/svg+xml",
};

/** The icon of all pages, by file name. PNG too, because Safari shows no SVG. */
export const iconFiles = {
  "icon.svg": new URL("./page/icon.svg", import.meta.url),
  "icon.png": new URL("./page/icon.png", import.meta.url),
} as const;

/** Reads the digits that a payer types, in any script. Pages import it as a file beside their own. */
export const digitsFile = { "digits.js": new URL("./page/digits.js", import.meta.url) } as const;

/** Reads one file, once. Throws for a file type without a content type. */
export function keepAsset(at: URL): () => Promise<Asset> {
  const contentType = contentTypes[at.pathname.split(".").at(-1) ?? ""];
  if (contentType === undefined) throw new Error(`no content type for ${at.pathname}`);
  let kept: Promise<Asset> | undefined;
  return () => {
    kept ??= readFile(at).then((body) => ({ body, contentType }));
    return kept;
  };
}

/** Serves files under the given names. */
export function keepAssets(files: Readonly<Record<string, URL>>): FindAsset {
  const kept = new Map(Object.entries(files).map(([name, at]) => [name, keepAsset(at)]));
  return async (name) => kept.get(name)?.();
}

/** Adds the route `GET <path>/:file`. */
export function assetRoute(app: FastifyInstance, path: string, find: FindAsset): void {
  app.get<{ Params: { file: string } }>(`${path}/:file`, { config: { isCheap: true } }, async (request, reply) => {
    const asset = await find(request.params.file);
    return asset ? sendAsset(request, reply, asset) : reply.callNotFound();
  });
}

const favicon = keepAsset(iconFiles["icon.png"]);

/** Adds `/favicon.ico`, which browsers request for every page that names no icon that they can show. */
export function faviconRoute(app: FastifyInstance): void {
  app.get("/favicon.ico", { config: { isCheap: true } }, async (request, reply) =>
    sendAsset(request, reply, await favicon()),
  );
}

/** Answers with a page under a strict content security policy. `framedBy`: which pages may embed it in a frame. */
export async function sendPage(
  request: FastifyRequest,
  reply: FastifyReply,
  { page, framedBy, hasForm = false }: { page: Asset; framedBy: "none" | "self"; hasForm?: boolean },
): Promise<FastifyReply> {
  const ancestors = framedBy === "self" ? "'self'" : "'none'";
  const connect = ["connect-src 'self'", ...socketOrigins(request.host)].join(" ");
  reply.header(
    "content-security-policy",
    [...policy, connect, `frame-ancestors ${ancestors}`, `form-action ${hasForm ? "'self'" : "'none'"}`].join("; "),
  );
  reply.header("referrer-policy", "no-referrer");
  return sendAsset(request, reply, page);
}

/** The sources of this host's WebSockets, because `'self'` does not allow them in Firefox 78 and Safari 14. */
export const socketOrigins = (host: string): string[] =>
  /^[\w.[\]:-]{1,255}$/.test(host) ? [`ws://${host}`, `wss://${host}`] : [];

/** Forbids other origins and inline code. Style sheets contain small pictures as data URLs. */
const policy = ["default-src 'self'", "img-src 'self' data:", "object-src 'none'", "base-uri 'none'"];

interface Encoded {
  etag: string;
  zipped: Promise<Buffer>;
}

const encodings = new WeakMap<Buffer, Encoded>();

function encodingOf({ body }: Asset): Encoded {
  const known = encodings.get(body);
  if (known) return known;
  const hash = createHash("sha256").update(body).digest("base64url").slice(0, 22);
  const fresh = { etag: `W/"${hash}"`, zipped: promisify(gzip)(body) };
  encodings.set(body, fresh);
  return fresh;
}

/** Answers with the asset, or with 304 when the client has it. */
export async function sendAsset(request: FastifyRequest, reply: FastifyReply, asset: Asset): Promise<FastifyReply> {
  const { etag, zipped } = encodingOf(asset);
  reply.headers({
    etag,
    "cache-control": asset.immutable ? "public, max-age=31536000, immutable" : "no-cache",
    vary: "Origin, Accept-Encoding",
  });
  if (request.headers["if-none-match"]?.includes(etag)) return reply.code(304).send();
  reply.type(asset.contentType);
  if (!/\bgzip\b/.test(String(request.headers["accept-encoding"] ?? ""))) return sendBytes(reply, asset.body);
  return sendBytes(reply.header("content-encoding", "gzip"), await zipped);
}

/** Bytes per chunk of a large file. */
const pieceBytes = 16_384;

/** Streams large bodies at the reader's pace, because queued bytes count against the connection (connection-guard.ts). */
export function sendBytes(reply: FastifyReply, bytes: Buffer): FastifyReply {
  if (bytes.length <= pieceBytes) return reply.send(bytes);
  return reply.header("content-length", bytes.length).send(Readable.from(piecesOf(bytes)));
}

function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let start = 0; start < bytes.length; start += pieceBytes) yield bytes.subarray(start, start + pieceBytes);
}
