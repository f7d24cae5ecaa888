/** Programs that tests need, from Debian's packages where they are not there. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

const isOnPath = (program: string): boolean =>
  (process.env.PATH ?? "").split(":").some((directory) => existsSync(join(directory, program)));

/** Debian's packages start a server of their own, unless a policy says that nothing may be started. */
export async function haveProgram(program: string, debianPackage: string): Promise<void> {
  if (isOnPath(program)) return;
  if (process.getuid?.() !== 0 || !isOnPath("apt-get")) throw new Error(`The tests need ${program}: install it.`);
  const policy = "/usr/sbin/policy-rc.d";
  const isOurs = await writeFile(policy, "#!/bin/sh\nexit 101\n", { flag: "wx", mode: 0o755 }).then(
    () => true,
    () => false,
  );
  try {
    const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    await exec("apt-get", ["update", "--quiet"], { env });
    await exec("apt-get", ["install", "--yes", "--quiet", "--no-install-recommends", debianPackage], { env });
  } finally {
    if (isOurs) await rm(policy);
  }
}
