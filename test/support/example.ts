/**
 * The examples, run by the commands of their READMEs in a folder that has nothing else of the repository: the first blocks
 * install the example, and the last block starts it. Two things differ from the text: the addresses of Tukio (`localhost:3000`)
 * and of the example (`localhost:4000`).
 */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { onTestFinished, vi } from "vitest";
import { blocksOf, root, textOf } from "../docs/markdown.ts";
import { apiKey } from "./node.ts";
import { freePort, killedWithParent } from "./redis.ts";
import { machinePath } from "./sdk-package.ts";

const exec = promisify(execFile);

/** Ten minutes, because an installation loads packages from the registry. */
export const installMs = 600_000;

/** Of the commands of one block, so that a failure prints them before the hook's time is over. */
const commandsMs = 300_000;

/** The environment of a fresh shell, with Node 24 and Debian's programs. */
const shell = {
  PATH: `${dirname(process.execPath)}:/usr/bin:/usr/sbin:${machinePath}`,
  HOME: process.env.HOME ?? tmpdir(),
  LANG: "C.UTF-8",
  TZ: process.env.TZ ?? "UTC",
  // The package that installs Node 24 has scripts of its own; the examples' packages need none.
  npm_config_ignore_scripts: "true",
  npm_config_audit: "false",
  npm_config_fund: "false",
  npm_config_update_notifier: "false",
  npm_config_package_lock: "false",
  npm_config_prefer_offline: "true",
  NEXT_TELEMETRY_DISABLED: "1",
};

/** The settings of the machine's npm, such as another registry. */
const npmSettings = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    /^(npm_config_registry|NODE_EXTRA_CA_CERTS|https?_proxy|no_proxy)$/i.test(name),
  ),
);

export interface InstalledExample {
  name: string;
  folder: string;
  remove(): Promise<void>;
}

/** The commands of a README's blocks with this word after the language, by default with none. */
export const commandsOf = (name: string, word = ""): string[] =>
  blocksOf(textOf(`examples/${name}/README.md`))
    .filter(({ language, info, reason }) => language === "sh" && info === word && reason === undefined)
    .map(({ code }) => code.trimEnd());

export interface InstallOptions {
  env?: Record<string, string>;
  /** Packed packages of this repository, by their folder. */
  packages?: Record<string, string>;
}

