/**
 * The bench's own PostgreSQL with fsync on, its own Redis, its child processes, and their CPU time. `stop` stops everything in
 * reverse order.
 */
import { type ChildProcess, execFile, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { promisify } from "node:util";
import { Redis } from "ioredis";
import pg from "pg";
import { startEmbedded } from "../server/database/embedded-postgres.ts";
import { migrate } from "../server/database/migrate.ts";
import type { BurstResult, LoadRequest, WatchResult } from "./message.ts";

export const run = promisify(execFile);

export interface Program {
  pid: number;
  /** All processes, when the target has several. */
  pids?: readonly number[];
  url: string;
  stop(): Promise<void>;
}

export interface Generator {
  watch(options: Omit<Extract<LoadRequest, { type: "watch" }>, "type">): Promise<WatchResult>;
  fire(options: Omit<Extract<LoadRequest, { type: "fire" }>, "type">): Promise<BurstResult>;
  call(options: Omit<Extract<LoadRequest, { type: "call" }>, "type">): Promise<BurstResult>;
  leave(): Promise<void>;
  stop(): Promise<void>;
}

export interface Statement {
  query: string;
  calls: number;
  meanMs: number;
}

export interface ProgramOptions {
  /** Arguments for Node, before the file. */
  args?: string[];
  env?: Record<string, string>;
  /** The path that answers once the program is ready. Default: `/`. */
  ready?: string;
}

export interface Machine {
  dir: string;
  redisUrl: string;
  redis: Redis;
  /** Opens the database with this name. Creates it at the first call: with this checkout's tables, or empty for another checkout. */
  database(name: string, isEmpty?: boolean): Promise<{ url: string; pool: pg.Pool }>;
  /** The statements run in this database since `resetCounts`. */
  statements(name: string): Promise<Statement[]>;
  resetCounts(): Promise<void>;
  /** CPU time of all PostgreSQL processes. */
  postgresCpuMs(): number;
  redisCpuMs(): number;
  /** Starts a program that serves HTTP on `PORT`, and waits until it answers. */
  start(file: string, options: ProgramOptions): Promise<Program>;
  generator(): Generator;
  stop(): Promise<void>;
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address ? address.port : 0;
}

/** User and system time of a process, in steps of 10 ms, the unit of `/proc`. */
export function cpuMsOf(pid: number): number {
  const fields = statOf(pid);
  return fields ? (Number(fields[11]) + Number(fields[12])) * 10 : 0;
}

/** The fields of `/proc/<pid>/stat` after the name: state, parent, … */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // The process has exited.
  }
}

export function rssKbOf(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
}

const childrenOf = (parent: number): number[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => statOf(pid)?.[1] === String(parent));

export const treeCpuMs = (pid: number): number => [pid, ...childrenOf(pid)].reduce((sum, one) => sum + cpuMsOf(one), 0);

/** The flags of `npm start`. Every variant in Node has them, so that they do not affect a ratio. */
const nodeArgs = ["--max-semi-space-size=8", "--expose-gc"];

const killedWithParent = existsSync("/usr/bin/setpriv") ? ["setpriv", "--pdeathsig", "KILL"] : [];

/** Stops a child with SIGTERM, and after 5 s with SIGKILL. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const gaveUp = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await exited;
  clearTimeout(gaveUp);
}

type Release = () => Promise<unknown>;

export async function startMachine(): Promise<Machine> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-bench-"));
  const releases: Release[] = [() => rm(dir, { recursive: true, force: true, maxRetries: 10 })];
  await chmod(dir, 0o755);
  const postgres = await openPostgres(dir, releases);
  const { redis, redisUrl, redisPid } = await openRedis(releases);
  return {
    dir,
    redisUrl,
    redis,
    database: createDatabases(postgres, releases),
    statements: (name) => readStatements(postgres.admin, name),
    async resetCounts() {
      await postgres.admin.query("select pg_stat_statements_reset()");
      await redis.config("RESETSTAT");
    },
    postgresCpuMs: () => treeCpuMs(postgres.postmaster),
    redisCpuMs: () => cpuMsOf(redisPid),
    start: (file, options) => startProgram(dir, releases, { file, ...options }),
    generator() {
      const generator = startGenerator();
      releases.push(generator.stop);
      return generator;
    },
    async stop() {
      for (const release of releases.reverse()) await release().catch((error: unknown) => console.error(error));
    },
  };
}

interface Postgres {
  url: string;
  admin: pg.Pool;
  /** The pid of PostgreSQL's main process. */
  postmaster: number;
}

