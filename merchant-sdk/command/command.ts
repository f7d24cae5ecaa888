/** What a command is, and what it gets. */
import type { Arguments, Usage } from "./arguments.ts";
import type { Output } from "./output.ts";
import type { Connected } from "./settings.ts";

export interface Context extends Connected {
  args: Arguments;
  output: Output;
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal;
}

export interface Command extends Usage {
  /** Returns the exit code. */
  run(context: Context): Promise<number>;
}
