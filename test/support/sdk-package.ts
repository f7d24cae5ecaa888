/** The published packages: their folders, and the files that `npm pack` makes of them. */
import { execFile } from "node:child_process";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { writeBundle } from "../../client-sdk/build/bundle.ts";
import { writePackage } from "../../client-sdk/build/package.ts";
import { writePackage as writeMerchantPackage } from "../../merchant-sdk/build/package.ts";

const exec = promisify(execFile);

export interface SdkPackage {
  /** Inside the workspace, so that Node and TypeScript find the dependencies. A file in it may import the package by its name. */
  folder: string;
  tarball: string;
  remove(): Promise<void>;
}

async function pack(workspace: string, build: (dist: string) => Promise<void>): Promise<SdkPackage> {
  const source = join(import.meta.dirname, "../..", workspace);
  const folder = await mkdtemp(join(source, ".test-"));
  await build(join(folder, "dist"));
  // Everything that npm might pack: npm decides, as when the package is published.
  const names = (await readdir(source)).filter((name) => !/^(dist|node_modules|\.test-.*)$/.test(name));
  for (const name of names) await cp(join(source, name), join(folder, name), { recursive: true });
  const { stdout } = await exec("npm", ["pack", "--json", "--ignore-scripts"], { cwd: folder });
  const [{ filename }] = JSON.parse(stdout) as [{ filename: string }];
  return { folder, tarball: join(folder, filename), remove: () => rm(folder, { recursive: true }) };
}

/** Packs `@tukio/client`. */
export const packSdk = (): Promise<SdkPackage> =>
  pack("client-sdk", async (dist) => {
    await writePackage(dist);
    await writeBundle(join(dist, "browser"));
  });

/** Packs `@tukio/merchant`. */
export const packMerchantSdk = (): Promise<SdkPackage> => pack("merchant-sdk", writeMerchantPackage);

/** The PATH without the workspace's own programs: `node` is then the machine's, which may be older. */
export const machinePath = (process.env.PATH ?? "")
  .split(":")
  .filter((folder) => !folder.includes("node_modules"))
  .join(":");
