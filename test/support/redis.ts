/** Redis for tests: the one that all share, and ones of their own to break. */
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

/** The Redis that every test file shares: use channels of your own. */
export const redisUrl = (): string => inject("redisUrl");

export interface TestRedis {
  url: string;
  port: number;
  /** Ends the process, as a crash would; nothing happens when it has ended already. */
  stop(): Promise<void>;
  /** Keeps its connections open and answers nothing. */
  stall(): void;
  resume(): void;
  /** Stops it if need be, and starts an empty one on the same port. */
  restart(): Promise<void>;
  /** The answer to a command, as `redis-cli` prints it. */
  ask(...command: string[]): Promise<string>;
}

/** Starts a Redis on a free port, keeping nothing on disk. It is gone when this process is, whatever becomes of the test. */
export const startRedis = async (): Promise<TestRedis> => startServer(await freePort());

/** A server of a Cluster keeps in its directory who the others are, so that it finds them when it is started again. */
async function startServer(port: number, clusterDir?: string): Promise<TestRedis> {
  let server = await spawnRedis(port, clusterDir);
  const stop = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, "exit");
    // Works on a stalled one too.
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
  /** Every server, as `REDIS_URL` lists them. */
  url: string;
  /** Each is the only one that has its third of the slots, unless there are replicas. */
  servers: TestRedis[];
  stop(): Promise<void>;
}

/** Starts a Redis Cluster as an operator would: three servers with a third of the slots each, and as many replicas. */
export async function startRedisCluster({ replicas = 0 }: { replicas?: number } = {}): Promise<TestCluster> {
  const dir = await mkdtemp(join(tmpdir(), "tukio-cluster-"));
  const ports: number[] = [];
  while (ports.length < 3 * (1 + replicas)) ports.push(await freeClusterPort());
  const servers = await Promise.all(ports.map((port) => startServer(port, dir)));
  const addresses = ports.map((port) => `127.0.0.1:${port}`);
  await exec("redis-cli", [
    ...["--cluster", "create", ...addresses],
    ...["--cluster-replicas", String(replicas), "--cluster-yes"],
  ]);
  for (const { ask } of servers) {
    while (!(await ask("cluster", "info")).includes("cluster_state:ok")) await sleep(50);
    // A replica that has no copy yet does not stand in.
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

/** A worker of vitest is ended by a signal, so what it leaves behind is for the kernel to stop; only Linux does. */
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

/** The servers of a Cluster speak to each other on a second port, 10,000 higher. */
async function freeClusterPort(): Promise<number> {
  for (;;) {
    const port = await freePort(20_000 + Math.floor(Math.random() * 10_000)).catch(() => undefined);
    if (port !== undefined && (await freePort(port + 10_000).catch(() => undefined)) !== undefined) return port;
  }
}

/** A port that nobody listens on now: the wanted one, or rejects. */
export async function freePort(wanted = 0): Promise<number> {
  const server = createServer().listen(wanted, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("expected a TCP port");
  return address.port;
}
