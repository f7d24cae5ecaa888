/** Programs that tests need and npm does not have. Uses the machine's, or installs Debian's when the tests run as root. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const exec = promisify(execFile);

/** Whether `installPackages` works on this machine. */
export const canInstall = (): boolean => process.getuid?.() === 0 && existsSync("/usr/bin/apt-get");

/**
 * Installs packages without starting their servers: Debian starts them unless a policy forbids it. The shell removes the
 * policy when it exits.
 */
const script = `
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap "rm -f $policy" EXIT
  printf '#!/bin/sh\\nexit 101\\n' >$policy
  chmod 755 $policy
fi
apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends "$@"`;

/** Test files run concurrently but apt does not: a second caller waits for the lock and then finds the packages installed. */
export async function installPackages(packages: readonly string[]): Promise<void> {
  if (!canInstall()) {
    throw new Error(`The tests need Debian packages. Install them (as root): apt-get install ${packages.join(" ")}`);
  }
  const lock = join(tmpdir(), "tukio-test-apt.lock");
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await exec("flock", [lock, "sh", "-c", script, "sh", ...packages], {
    ...{ env, maxBuffer: 64 * 1_048_576 },
    // Because a mirror that does not answer must end in a message, not in the timeout of the hook.
    timeout: 300_000,
  });
}

/** Debian installs servers in `/usr/sbin`, which is not in a normal user's PATH. */
const directories = (): string[] => [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin", "/sbin"];

const findProgram = (program: string): string | undefined =>
  directories()
    .map((directory) => join(directory, program))
    .find(existsSync);

/** Returns the path of a program. Installs `debianPackage` if the program is missing. */
export async function ensureProgram(program: string, debianPackage: string): Promise<string> {
  const found = findProgram(program);
  if (found !== undefined) return found;
  if (!canInstall()) {
    throw new Error(`The tests need ${program}. Install it (Debian, as root): apt-get install ${debianPackage}`);
  }
  await installPackages([debianPackage]);
  const installed = findProgram(program);
  if (installed === undefined) throw new Error(`The package ${debianPackage} does not contain ${program}.`);
  return installed;
}
