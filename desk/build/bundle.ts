/**
 * Builds the desk into `dist`: `index.html`, and its scripts and styles under `assets`, each with a hash of the content in its
 * name. `npm ci` runs it. The server (server/route/desk.ts) reads the files and never builds.
 */
import { join } from "node:path";
import { build } from "vite";

const source = join(import.meta.dirname, "..");

/** Builds into a folder; with `isWatching` again at each change, until the process ends. */
export async function writeBundle(folder: string, { isWatching = false } = {}): Promise<void> {
  await build({
    root: source,
    configFile: false,
    // No warnings, because every module of the libraries causes one by `"use client"`.
    logLevel: "error",
    // Relative, because the node may be served under a path; the server writes the page's own.
    base: "./",
    build: {
      outDir: folder,
      emptyOutDir: true,
      watch: isWatching ? {} : null,
      // Modules, `light-dark()` and nested styles.
      target: ["chrome123", "firefox121", "safari17.5"],
      modulePreload: { polyfill: false },
      // No data URLs, because the policy forbids them.
      assetsInlineLimit: 0,
    },
  });
}

if (import.meta.main) await writeBundle(join(source, "dist"), { isWatching: process.argv.includes("--watch") });
