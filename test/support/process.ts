/** Tukio as `npm start` runs it: a process of its own, with real signals. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";
import { apiKey, type TestNode, testSecret } from "./node.ts";

/** A node that is another process: what a test node offers that only this process can do does nothing. */
export interface NodeProcess extends TestNode {
  process: ChildProcess;
  /** Everything it wrote. */
  output(): string;
  /** Sends a signal and resolves with the exit code and signal, when it has ended. */
  end(signal: NodeJS.Signals): Promise<[number | null, NodeJS.Signals | null]>;
}

export const main = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

/**
 * Starts a node on a port and a data directory of its own, which says all it can in its log. `close` ends it however it
 * is, and throws its last words if it has gone by itself.
 */
export async function startProcess(env: Record<string, string>): Promise<NodeProcess> {
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
    if (lastWords) throw new Error(`a node ended that nobody here had ended, with ${lastWords}`);
  };
  try {
    const url = await vi.waitUntil(
      () => {
        if (child.exitCode !== null) throw new Error(`the node ended:\n${output}`);
        return /listening at (http:\S+?)"/.exec(output)?.[1];
      },
      { timeout: 55_000 },
    );
    return {
      process: child,
      url,
      output: () => output,
      end,
      close,
      log: [],
      watchedOrders: () => 0,
      publish: () => undefined,
    };
  } catch (error) {
    await close().catch(() => undefined); // Its last words are in the error.
    throw error;
  }
}

/** The same, ended with the test. */
export async function startTestProcess(env: Record<string, string>): Promise<NodeProcess> {
  const node = await startProcess(env);
  onTestFinished(node.close);
  return node;
}
