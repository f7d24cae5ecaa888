/** The command `tukio` of the packed package, as a process in the oldest supported Node. */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { expect, onTestFinished, vi } from "vitest";
import { apiKey } from "./node.ts";
import { machinePath } from "./sdk-package.ts";

export interface Ended {
  code: number | null;
  out: string;
  error: string;
}

export interface RunningCommand {
  process: ChildProcess;
  /** What it has printed to the standard output. */
  out(): string;
  error(): string;
  /** Waits until the standard output matches. */
  until(pattern: RegExp): Promise<void>;
  /** The lines of the standard output, as JSON. */
  json(): Record<string, unknown>[];
  /** Waits until it ends. */
  ended: Promise<Ended>;
}

export interface CommandOptions {
  /** The folder of the package. */
  folder: string;
  /** The server. */
  url: string;
  env?: Record<string, string>;
  cwd?: string;
}

/** Starts the command with the tests' API key. Expects that it never prints the key. Kills it when the test is over. */
export function startCommand(
  args: readonly string[],
  { folder, url, env = {}, cwd = folder }: CommandOptions,
): RunningCommand {
  const child = spawn("node", [join(folder, "bin/tukio.js"), ...args], {
    cwd,
    env: { PATH: machinePath, TUKIO_URL: url, TUKIO_API_KEY: apiKey, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let out = "";
  let error = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (error += text));
  const ended = new Promise<Ended>((resolve) => child.once("close", (code) => resolve({ code, out, error })));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
    expect(out + error).not.toContain(apiKey);
  });
  return {
    process: child,
    out: () => out,
    error: () => error,
    async until(pattern) {
      await vi.waitUntil(() => {
        if (child.exitCode !== null && !pattern.test(out)) throw new Error(`the command ended:\n${out}${error}`);
        return pattern.test(out);
      });
    },
    json: () =>
      out
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
    ended,
  };
}

/** Runs the command to its end. */
export const runCommand = (args: readonly string[], options: CommandOptions): Promise<Ended> =>
  startCommand(args, options).ended;
