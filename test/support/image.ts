/**
 * The image of deploy/Containerfile as a directory: its steps, run one by one without an engine. Only `npm ci` is replaced: the packages
 * that it would install by the lock file are linked from the checkout, because the registry is slow.
 */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, matchesGlob } from "node:path";
import { promisify } from "node:util";
import { root, textOf } from "../docs/markdown.ts";

const exec = promisify(execFile);

interface Step {
  instruction: string;
  text: string;
}

/** The instructions of the file, with continued lines joined. */
const steps: readonly Step[] = textOf("deploy/Containerfile")
  .replace(/^#.*\n/gm, "")
  .replaceAll("\\\n", " ")
  .split("\n")
  .flatMap((line) => {
    const [, instruction, text] = /^([A-Z]+) +(.+)$/.exec(line) ?? [];
    return instruction !== undefined && text !== undefined ? [{ instruction, text }] : [];
  });

const stages = ((): Step[][] => {
  const found: Step[][] = [];
  for (const step of steps) {
    if (step.instruction === "FROM") found.push([]);
    found.at(-1)?.push(step);
  }
  return found;
})();

const last = (instruction: string): string =>
  stages.at(-1)?.findLast((step) => step.instruction === instruction)?.text ?? "";

/** What a container of the image runs, and in which environment. */
export const image = {
  command: JSON.parse(last("CMD")) as string[],
  healthCheck: JSON.parse(/CMD +(\[.*\])/.exec(last("HEALTHCHECK"))?.[1] ?? "[]") as string[],
  user: last("USER"),
  volume: last("VOLUME"),
  env: Object.fromEntries(
    last("ENV")
      .split(" ")
      .map((pair) => pair.split("=", 2) as [string, string]),
  ),
} as const;

/** Whether the ignore file lets a path into the build. */
const isInContext = ((): ((path: string) => boolean) => {
  const rules = textOf("deploy/Containerfile.dockerignore")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  return (path) => {
    let isIn = true;
    for (const rule of rules) {
      const pattern = rule.replace(/^!/, "");
      if (
        path === pattern ||
        path.startsWith(`${pattern}/`) ||
        matchesGlob(path, pattern) ||
        matchesGlob(path, `${pattern}/**`)
      ) {
        isIn = rule.startsWith("!");
      }
    }
    return isIn;
  };
})();

/** Makes the directory of the image. The caller removes it. */
export async function buildImage(): Promise<{ folder: string; remove(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "tukio-image-"));
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    for (const { instruction, text } of stages[0] ?? []) {
      if (instruction === "COPY") copy(text.split(/ +/), folder);
      if (instruction === "RUN") await runStep(text, folder);
    }
    return { folder, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

function copy(words: readonly string[], folder: string): void {
  const target = words.at(-1) ?? ".";
  for (const source of words.slice(0, -1)) {
    const isFolder = /\/$|^\.$|^\.\/$/.test(target);
    const to = join(folder, target, isFolder ? (source.split("/").at(-1) ?? "") : "");
    mkdirSync(dirname(to), { recursive: true });
    const from = join(root, source);
    cpSync(from, to, { recursive: true, filter: (path) => path === from || isInContext(path.slice(root.length + 1)) });
  }
}

async function runStep(text: string, cwd: string): Promise<void> {
  const [install, ...others] = text.split(" && ");
  const isInstall = install === "npm ci --omit=dev --ignore-scripts";
  if (isInstall) await linkPackages(cwd);
  const script = (isInstall ? others : [install, ...others]).join(" && ");
  const path = `${dirname(process.execPath)}:${process.env.PATH}`;
  await exec("sh", ["-euc", script], { cwd, env: { PATH: path } });
}

interface LockedPackage {
  dev?: boolean;
  link?: boolean;
  resolved?: string;
}

async function linkPackages(folder: string): Promise<void> {
  const lock: { packages: Record<string, LockedPackage> } = JSON.parse(
    readFileSync(join(root, "package-lock.json"), "utf8"),
  );
  for (const [path, { dev, link, resolved = "" }] of Object.entries(lock.packages)) {
    if (!path.startsWith("node_modules/") || dev || !existsSync(join(root, path))) continue;
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    if (link) await symlink(join(folder, resolved), join(folder, path));
    // A package inside of another one is copied with it.
    else if (!existsSync(join(folder, path))) await exec("cp", ["-al", join(root, path), join(folder, path)]);
  }
}
