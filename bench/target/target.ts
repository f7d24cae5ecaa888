/** What the bench measures: a server that takes webhooks and has watchers. */
import type { Program } from "../machine.ts";
import type { Job, WatchVia } from "../plan.ts";

export interface Target {
  name: string;
  /** In the database of this name are its orders; none: it commits nothing. */
  database?: string;
  program: Program;
  /** What an event that tells of the payment has in it. */
  expects: string;
  /** Orders that wait for their webhook, each watched this way. */
  prepare(count: number, via: WatchVia): Promise<Job[]>;
  /** The same server, begun afresh: no garbage of preparing is in its memory. */
  restart(): Promise<void>;
}
