/** A measured server: it takes webhooks and has watchers. */
import type { Program } from "../machine.ts";
import type { Job, WatchVia } from "../message.ts";

export interface Target {
  name: string;
  /** The name of its database; undefined when the target commits nothing. */
  database?: string;
  program: Program;
  /** A text that occurs in the event of the paid order and in no other. */
  expects: string;
  /** Creates orders that wait for their webhook, to be watched on this transport. */
  prepare(count: number, via: WatchVia): Promise<Job[]>;
  /** Restarts the server, so that its memory has no garbage of the preparation. */
  restart(): Promise<void>;
}
