/** The arguments of a command, and its help. */
import { parseArgs } from "node:util";

/** The arguments are wrong: exit code 2. */
export class UsageError extends Error {}

export interface Option {
  /** What stands for the value in the help. Without it, the option has no value. */
  value?: string;
  help: string;
}

/** What a command accepts. */
export interface Usage {
  name: string;
  /** One line, for the list of commands. */
  summary: string;
  /** The names of its words, such as `ORDER`. All are required. */
  words: readonly string[];
  options: Readonly<Record<string, Option>>;
  /** More help: paragraphs, and examples. */
  details: string;
}

export interface Arguments {
  /** A required word. */
  word(nth: number): string;
  /** The value of an option. */
  value(name: string): string | undefined;
  has(name: string): boolean;
}

export const commonOptions: Readonly<Record<string, Option>> = {
  url: { value: "URL", help: "the Tukio server; default: TUKIO_URL, or http://localhost:3000" },
  "key-file": { value: "FILE", help: "a file with the API key; default: TUKIO_API_KEY, or the file .tukio/api-key" },
  json: { help: "prints one JSON object on each line" },
  help: { help: "prints this help" },
};

/** Throws a `UsageError` for an unknown option, a missing value, and too few or too many words. */
export function readArguments({ words, options }: Usage, args: readonly string[]): Arguments {
  const all = { ...options, ...commonOptions };
  const config = Object.fromEntries(
    Object.entries(all).map(([name, { value }]) => [name, { type: value ? "string" : "boolean" } as const]),
  );
  const { values, positionals } = parse(args, config);
  const missing = words[positionals.length];
  if (missing && values.help !== true) throw new UsageError(`${missing} is missing`);
  const extra = positionals[words.length];
  if (extra !== undefined) throw new UsageError(`${extra} is one word too many`);
  return {
    word: (nth) => positionals[nth] ?? "",
    value(name) {
      const value = values[name];
      return typeof value === "string" ? value : undefined;
    },
    has: (name) => values[name] === true,
  };
}

function parse(args: readonly string[], options: Record<string, { type: "string" | "boolean" }>) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    // The first sentence is about the argument, the others about forms that are not used here.
    if (error instanceof Error) throw new UsageError(error.message.split(/\.\s/, 1)[0] ?? error.message);
    throw error;
  }
}

/** Lines of two columns. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}\n`).join("");
}

export function helpOf({ name, summary, words, options, details }: Usage): string {
  const rows = Object.entries({ ...options, ...commonOptions }).map(
    ([option, { value, help }]) => [`--${option}${value ? ` ${value}` : ""}`, help] as const,
  );
  const usage = ["tukio", name, ...words, "[options]"].join(" ");
  return `${summary}\n\nUsage: ${usage}\n\n${details}\n\nOptions:\n${columns(rows)}\n${exitCodes}`;
}

export const exitCodes = "Exit codes: 0 done, 1 failed, 2 wrong arguments\n";
