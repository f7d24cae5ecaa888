/**
 * Builds the browser files: `tukio.js`, which registers `<order-status>` and exports `watchOrder`, and its chunks, such
 * as the Socket.IO client. `npx node client-sdk/build/bundle.ts` writes them to `dist/browser`, and `npm ci` runs it. The
 * server reads them with `served.ts` and never builds.
 */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { type OutputOptions, type Plugin, type RolldownOptions, rolldown } from "rolldown";
import { browserFolder } from "./served.ts";

const here = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** One browser file. */
export interface BundledFile {
  /** Relative to the folder of `tukio.js`. */
  name: string;
  code: string;
}

const { version } = createRequire(import.meta.url)("../package.json") as { version: string };

/** Minifies the style sheet, which is a string that the bundler does not minify. */
const dense: Plugin = {
  name: "dense",
  transform: {
    filter: { id: /element\/(result-)?style\.ts$/ },
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
  // Chunks import shared code from the entry, instead of from one more file.
  preserveEntrySignatures: "allow-extension",
  plugins: [dense],
  // Chrome 87, Safari 14 and Firefox 78 parse ES2020 and nothing later.
  transform: { target: "es2020" },
  // The element imports two transports dynamically, but this entry exports them as well.
  checks: { ineffectiveDynamicImport: false },
};

const output: OutputOptions = {
  format: "esm",
  minify: true,
  comments: { annotation: false },
  sourcemap: true,
  entryFileNames: "[name].js",
  chunkFileNames: "[name]-[hash].js",
  banner: ({ name }) =>
    name.startsWith("socketio")
      ? "/*! socket.io-client, MIT, (c) 2014-present Guillermo Rauch and Socket.IO contributors */"
      : `/*! @tukio/client ${version}, MIT */`,
};

/** Bundles into memory. Tests pass another `entry` to measure its size alone. */
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
