/**
 * Resync reads from the database what the bus lost.
 *
 * Guarantees (G4): a state that the database has reaches the hub within 2 s while the database answers, whatever the bus
 * does. A pass reads the orders that changed since the pass before. After a gap it reads every watched order.
 * Does not guarantee: that every state is read. A pass reads the current state of an order and skips those in between.
 * Concurrency: one pass at a time. Events from the bus arrive during a pass; the hub keeps the newer version of each order.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import { inBatches } from "./batched-read.ts";
import type { StatusBus } from "./bus.ts";

/** 2 s because watchers must show the database's state within 3 s (G4). */
const delayMs = 2_000;

/** While the bus is down, watchers depend on the passes alone. */
const delayDownMs = 250;

/** A pass takes at most a tenth of the time, so that passes do not slow down a slow database. */
const delayPerPassTime = 10;

export interface ResyncOptions {
  store: Pick<OrderStore, "current" | "changedSince">;
  bus: Pick<StatusBus, "healthy">;
  /** The watched orders, each with the newest version that the hub knows. */
  watched: ReadonlyMap<string, { readonly version: number }>;
  /** Delivers a state to the watchers. Returns whether it was newer than the known one. */
  deliver: (event: StatusEvent) => boolean;
  /** Called with the error of a failed pass that follows a successful one. */
  onError: (error: unknown) => void;
  /** Called when a pass succeeds after one that failed. */
  onRecovered?: (() => void) | undefined;
  /** Called after each pass with the number of states that the bus had lost. */
  onResync?: ((healed: number) => void) | undefined;
}

export interface Resync {
  /** Starts a pass at once, which reads every watched order. Call it when events may be lost. */
  reportGap(): void;
  /** No further pass starts; resolves when the current one ends. */
  close(): Promise<void>;
}

/** Progress between two passes. */
interface Progress {
  /** Whether the next pass must read every watched order. */
  hasGap: boolean;
  /** The database's time of the last pass. Undefined while no order is watched. */
  readAt: Date | undefined;
}

export function startResync(options: ResyncOptions): Resync {
  const { bus, onError, onRecovered } = options;
  const progress: Progress = { hasGap: false, readAt: undefined };
  const loop = startLoop({
    task: () => runPass(progress, options),
    delayMs: (tookMs) => (bus.healthy ? delayMs : Math.min(Math.max(delayDownMs, delayPerPassTime * tookMs), delayMs)),
    onError,
    ...(onRecovered && { onRecovered }),
  });
  return {
    reportGap() {
      progress.hasGap = true;
      loop.runNow();
    },
    close: () => loop.close(),
  };
}

async function runPass(progress: Progress, options: ResyncOptions): Promise<void> {
  const { watched, onResync } = options;
  const hadGap = progress.hasGap;
  progress.hasGap = false;
  if (watched.size === 0) {
    progress.readAt = undefined;
    return;
  }
  try {
    const { at, changes } = await options.store.changedSince(progress.readAt);
    // After a failover the new database's clock may be behind, and its changes look older than the last pass.
    const isClockBehind = progress.readAt !== undefined && at < progress.readAt;
    const ids = hadGap || isClockBehind ? [...watched.keys()] : newerThanKnown(changes, watched);
    const healed = await readAndDeliver(ids, options);
    onResync?.(healed);
    progress.readAt = at;
  } catch (error) {
    // `changedSince` reaches back only 10 s; the database may be away for longer.
    progress.hasGap = true;
    throw error;
  }
}

const newerThanKnown = (
  changes: readonly { id: string; version: number }[],
  watched: ResyncOptions["watched"],
): string[] =>
  changes.flatMap(({ id, version }) => {
    const known = watched.get(id);
    return known !== undefined && version > known.version ? [id] : [];
  });

/** Returns how many of the states were newer than the known ones. */
async function readAndDeliver(ids: readonly string[], { store, deliver }: ResyncOptions): Promise<number> {
  let healed = 0;
  for (const batch of inBatches(ids)) {
    for (const event of await store.current(batch)) if (deliver(event)) healed += 1;
  }
  return healed;
}