/** Copies an example into a folder of its own, and runs all blocks of its README but the last. */
export async function installExample(
  name: string,
  { env = {}, packages = {} }: InstallOptions = {},
): Promise<InstalledExample> {
  const home = await mkdtemp(join(tmpdir(), "tukio-example-"));
  const remove = (): Promise<void> => rm(home, { recursive: true, force: true, maxRetries: 5 });
  try {
    return { name, folder: await fillFolder(home, name, { env, packages }), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function fillFolder(home: string, name: string, { env, packages }: Required<InstallOptions>): Promise<string> {
  const folder = join(home, "examples", name);
  const source = join(root, "examples", name);
  await cp(source, folder, {
    recursive: true,
    filter: (path) => !/node_modules|\.next|\.db/.test(path.slice(source.length)),
  });
  // For `npx --prefix ../.. tukio` of an example that installs no packages.
  if (Object.keys(packages).length === 0) await symlink(join(root, "node_modules"), join(home, "node_modules"));
  for (const [workspace, tarball] of Object.entries(packages)) {
    await mkdir(join(home, workspace));
    await exec("tar", ["-xzf", tarball, "-C", join(home, workspace), "--strip-components=1"]);
  }
  await mkdir(join(home, ".tukio"));
  await writeFile(join(home, ".tukio/api-key"), apiKey);
  for (const block of commandsOf(name).slice(0, -1)) {
    await run(block, { cwd: folder, env: { ...shell, ...npmSettings, ...env } });
  }
  return folder;
}

async function run(commands: string, options: { cwd: string; env: NodeJS.ProcessEnv }): Promise<void> {
  await exec("bash", ["-euc", commands], { ...options, maxBuffer: 2 ** 26, timeout: commandsMs }).catch((error) => {
    throw new Error(`${commands}\n${error.stdout}\n${error.stderr}`);
  });
}

/** Whether a command succeeds in the shell of the examples. */
export const canRun = (command: string): Promise<boolean> =>
  exec("bash", ["-c", command], { env: shell }).then(
    () => true,
    () => false,
  );

export interface ExampleOptions {
  /** The address of Tukio. */
  tukio: string;
  /** Where Tukio posts its events; by default the example itself. */
  hooks?: string;
  port?: number;
  /** The secret that the example gets; by default that of the endpoint which is created for it. */
  secret?: string;
  /** Variables beside those of the README. */
  env?: Record<string, string>;
}

export interface RunningExample {
  url: string;
  /** What the server has printed, since the example was opened. */
  output(): string;
  /** The environment of the server. */
  env: NodeJS.ProcessEnv;
  /** Kills the server without a warning. Resolves when it has ended. */
  kill(): Promise<void>;
  /** Starts the server, after it was killed. Resolves when it listens. */
  start(): Promise<void>;
}

/** Runs the last block of the README: prepares the environment, and starts the server, which its last line does. */
export async function startExample(
  { name, folder }: InstalledExample,
  { tukio, hooks, port: given, secret, env = {} }: ExampleOptions,
): Promise<RunningExample> {
  const port = given ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const block = (commandsOf(name).at(-1) ?? "")
    .replaceAll("http://localhost:3000", tukio)
    .replaceAll("localhost:4000", `127.0.0.1:${port}`);
  const lines = block.split("\n");
  const command = lines.pop() ?? "";
  const base = { ...shell, PORT: String(port), ...env };
  const file = join(folder, `.environment-${port}`);
  await run(`${lines.join("\n")}\nenv -0 >${file}`, { cwd: folder, env: base });
  const prepared = Object.fromEntries(
    (await readFile(file, "utf8"))
      .split("\0")
      .filter(Boolean)
      .map((line) => line.split(/=(.*)/s).slice(0, 2)),
  );
  // The secret of `tukio listen`, instead of which the tests have an endpoint, whose deliveries they read.
  if (!/^whsec_.{32,}/.test(prepared.TUKIO_WEBHOOK_SECRET ?? "")) throw new Error(`no secret: ${block}`);
  prepared.TUKIO_WEBHOOK_SECRET = secret ?? (await createEndpoint(tukio, `${hooks ?? url}/hooks/tukio`));
  return superviseServer({ command, folder, url, env: prepared });
}

/** Returns the secret of an endpoint, as a deployed example has. */
async function createEndpoint(tukio: string, url: string): Promise<string> {
  const response = await fetch(`${tukio}/v1/endpoints`, {
    method: "POST",
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    body: JSON.stringify({ url }),
  });
  if (response.status !== 201) throw new Error(`${response.status} ${await response.text()}`);
  return ((await response.json()) as { secret: string }).secret;
}

interface Server {
  command: string;
  folder: string;
  url: string;
  env: NodeJS.ProcessEnv;
}

async function superviseServer({ command, folder, url, env }: Server): Promise<RunningExample> {
  let output = "";
  let child: ChildProcess | undefined;
  const kill = async (): Promise<void> => {
    if (!child?.pid || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, "close");
    // The group, because the server may run in a process of its own.
    process.kill(-child.pid, "SIGKILL");
    await closed;
  };
  const start = async (): Promise<void> => {
    const [program = "", ...words] = [...killedWithParent, ...command.split(" ")];
    const started = spawn(program, words, { cwd: folder, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const closed = once(started, "close");
    child = started;
    for (const stream of [started.stdout, started.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk));
    await vi.waitUntil(async () => {
      if (started.exitCode !== null || started.signalCode !== null) {
        // Its last lines may arrive after its end.
        await closed;
        throw new Error(`${command} ended:\n${output}`);
      }
      return fetch(url, { redirect: "manual" }).then(
        () => true,
        () => false,
      );
    });
  };
  onTestFinished(kill);
  await start();
  return { url, output: () => output, env, kill, start };
}
