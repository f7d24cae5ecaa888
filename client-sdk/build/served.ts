/**
 * The browser files as a server hands them out. Needs nothing but the files: `npm ci` has made them, and
 * `npm run build:sdk` makes them again.
 */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";

/** Where the browser files are. */
export const browserFolder = new URL("../dist/browser/", import.meta.url);

export interface ServedFile {
  body: Buffer;
  contentType: string;
  /** For `integrity=` and, in quotes, as ETag. */
  integrity: string;
  /** Its name changes with its content, so it may be kept for ever. `tukio.js` has to be asked for again. */
  immutable: boolean;
}

/** The browser files by name: `tukio.js`, its chunks and their source maps. Rejects when they have not been made. */
export async function readBrowserFiles(folder: URL = browserFolder): Promise<Map<string, ServedFile>> {
  const names = await readdir(folder).catch((cause: unknown) => {
    throw new Error("The browser files are missing: run `npm run build:sdk`", { cause });
  });
  const files = await Promise.all(names.map(async (name) => [name, await readFile(new URL(name, folder))] as const));
  return new Map(files.map(([name, body]) => [name, served(name, body)]));
}

function served(name: string, body: Buffer): ServedFile {
  return {
    body,
    contentType: name.endsWith(".js") ? "text/javascript; charset=utf-8" : "application/json; charset=utf-8",
    integrity: `sha384-${createHash("sha384").update(body).digest("base64")}`,
    immutable: !/^tukio\.js/.test(name),
  };
}
