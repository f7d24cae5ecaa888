/** Builds the modules of the package with their types into `dist`. `node client-sdk/build/package.ts` runs it. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { writeModules } from "./modules.ts";

const source = join(import.meta.dirname, "..");

/** Writes the modules into a folder. Throws if the sources have a type error. */
export async function writePackage(folder: string): Promise<void> {
  await writeModules(source, folder);
  for (const name of clientModules) {
    for (const file of [join(folder, name), join(folder, "cjs", name)]) await markClient(file);
  }
}

/** The entries that need a browser. A server component that imports one of them makes it a part of the page's script. */
const clientModules = ["element.js", "react.js"];

/** On the first line, so that the source map stays right. Not in the sources, because the browser file needs no directive. */
const markClient = async (file: string): Promise<void> =>
  writeFile(file, `"use client"; ${await readFile(file, "utf8")}`);

if (import.meta.main) await writePackage(join(source, "dist"));
