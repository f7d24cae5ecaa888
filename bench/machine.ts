/**
 * The machine under the bench: a PostgreSQL of its own with fsync on, a Redis of its own, child processes and what they
 * cost. Everything started here is stopped by `stop`, last-in first-out.
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
import type { Ask, Fired, Watching } from "./plan.ts";

export const run = promisify(execFile);

export interface Program {
  pid: number;
  /** Of a target of several processes, all of them. */
  pids?: readonly number[];
  url: string;
  stop(): Promise<void>;
}

export interface Generator {
  watch(ask: Omit<Extract<Ask, { ask: "watch" }>, "ask">): Promise<Watching>;
  fire(ask: Omit<Extract<Ask, { ask: "fire" }>, "ask">): Promise<Fired>;
  call(ask: Omit<Extract<Ask, { ask: "call" }>, "ask">): Promise<Fired>;
  leave(): Promise<void>;
  stop(): Promise<void>;
}

export interface Machine {
  dir: string;
  redisUrl: string;
  redis: Redis;
  /** A database with Tukio's tables; the same name is the same database. */
  database(name: string): Promise<{ url: string; pool: pg.Pool }>;
  /** Statements since `resetCounts`, by their name in the text, in this database. */
  statements(name: string): Promise<{ query: string; calls: number; meanMs: number }[]>;
  resetCounts(): Promise<void>;
  /** CPU of PostgreSQL's processes so far. */
  postgresCpuMs(): number;
  redisCpuMs(): number;
  /** Starts a program that answers HTTP on `PORT`, and waits until it does. */
  start(file: string, options: { args?: string[]; env?: Record<string, string>; ready?: string }): Promise<Program>;
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

/** User and system time of a process so far; `/proc` counts in hundredths of a second. */
export function cpuMsOf(pid: number): number {
  const fields = statOf(pid);
  return fields ? (Number(fields[11]) + Number(fields[12])) * 10 : 0;
}

/** The fields of `/proc/<pid>/stat` behind the name: state, parent, … */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined; // It has ended.
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

/** As `npm start` has it; every lane in Node has the same, so that no ratio is about it. */
const nodeArgs = ["--max-semi-space-size=8", "--expose-gc"];

const dieWithUs = existsSync("/usr/bin/setpriv") ? ["setpriv", "--pdeathsig", "KILL"] : [];

/** Stops a child, and for certain. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const gaveUp = setTimeout(() => child.kill("SIGKILL"), 5_000);
  await exited;
  clearTimeout(gaveUp);
}

export async function startMachine(): Promise<Machine> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-bench-"));
  const releases: (() => Promise<unknown>)[] = [() => rm(dir, { recursive: true, force: true, maxRetries: 10 })];
  await chmod(dir, 0o755);
  const embedded = await startPostgres(dir);
  releases.push(embedded.close);
  const admin = new pg.Pool({ connectionString: embedded.url, max: 2 });
  admin.on("error", () => undefined);
  releases.push(() => admin.end());
  await admin.query("create extension pg_stat_statements");
  const { rows } = await admin.query<{ pid: number }>("select pg_backend_pid() as pid");
  const postmaster = Number(statOf(rows[0]?.pid ?? 0)?.[1]);
  const databases = new Map<string, { url: string; pool: pg.Pool }>();

  const redisPort = await freePort();
  const redisArgs = [
    "redis-server",
    "--bind",
    "127.0.0.1",
    "--port",
    `${redisPort}`,
    "--save",
    "",
    "--appendonly",
    "no",
  ];
  const [file = "", ...rest] = [...dieWithUs, ...redisArgs, "--maxclients", "15000"];
  const redisServer = spawn(file, rest, { cwd: "/", stdio: "ignore" });
  releases.push(() => end(redisServer));
  const redisUrl = `redis://127.0.0.1:${redisPort}`;
  await wait(300);
  const redis = new Redis(redisUrl);
  releases.push(async () => redis.disconnect());
  await redis.ping();

  return {
    dir,
    redisUrl,
    redis,
    async database(name) {
      const known = databases.get(name);
      if (known) return known;
      await admin.query(`create database ${name}`);
      const url = new URL(embedded.url);
      url.pathname = `/${name}`;
      const pool = new pg.Pool({ connectionString: url.href, max: 2 });
      pool.on("error", () => undefined);
      releases.push(() => pool.end());
      await migrate(pool);
      const opened = { url: url.href, pool };
      databases.set(name, opened);
      return opened;
    },
    async statements(name) {
      const found = await admin.query<{ query: string; calls: string; mean: number }>(
        `select query, calls, mean_exec_time as mean from pg_stat_statements s join pg_database d on d.oid = s.dbid
         where datname = $1 and toplevel order by calls desc`,
        [name],
      );
      return found.rows.map(({ query, calls, mean }) => ({ query, calls: Number(calls), meanMs: mean }));
    },
    async resetCounts() {
      await admin.query("select pg_stat_statements_reset()");
      await redis.config("RESETSTAT");
    },
    postgresCpuMs: () => treeCpuMs(postmaster),
    redisCpuMs: () => cpuMsOf(redisServer.pid ?? 0),
    async start(program, { args = [], env = {}, ready = "/" }) {
      const port = await freePort();
      const out = openSync(join(dir, `${port}.log`), "a");
      const child = spawn(process.execPath, [...nodeArgs, ...args, program], {
        cwd: join(import.meta.dirname, ".."),
        env: { PATH: process.env.PATH, NODE_ENV: "production", HOST: "127.0.0.1", PORT: `${port}`, ...env },
        stdio: ["ignore", out, out],
      });
      closeSync(out);
      const stop = (): Promise<void> => end(child);
      releases.push(stop);
      const url = `http://127.0.0.1:${port}`;
      for (const deadline = Date.now() + 20_000; ; await wait(50)) {
        const isUp = await fetch(url + ready).then(
          (answer) => answer.body?.cancel().then(() => true),
          () => false,
        );
        if (isUp) break;
        if (child.exitCode !== null || Date.now() > deadline) {
          throw new Error(`${program} did not start:\n${readFileSync(join(dir, `${port}.log`), "utf8").slice(-2_000)}`);
        }
      }
      return { pid: child.pid ?? 0, url, stop };
    },
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

/** Twice, because counting statements is decided when PostgreSQL starts. */
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
  const obey = async <T>(ask: Ask): Promise<T> => {
    const answered = once(child, "message");
    child.send(ask);
    const [{ answer, error }] = (await answered) as [{ answer?: T; error?: string }];
    if (answer === undefined) throw new Error(error);
    return answer;
  };
  return {
    watch: (ask) => obey({ ask: "watch", ...ask }),
    fire: (ask) => obey({ ask: "fire", ...ask }),
    call: (ask) => obey({ ask: "call", ...ask }),
    leave: async () => void (await obey({ ask: "leave" })),
    stop: () => end(child),
  };
}
