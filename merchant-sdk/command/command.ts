/** The interface of a command, and the context in which it runs. */
import type { Arguments, Usage } from "./arguments.ts";
import type { Output } from "./output.ts";
import type { Connected } from "./settings.ts";

export interface Context extends Connected {
  output: Output;
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal;
}

/** Returns the exit code. Throws a `UsageError` for an argument that only the server shows to be wrong. */
export type Run = (context: Context) => Promise<number>;

export interface Command extends Usage {
  /** Reads the arguments and notes their faults. Returns what runs the command if there are none. */
  prepare(args: Arguments): Run;
}
