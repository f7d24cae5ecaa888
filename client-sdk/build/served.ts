/** Reads the browser files for the server. `npm ci` builds them, and `npm run build:sdk` builds them again. */
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";

/** The folder of the browser files. */
export const browserFolder = new URL("../dist/browser/", import.meta.url);

export interface ServedFile {
  body: Buffer;
  contentType: string;
  /** The value of `integrity`. In quotes it is also the ETag. */
  integrity: string;
  /** The name contains a hash of the content, so clients may cache the file permanently. False for `tukio.js`. */
  immutable: boolean;
}

/** Reads `tukio.js`, its chunks and their source maps, by name. Rejects if they have not been built. */
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
