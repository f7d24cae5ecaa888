/** Tukio as `npm start` runs it: a separate process that receives real signals. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";
import { apiKey, type TestNode, testSecret } from "./node.ts";

/** A node in another process. The members of `TestNode` that need the same process do nothing. */
export interface NodeProcess extends TestNode {
  process: ChildProcess;
  /** Everything that the process wrote to stdout and stderr. */
  output(): string;
  /** Sends a signal, waits for the exit and returns the exit code and signal. */
  end(signal: NodeJS.Signals): Promise<[number | null, NodeJS.Signals | null]>;
}

/** The URL in the log line `process.started`; undefined while the output has none. */
export const startedUrl = (output: string): string | undefined =>
  /"event":"process\.started","url":"([^"]+)"/.exec(output)?.[1];

export const main = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

/** A node process that may not listen yet. */
export type SpawnedNode = Pick<NodeProcess, "process" | "output" | "end" | "close">;

/** Spawns a node. The caller waits for its start. `close` is that of `startProcess`. */
export async function spawnProcess(env: Record<string, string>): Promise<SpawnedNode> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-process-"));
  const child = spawn(process.execPath, [main], {
    env: {
      PATH: process.env.PATH ?? "",
      PORT: "0",
      DATA_DIR: dataDir,
      TUKIO_API_KEY: apiKey,
      TUKIO_SECRET: testSecret,
      LOG_LEVEL: "trace",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const end = async (signal: NodeJS.Signals): Promise<[number | null, NodeJS.Signals | null]> => {
    const exited = child.exitCode === null && child.signalCode === null ? once(child, "exit") : undefined;
    child.kill(signal);
    await exited;
    return [child.exitCode, child.signalCode];
  };
  const close = async (): Promise<void> => {
    const isGone = child.exitCode !== null || child.signalCode !== null;
    const lastWords = isGone && !child.killed && `${child.exitCode ?? child.signalCode}:\n${output.slice(-4_000)}`;
    await end("SIGKILL");
    await rm(dataDir, { recursive: true, force: true });
    if (lastWords) throw new Error(`a node exited unexpectedly with ${lastWords}`);
  };
  return { process: child, output: () => output, end, close };
}

/**
 * Starts a node on a free port, with its own data directory and log level `trace`. `close` kills it. `close` throws the end
 * of its output when the process had exited on its own.
 */
export async function startProcess(env: Record<string, string>): Promise<NodeProcess> {
  const spawned = await spawnProcess(env);
  const { process: child, output, close } = spawned;
  try {
    const url = await vi.waitUntil(
      () => {
        if (child.exitCode !== null) throw new Error(`the node exited:\n${output()}`);
        return startedUrl(output());
      },
      { timeout: 55_000 },
    );
    return { ...spawned, url, log: [], watchedOrders: () => 0, publish: () => undefined };
  } catch (error) {
    await close().catch(() => undefined); // The first error has the process's output.
    throw error;
  }
}

/** Starts a node process and kills it when the test is over. */
export async function startTestProcess(env: Record<string, string>): Promise<NodeProcess> {
  const node = await startProcess(env);
  onTestFinished(node.close);
  return node;
}
