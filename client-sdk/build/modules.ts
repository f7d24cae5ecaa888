/** Compiles a package's modules with their types: ES modules, and CommonJS modules for programs and test runners that call `require`. */
import { execFile } from "node:child_process";
import { rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);
const compiler = join(createRequire(import.meta.url).resolve("typescript/package.json"), "../bin/tsc");

/**
 * Compiles the package in `source` with its `tsconfig.build.json` into a folder, and with its `tsconfig.cjs.json` into the folder's
 * `cjs`. Throws if the sources have a type error.
 */
export async function writeModules(source: string, folder: string): Promise<void> {
  const compile = (project: string, outDir: string): Promise<object> =>
    exec(process.execPath, [compiler, "-p", join(source, project), "--outDir", outDir]).catch(
      (cause: { stdout: string }) => {
        throw new Error(`The package does not compile:\n${cause.stdout}`, { cause });
      },
    );
  await rm(join(folder, "cjs"), { recursive: true, force: true });
  await Promise.all([compile("tsconfig.build.json", folder), compile("tsconfig.cjs.json", join(folder, "cjs"))]);
  // The nearest package.json decides how Node and TypeScript read a `.js` file.
  await writeFile(join(folder, "cjs/package.json"), `${JSON.stringify({ type: "commonjs" })}\n`);
}
