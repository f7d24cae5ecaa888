/** Programs that tests need and that are no packages of npm: the machine's own, or Debian's, installed here by root. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

/** Whether `installPackages` can do anything here. */
export const canInstall = (): boolean => process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");

/**
 * Installs, and starts no server: Debian's packages start theirs unless a policy forbids it. The policy is removed with the
 * shell that wrote it.
 */
const script = `
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap "rm -f $policy" EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends "$@"`;

/** Test files run at the same time, and apt does not: the second caller waits, and then finds everything installed. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  const lock = join(tmpdir(), "tukio-test-apt.lock");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await exec("flock", [lock, "sh", "-c", script, "sh", ...packages], { env, maxBuffer: 64 * 1_048_576 });
}

/** Debian installs servers in `/usr/sbin`, which is not on a normal user's PATH. */
const directories = (): string[] => [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin", "/sbin"];

const findProgram = (program: string): string | undefined =>
  directories()
    .map((directory) => join(directory, program))
    .find(existsSync);

/** The path of a program, installed with `debianPackage` if need be. */
export async function ensureProgram(program: string, debianPackage: string): Promise<string> {
  const found = findProgram(program);
  if (found !== undefined) return found;
  if (!canInstall()) {
    throw new Error(`The tests need ${program}: install it, on Debian as root with apt-get install ${debianPackage}.`);
  }
  await installPackages([debianPackage]);
  const installed = findProgram(program);
  if (installed === undefined) throw new Error(`The package ${debianPackage} has brought no ${program}.`);
  return installed;
}
