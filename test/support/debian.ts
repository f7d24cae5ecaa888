/** Programs that tests need and that are no packages of npm: the machine's own, or Debian's, installed here by root. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

/** Whether `installPackages` can do anything here. */
export const canInstall = (): boolean => process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");

/** Test files run at the same time, and apt does not: whoever comes second waits, and then finds everything there. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  const lock = join(tmpdir(), "tukio-test-apt.lock");
  const script = 'apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends "$@"';
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await exec("flock", [lock, "sh", "-c", script, "sh", ...packages], { env, maxBuffer: 64 * 1_048_576 });
}

const isOnPath = (program: string): boolean =>
  (process.env.PATH ?? "").split(":").some((directory) => existsSync(join(directory, program)));

/** Has a server's program. Debian's packages start a server of their own, unless a policy says that nothing may be started. */
export async function haveProgram(program: string, debianPackage: string): Promise<void> {
  if (isOnPath(program)) return;
  if (!canInstall()) throw new Error(`The tests need ${program}: install it.`);
  const policy = "/usr/sbin/policy-rc.d";
  const isOurs = await writeFile(policy, "#!/bin/sh\nexit 101\n", { flag: "wx", mode: 0o755 }).then(
    () => true,
    () => false,
  );
  try {
    await installPackages([debianPackage]);
  } finally {
    if (isOurs) await rm(policy, { force: true });
  }
}
