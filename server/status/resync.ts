/**
 * Resync reads from the database what the bus lost.
 *
 * Guarantees (G4): a state that the database has reaches the hub within 2 s while the database answers, whatever the bus
 * does. A pass reads the orders that changed since the pass before. After a gap, and in a new epoch (order/epoch.ts), it reads
 * every watched order.
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

/** The newest epoch and version that the hub knows of an order. */
interface Known {
  readonly epoch: number;
  readonly version: number;
}

/** Whether a read that began when `known` was known shows that the database has lost a version of its epoch. */
export const isLost = (known: Known | undefined, read: StatusEvent): boolean =>
  known !== undefined && known.epoch === (read.epoch ?? 0) && known.version > read.version;

export interface ResyncOptions {
  store: Pick<OrderStore, "current" | "changedSince" | "checkEpoch" | "reportLoss">;
  bus: Pick<StatusBus, "healthy">;
  /** The watched orders, each with the newest state that the hub knows. */
  watched: ReadonlyMap<string, Known>;
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
  /** Starts a pass at once, which starts a new epoch after `epoch` and reads every watched order. */
  reportLoss(epoch: number): void;
  /** No further pass starts; resolves when the current one ends. */
  close(): Promise<void>;
}

/** Progress between two passes. */
interface Progress {
  /** Whether the next pass must read every watched order. */
  hasGap: boolean;
  /** The epoch in which the database has lost a version. */
  lostEpoch: number | undefined;
  /** The epoch of the last pass. */
  epoch: number | undefined;
  /** The database's time of the last pass. Undefined while no order is watched. */
  readAt: Date | undefined;
}

export function startResync(options: ResyncOptions): Resync {
  const { bus, onError, onRecovered } = options;
  const progress: Progress = { hasGap: false, lostEpoch: undefined, epoch: undefined, readAt: undefined };
  const reportLoss = (epoch: number): void => {
    progress.lostEpoch = epoch;
    loop.runNow();
  };
  const loop = startLoop({
    task: async () => {
      const lostEpoch = await runPass(progress, options);
      if (lostEpoch !== undefined) reportLoss(lostEpoch);
    },
    delayMs: (tookMs) => (bus.healthy ? delayMs : Math.min(Math.max(delayDownMs, delayPerPassTime * tookMs), delayMs)),
    onError,
    ...(onRecovered && { onRecovered }),
  });
  return {
    reportGap() {
      progress.hasGap = true;
      loop.runNow();
    },
    reportLoss,
    close: () => loop.close(),
  };
}

/** Returns the epoch in which the pass has found a lost version. */
async function runPass(progress: Progress, options: ResyncOptions): Promise<number | undefined> {
  const { watched, onResync } = options;
  const hadGap = progress.hasGap;
  progress.hasGap = false;
  try {
    const isNewEpoch = await checkEpoch(progress, options);
    if (watched.size === 0) {
      progress.readAt = undefined;
      return undefined;
    }
    const { at, changes } = await options.store.changedSince(progress.readAt);
    // After a failover the new database's clock may be behind, and its changes look older than the last pass.
    const isClockBehind = progress.readAt !== undefined && at < progress.readAt;
    const readsAll = hadGap || isNewEpoch || isClockBehind;
    const ids = readsAll ? [...watched.keys()] : newerThanKnown(changes, watched);
    const { healed, lostEpoch } = await readAndDeliver(ids, options);
    onResync?.(healed);
    progress.readAt = at;
    return lostEpoch;
  } catch (error) {
    // `changedSince` reaches back only 10 s; the database may be away for longer.
    progress.hasGap = true;
    throw error;
  }
}

/** Whether the epoch is another one than in the pass before. */
async function checkEpoch(progress: Progress, { store }: ResyncOptions): Promise<boolean> {
  const { lostEpoch } = progress;
  // Cleared first, because another loss may be reported meanwhile.
  progress.lostEpoch = undefined;
  if (lostEpoch !== undefined) await store.reportLoss(lostEpoch);
  const before = progress.epoch;
  progress.epoch = await store.checkEpoch();
  return before !== undefined && before !== progress.epoch;
}

const newerThanKnown = (
  changes: readonly { id: string; version: number }[],
  watched: ResyncOptions["watched"],
): string[] =>
  changes.flatMap(({ id, version }) => {
    const known = watched.get(id);
    return known !== undefined && version > known.version ? [id] : [];
  });

/** Returns how many of the states were newer than the known ones, and the epoch in which one was lower. */
async function readAndDeliver(
  ids: readonly string[],
  { store, watched, deliver }: ResyncOptions,
): Promise<{ healed: number; lostEpoch: number | undefined }> {
  let healed = 0;
  let lostEpoch: number | undefined;
  for (const batch of inBatches(ids)) {
    const known = new Map(batch.map((id) => [id, copyOf(watched.get(id))]));
    for (const event of await store.current(batch)) {
      if (isLost(known.get(event.id), event)) lostEpoch = event.epoch ?? 0;
      if (deliver(event)) healed += 1;
    }
  }
  return { healed, lostEpoch };
}

/** A copy, because a delivery changes the original. */
const copyOf = (known: Known | undefined): Known | undefined => known && { epoch: known.epoch, version: known.version };
