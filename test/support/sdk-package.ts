/** The published package of the client SDK: its folder, and the file that `npm pack` makes of it. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeBundle } from "../../client-sdk/build/bundle.ts";
import { writePackage } from "../../client-sdk/build/package.ts";

const exec = promisify(execFile);
const source = join(import.meta.dirname, "../../client-sdk");

export interface SdkPackage {
  /** Inside the workspace, so that Node and TypeScript find the dependencies. A file in it may import the package by its name. */
  folder: string;
  tarball: string;
  remove(): Promise<void>;
}

export async function packSdk(): Promise<SdkPackage> {
  const folder = await mkdtemp(join(source, ".test-"));
  await writePackage(join(folder, "dist"));
  await writeBundle(join(folder, "dist/browser"));
  for (const file of ["package.json", "README.md"]) await cp(join(source, file), join(folder, file));
  const { stdout } = await exec("npm", ["pack", "--json", "--ignore-scripts"], { cwd: folder });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  return { folder, tarball: join(folder, filename), remove: () => rm(folder, { recursive: true }) };
}

/** The PATH without the workspace's own programs: `node` is then the machine's, which may be older. */
export const machinePath = (process.env.PATH ?? "")
  .split(":")
  .filter((folder) => !folder.includes("node_modules"))
  .join(":");
