/**
 * Builds the modules of the package with their types: ES modules in `dist`, and CommonJS modules in `dist/cjs`, for
 * programs and test runners that call `require`. `node client-sdk/build/package.ts` runs it.
 */
import { execFile } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);
const source = join(import.meta.dirname, "..");
const compiler = join(createRequire(import.meta.url).resolve("typescript/package.json"), "../bin/tsc");

/** Writes the modules into a folder. Throws if the sources have a type error. */
export async function writePackage(folder: string): Promise<void> {
  await rm(join(folder, "cjs"), { recursive: true, force: true });
  await compile("tsconfig.build.json", folder);
  await compile("tsconfig.cjs.json", join(folder, "cjs"));
  for (const name of clientModules) {
    for (const file of [join(folder, name), join(folder, "cjs", name)]) await markClient(file);
  }
  // The nearest package.json decides how Node and TypeScript read a `.js` file.
  await writeFile(join(folder, "cjs/package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
}

/** The entries that need a browser. A server component that imports one of them makes it a part of the page's script. */
const clientModules = ["element.js", "react.js"];

/** On the first line, so that the source map stays right. Not in the sources, because the browser file needs no directive. */
const markClient = async (file: string): Promise<void> =>
  writeFile(file, `"use client"; ${await readFile(file, "utf8")}`);

const compile = (project: string, outDir: string): Promise<object> =>
  exec(process.execPath, [compiler, "-p", join(source, project), "--outDir", outDir]);

if (import.meta.main) await writePackage(join(source, "dist"));
