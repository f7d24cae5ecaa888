/** Builds the package into `dist`: the client as an ES module and as a CommonJS module, and the command. The `prepare` of the root package runs it. */
import { join } from "node:path";
import { writeModules } from "../../client-sdk/build/modules.ts";

const source = join(import.meta.dirname, "..");

/** Writes the modules into a folder. Throws if the sources have a type error. */
export const writePackage = (folder: string): Promise<void> => writeModules(source, folder);

if (import.meta.main) await writePackage(join(source, "dist"));
