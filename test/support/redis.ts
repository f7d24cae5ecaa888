/** Redis for tests: one shared server, and separate servers and clusters that a test may stop or stall. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { inject } from "vitest";

const exec = promisify(execFile);

/** The URL of the Redis that all test files share. Use unique channel names. */
export const redisUrl = (): string => inject("redisUrl");

export interface TestRedis {
  url: string;
  port: number;
  /** Kills the process. Does nothing when it has exited. */
  stop(): Promise<void>;
  /** Suspends the process: connections stay open and get no answer. */
  stall(): void;
  resume(): void;
  /** Stops the server if it runs, and starts an empty one on the same port. */
  restart(): Promise<void>;
  /** Runs a command with `redis-cli` and returns its output. */
  ask(...command: string[]): Promise<string>;
}

/** Starts a Redis on a free port, without persistence. It exits with this process, even after a crash of the test. */
export const startRedis = async (): Promise<TestRedis> => startServer(await freePort());

/** `clusterDir` keeps the list of a cluster's servers, which a restarted server reads. */
async function startServer(port: number, clusterDir?: string): Promise<TestRedis> {
  let server = await spawnRedis(port, clusterDir);
  const stop = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    // SIGKILL also ends a suspended process.
    server.kill("SIGKILL");
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    stop,
    stall: () => void server.kill("SIGSTOP"),
    resume: () => void server.kill("SIGCONT"),
    async restart() {
      await stop();
      server = await spawnRedis(port, clusterDir);
    },
    ask: async (...command) => (await exec("redis-cli", ["-p", String(port), ...command])).stdout.trim(),
  };
}

export interface TestCluster {
  /** The URLs of all servers, in the format of `REDIS_URL`. */
  url: string;
  /** The three masters, each with a third of the slots, then the replicas. */
  servers: TestRedis[];
  stop(): Promise<void>;
}

/** Starts a Redis Cluster with `redis-cli --cluster create`: three masters and `replicas` replicas of each. */
export async function startRedisCluster({ replicas = 0 }: { replicas?: number } = {}): Promise<TestCluster> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-cluster-"));
  const chosen = new Set<number>();
  while (chosen.size < 3 * (1 + replicas)) chosen.add(await freeClusterPort());
  const ports = [...chosen];
  const servers = await Promise.all(ports.map((port) => startServer(port, dir)));
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  await exec("redis-cli", [
    ...["--cluster", "create", ...addresses],
    ...["--cluster-replicas", String(replicas), "--cluster-yes"],
  ]);
  for (const { ask } of servers) {
    while (!(await ask("cluster", "info")).includes("cluster_state:ok")) await sleep(50);
    // A replica without a copy of the data cannot take over.
    while ((await ask("info", "replication")).includes("master_link_status:down")) await sleep(50);
  }
  return {
    url: servers.map(({ url }) => url).join(","),
    servers,
    async stop() {
      await Promise.all(servers.map((server) => server.stop()));
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** The command prefix that makes Linux kill a child when its parent dies: Vitest ends its workers by a signal. */
export const killedWithParent = existsSync("/usr/bin/setpriv") ? ["setpriv", "--pdeathsig", "KILL"] : [];

async function spawnRedis(port: number, clusterDir?: string): Promise<ChildProcess> {
  const command = ["redis-server", "--bind", "127.0.0.1", "--port", `${port}`, "--save", "", "--appendonly", "no"];
  if (clusterDir !== undefined) {
    command.push("--dir", clusterDir, "--cluster-enabled", "yes", "--cluster-config-file", `nodes-${port}.conf`);
    command.push("--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0");
  }
  const [file = "", ...rest] = [...killedWithParent, ...command];
  const server = spawn(file, rest, { cwd: "/", stdio: ["ignore", "pipe", "ignore"] });
  const lines: string[] = [];
  await new Promise<void>((done, fail) => {
    createInterface(server.stdout).on("line", (line) => {
      lines.push(line);
      if (line.includes("Ready to accept connections")) done();
    });
    server.once("error", fail);
    server.once("close", () => fail(new Error(`redis-server did not start:\n${lines.slice(-10).join("\n")}`)));
  });
  return server;
}

/**
 * Finds a port whose cluster bus port, 10,000 higher, is free too. Both are below 32,768, because from there on Linux gives ports to
 * connections, which may take one before the server does.
 */
async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort(10_000 + Math.floor(Math.random() * 12_000)).catch(() => undefined);
    if (port !== undefined && (await freePort(port + 10_000).catch(() => undefined)) !== undefined) return port;
  }
}

/** Returns a free port. Rejects when `wanted` is given and not free. */
export async function freePort(wanted = 0): Promise<number> {
  const server = createServer().listen(wanted, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("expected a TCP port");
  return address.port;
}
