/** The arguments of a command, and its help. */
import { parseArgs } from "node:util";
import { suggestion } from "./nearest.ts";

/** The arguments are wrong: exit code 2. */
export class UsageError extends Error {
  /** Every fault. */
  readonly faults: readonly string[];

  constructor(...faults: string[]) {
    super(faults.join("; "));
    this.faults = faults;
  }
}

export interface Option {
  /** The placeholder of the value in the help. Without it, the option has no value. */
  value?: string;
  /** The letter of the short form. */
  short?: string;
  help: string;
}

/** The words and options that a command accepts, and its help. */
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
  /** Whether an option is there, also if its value is missing or wrong. */
  isGiven(name: string): boolean;
  /** Notes a fault, so that all are reported at once. */
  refuse(fault: string): void;
  /** Throws a `UsageError` with all faults that were noted. */
  check(): void;
}

export const commonOptions: Readonly<Record<string, Option>> = {
  url: { value: "URL", help: "the Tukio server; default: TUKIO_URL, or http://localhost:3000" },
  "key-file": { value: "FILE", help: "a file with the API key; default: TUKIO_API_KEY, or the file .tukio/api-key" },
  json: { help: "prints one JSON object on each line" },
  help: { short: "h", help: "prints this help" },
};

/** Notes the faults: unknown options, missing values, and too few or too many words. */
export function readArguments({ words, options }: Usage, args: readonly string[]): Arguments {
  const all = { ...options, ...commonOptions };
  const config = Object.fromEntries(
    Object.entries(all).map(([name, { value, short }]) => [
      name,
      { type: value ? "string" : "boolean", ...(short && { short }) } as const,
    ]),
  );
  // Not strict, because the strict parser stops at the first fault.
  const { values, positionals, tokens } = parseArgs({
    args: [...args],
    options: config,
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  const faults: string[] = [];
  for (const token of tokens) {
    if (token.kind !== "option") continue;
    const fault = faultOf(token, all);
    if (fault === undefined) continue;
    faults.push(fault);
    // Its value is not checked further.
    delete values[token.name];
  }
  const missing = words[positionals.length];
  if (missing) faults.push(`${missing} is missing`);
  const extra = positionals[words.length];
  // After an unknown option, the word may be its value.
  if (extra !== undefined && faults.length === 0) faults.push(`unexpected argument: ${extra}`);
  return {
    word: (nth) => positionals[nth] ?? "",
    value(name) {
      const value = values[name];
      return typeof value === "string" ? value : undefined;
    },
    has: (name) => values[name] === true,
    isGiven: (name) => tokens.some((token) => token.kind === "option" && token.name === name),
    refuse: (fault) => void faults.push(fault),
    check() {
      if (faults.length > 0) throw new UsageError(...faults);
    },
  };
}

interface OptionToken {
  name: string;
  rawName: string;
  value?: string | undefined;
  inlineValue?: boolean | undefined;
}

function faultOf(token: OptionToken, options: Readonly<Record<string, Option>>): string | undefined {
  const { name, rawName, value, inlineValue } = token;
  const option = Object.hasOwn(options, name) ? options[name] : undefined;
  if (!option) {
    const known = Object.keys(options).map((one) => `--${one}`);
    return `there is no option ${rawName}${suggestion(rawName, known)}`;
  }
  if (!option.value) return value === undefined ? undefined : `${rawName} takes no value`;
  // A negative number is a value, if a wrong one.
  const isMissing = !value || (!inlineValue && /^-(?!\d)/.test(value));
  return isMissing ? `${rawName} needs a value: ${option.value}` : undefined;
}

/** Lines of two columns. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}\n`).join("");
}

export function helpOf({ name, summary, words, options, details }: Usage): string {
  const rows = Object.entries({ ...options, ...commonOptions }).map(
    ([option, { value, short, help }]) =>
      [`${short ? `-${short}, ` : ""}--${option}${value ? ` ${value}` : ""}`, help] as const,
  );
  const usage = ["tukio", name, ...words, "[options]"].join(" ");
  return `${summary}\n\nUsage: ${usage}\n\n${details}\n\nOptions:\n${columns(rows)}\n${exitCodes}`;
}

/** The ids that Tukio accepts. */
export function checkOrderId(args: Arguments, name: string, id: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$/.test(id)) return;
  args.refuse(`${name} must be 1 to 64 letters, digits and . _ : - that begin with a letter or a digit`);
}

export const exitCodes = "Exit codes: 0 done, 1 failed, 2 wrong arguments\n";
