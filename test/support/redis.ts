/** Redis for tests: the one that all share, and ones of their own to break. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { inject } from "vitest";

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
}

/** Starts a Redis on a free port, keeping nothing on disk. It is gone when this process is, whatever becomes of the test. */
export async function startRedis(): Promise<TestRedis> {
  const port = await freePort();
  let server = await spawnRedis(port);
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
      server = await spawnRedis(port);
    },
  };
}

/** A worker of vitest is ended by a signal, so what it leaves behind is for the kernel to stop; only Linux does. */
const wrap = existsSync("/usr/bin/setpriv") ? ["setpriv", "--pdeathsig", "KILL"] : [];

async function spawnRedis(port: number): Promise<ChildProcess> {
  const command = ["redis-server", "--bind", "127.0.0.1", "--port", `${port}`, "--save", "", "--appendonly", "no"];
  const [file = "", ...rest] = [...wrap, ...command];
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

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("expected a TCP port");
  return address.port;
}
