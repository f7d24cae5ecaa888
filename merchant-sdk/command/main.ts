#!/usr/bin/env node
/** The command `tukio`. Exit codes: 0 done, 1 failed, 2 wrong arguments. */
import { readFile } from "node:fs/promises";
import { TukioError } from "../error.ts";
import { columns, exitCodes, helpOf, readArguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { doctor } from "./doctor.ts";
import { listen } from "./listen.ts";
import { suggestion } from "./nearest.ts";
import { order } from "./order.ts";
import { createOutput, type Output, plain } from "./output.ts";
import { connect } from "./settings.ts";
import { trigger } from "./trigger.ts";

const commands: readonly Command[] = [listen, trigger, order, doctor];

const overview = `Tukio on the command line.

Usage: tukio COMMAND [options]

Commands:
${columns(commands.map(({ name, summary }) => [name, summary]))}
tukio help COMMAND explains a command. tukio --version (-v) prints the version.

${exitCodes}`;

async function main(given: readonly string[]): Promise<number> {
  const words = commandFirst(given);
  const [name, ...rest] = words;
  const { stdout, stderr, env } = process;
  const output = createOutput({ out: stdout, error: stderr, env, isJson: words.includes("--json") });
  const command = commands.find((one) => one.name === name);
  try {
    return command ? await runCommand(command, rest, output) : await runOverview(words);
  } catch (error) {
    return explain(error, command ? ` ${command.name}` : "", output);
  }
}

/** Moves `--json` behind the command, because it may come before the command too. */
function commandFirst([first, second, ...rest]: readonly string[]): readonly string[] {
  const words = first === "--json" ? [second, first] : [first, second];
  return [...words.filter((word) => word !== undefined), ...rest];
}

async function runOverview(words: readonly string[]): Promise<number> {
  const [name, topic] = words.filter((word) => word !== "--json");
  if (name === "--version" || name === "-v") process.stdout.write(`${await readVersion()}\n`);
  else if (name === "help" && topic !== undefined && !topic.startsWith("-")) process.stdout.write(helpOf(find(topic)));
  else if (name === "--help" || name === "-h" || name === "help") process.stdout.write(overview);
  else if (name === undefined) throw new UsageError("COMMAND is missing");
  else if (name.startsWith("-")) throw new UsageError(`the command must come before ${name}`);
  else find(name);
  return 0;
}

function find(name: string): Command {
  const found = commands.find((one) => one.name === name);
  const names = commands.map((one) => one.name);
  if (!found) throw new UsageError(`there is no command ${name}${suggestion(name, names)}`);
  return found;
}

/** Prints why a command failed, and returns the exit code. Throws what is a fault of this program. */
function explain(error: unknown, about: string, output: Output): number {
  if (error instanceof UsageError) {
    const lines = error.faults.map((fault) => `tukio${about}: ${plain(fault)}`);
    output.fail({ code: "usage", detail: error.message }, [...lines, `Try: tukio${about} --help`].join("\n"));
    return 2;
  }
  if (!(error instanceof TukioError)) throw error;
  const { code, detail, status } = error;
  output.fail({ code, detail, status }, `tukio${about}: ${plain(detail)}${advice[code] ?? ""}`);
  return 1;
}

const advice: Partial<Record<TukioError["code"], string>> = {
  key_invalid: "\nThe key comes from --key-file, TUKIO_API_KEY, or the file .tukio/api-key.",
  unreachable: "\nIs the server running? Its address comes from --url or TUKIO_URL.",
};

async function runCommand(command: Command, words: readonly string[], output: Output): Promise<number> {
  const args = readArguments(command, words);
  if (args.has("help")) {
    process.stdout.write(helpOf(command));
    return 0;
  }
  const run = command.prepare(args);
  const connected = await connect(args, process.env);
  const stop = new AbortController();
  // Once, so that a second signal ends the process at once.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort());
  try {
    return await run({ output, signal: stop.signal, ...connected });
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    output.fail({ code: "stopped", detail: "Stopped." });
    return 1;
  }
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}

// The reader of a pipe has ended, as in `tukio listen | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

process.exitCode = await main(process.argv.slice(2));