async function openPostgres(dir: string, releases: Release[]): Promise<Postgres> {
  const embedded = await startPostgres(dir);
  releases.push(embedded.close);
  const admin = new pg.Pool({ connectionString: embedded.url, max: 2 });
  admin.on("error", () => undefined);
  releases.push(() => admin.end());
  await admin.query("create extension pg_stat_statements");
  const { rows } = await admin.query<{ pid: number }>("select pg_backend_pid() as pid");
  return { url: embedded.url, admin, postmaster: Number(statOf(rows[0]?.pid ?? 0)?.[1]) };
}

async function openRedis(releases: Release[]): Promise<{ redis: Redis; redisUrl: string; redisPid: number }> {
  const port = await freePort();
  const options = ["--bind", "127.0.0.1", "--port", `${port}`, "--save", "", "--appendonly", "no"];
  const [file = "", ...rest] = [...killedWithParent, "redis-server", ...options, "--maxclients", "15000"];
  const server = spawn(file, rest, { cwd: "/", stdio: "ignore" });
  releases.push(() => end(server));
  const redisUrl = `redis://127.0.0.1:${port}`;
  await wait(300);
  const redis = new Redis(redisUrl);
  releases.push(async () => redis.disconnect());
  await redis.ping();
  return { redis, redisUrl, redisPid: server.pid ?? 0 };
}

function createDatabases({ url: serverUrl, admin }: Postgres, releases: Release[]): Machine["database"] {
  const databases = new Map<string, { url: string; pool: pg.Pool }>();
  return async (name, isEmpty = false) => {
    const known = databases.get(name);
    if (known) return known;
    await admin.query(`create database ${name}`);
    const url = new URL(serverUrl);
    url.pathname = `/${name}`;
    const pool = new pg.Pool({ connectionString: url.href, max: 2 });
    pool.on("error", () => undefined);
    releases.push(() => pool.end());
    if (!isEmpty) await migrate(pool);
    const opened = { url: url.href, pool };
    databases.set(name, opened);
    return opened;
  };
}

async function readStatements(admin: pg.Pool, database: string): Promise<Statement[]> {
  const { rows } = await admin.query<{ query: string; calls: string; mean: number }>(
    `select query, calls, mean_exec_time as mean from pg_stat_statements s join pg_database d on d.oid = s.dbid
     where datname = $1 and toplevel order by calls desc`,
    [database],
  );
  return rows.map(({ query, calls, mean }) => ({ query, calls: Number(calls), meanMs: mean }));
}

async function startProgram(
  dir: string,
  releases: Release[],
  { file, args = [], env = {}, ready = "/" }: ProgramOptions & { file: string },
): Promise<Program> {
  const port = await freePort();
  const logFile = join(dir, `${port}.log`);
  const out = openSync(logFile, "a");
  const child = spawn(process.execPath, [...nodeArgs, ...args, file], {
    cwd: join(import.meta.dirname, ".."),
    env: { PATH: process.env.PATH, NODE_ENV: "production", HOST: "127.0.0.1", PORT: `${port}`, ...env },
    stdio: ["ignore", out, out],
  });
  closeSync(out);
  const stop = (): Promise<void> => end(child);
  releases.push(stop);
  const url = `http://127.0.0.1:${port}`;
  for (const deadline = Date.now() + 60_000; !(await answers(url + ready)); await wait(50)) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`${file} did not start:\n${readFileSync(logFile, "utf8").slice(-2_000)}`);
    }
  }
  return { pid: child.pid ?? 0, url, stop };
}

/** Whether the URL answers, with any status. */
const answers = (url: string): Promise<boolean> =>
  fetch(url).then(
    async (answer) => {
      await answer.body?.cancel();
      return true;
    },
    () => false,
  );

/** Starts PostgreSQL twice, because it reads `shared_preload_libraries` only at its start. */
async function startPostgres(dir: string): Promise<{ url: string; close(): Promise<void> }> {
  const options = { dataDir: join(dir, "postgres"), log: { info: () => undefined }, fsync: true };
  const first = await startEmbedded(options);
  const client = new pg.Client(first.url);
  await client.connect();
  await client.query("alter system set shared_preload_libraries = 'pg_stat_statements'");
  await client.query("alter system set max_connections = 200");
  await client.end();
  await first.close();
  return startEmbedded(options);
}

function startGenerator(): Generator {
  const child = fork(join(import.meta.dirname, "load.ts"), { execArgv: [] });
  const send = async <T>(request: LoadRequest): Promise<T> => {
    const answered = once(child, "message");
    child.send(request);
    const [{ answer, error }] = (await answered) as [{ answer?: T; error?: string }];
    if (answer === undefined) throw new Error(error);
    return answer;
  };
  return {
    watch: (options) => send({ type: "watch", ...options }),
    fire: (options) => send({ type: "fire", ...options }),
    call: (options) => send({ type: "call", ...options }),
    leave: async () => void (await send({ type: "leave" })),
    stop: () => end(child),
  };
}
