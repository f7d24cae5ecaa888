/** Hub processes for tests, as an operator runs them. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished, vi } from "vitest";
import { apiKey, type TestNode, testSecret } from "./node.ts";

export interface Process extends Pick<TestNode, "url"> {
  process: ChildProcess;
  /** What it said so far. */
  output(): string;
}

export const mainPath = fileURLToPath(new URL("../../server/main.ts", import.meta.url));

export async function makeDataDir(): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), "tukio-process-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));
  return dataDir;
}

/** Starts Tukio as `npm start` does, on a port of its own unless told otherwise, saying all it can. Ends with the test. */
export async function startProcess(env: Record<string, string> & { DATABASE_URL: string }): Promise<Process> {
  const dataDir = await makeDataDir();
  const child = spawn(process.execPath, [mainPath], {
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
  onTestFinished(() => void child.kill("SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const url = await vi.waitUntil(() => /listening at (http:\S+?)"/.exec(output)?.[1], { timeout: 20_000 });
  return { process: child, url, output: () => output };
}

/** What a test node offers besides its address, where the node is another process. */
export const inert = { log: [], watched: () => 0, publish: () => undefined, close: () => Promise.resolve() };
