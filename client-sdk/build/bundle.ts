/**
 * Makes the browser files: `tukio.js`, which registers `<order-status>` and exports `watchOrder`, and beside it
 * Socket.IO's client, fetched only when that transport runs. `node client-sdk/build/bundle.ts` writes them to
 * `dist/browser`; `npm ci` does so. The server reads them by `served.ts` and never builds.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type OutputOptions, type Plugin, type RolldownOptions, rolldown } from "rolldown";
import { browserFolder } from "./served.ts";

const here = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** One browser file. */
export interface BundledFile {
  /** Relative to `tukio.js`. */
  name: string;
  code: string;
}

const { version } = createRequire(import.meta.url)("../package.json") as { version: string };

/** The bundler leaves text alone, and the style sheet is text: its indentation is not worth a payer's data. */
const dense: Plugin = {
  name: "dense",
  transform: {
    filter: { id: /element\/style\.ts$/ },
    handler: (code) => ({ code: code.replace(/`[^`]*`/g, squeeze), map: null }),
  },
};

const squeeze = (css: string): string =>
  css
    .replace(/\/\*.*?\*\/|\n\s*/g, "")
    .replace(/ ?([:;{},>]) /g, "$1")
    .replace(/ \{|;\}/g, (end) => end.slice(1))
    .replace(/\b0\./g, ".");

const options: RolldownOptions = {
  input: { tukio: here("browser.ts") },
  platform: "browser",
  tsconfig: false,
  // Chunks take what they share with the entry from it, instead of from one more file.
  preserveEntrySignatures: "allow-extension",
  plugins: [dense],
  // The element fetches a transport when it is asked for, but this file exports all of them anyway.
  checks: { ineffectiveDynamicImport: false },
};

const output: OutputOptions = {
  format: "esm",
  minify: true,
  sourcemap: true,
  entryFileNames: "[name].js",
  chunkFileNames: "[name]-[hash].js",
  banner: ({ name }) =>
    name.startsWith("socketio")
      ? "/*! socket.io-client, MIT, (c) 2014-present Guillermo Rauch and Socket.IO contributors */"
      : `/*! @tukio/client ${version}, MIT */`,
};

/** Bundles into memory. `entry` is another file of the SDK, to see what it weighs alone. */
export async function bundle(entry = "browser.ts"): Promise<BundledFile[]> {
  const build = await rolldown({ ...options, input: { tukio: here(entry) } });
  const files = await build.generate(output);
  await build.close();
  return files.output.flatMap((file) => (file.type === "chunk" ? [{ name: file.fileName, code: file.code }] : []));
}

/** Bundles into a folder. */
export async function writeBundle(folder: string): Promise<void> {
  const build = await rolldown(options);
  await build.write({ ...output, dir: folder, cleanDir: true });
  await build.close();
}

if (import.meta.main) await writeBundle(fileURLToPath(browserFolder));
