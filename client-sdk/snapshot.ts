/** What a watch knows at one moment, and who wants to hear when that changes. */
import type { Connection } from "./connection.ts";
import type { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";

/** Everything a page needs to show. The same object until something changes, so it can be compared by identity. */
export interface Snapshot {
  /** The newest state of the order; undefined until the first one is here. */
  readonly event: StatusEvent | undefined;
  /** `open` is live; `connecting` and `waiting` heal by themselves; `closed` is final. */
  readonly connection: Connection;
  /** The transport of the open link, by name; undefined without one. */
  readonly transport: string | undefined;
  /** Why the watch is closed, unless by its own caller. */
  readonly error: WatchError | undefined;
}

/** What is known before anything is. */
export const firstSnapshot: Snapshot = {
  event: undefined,
  connection: "connecting",
  transport: undefined,
  error: undefined,
};

export type SnapshotListener = (snapshot: Snapshot) => void;

export interface SnapshotStore {
  get(): Snapshot;
  /** Tells the listeners when something in `change` is new. */
  set(change: Partial<Snapshot>): void;
  subscribe(listener: SnapshotListener): () => void;
}

/** Listeners hear synchronously, in the order they came; one that throws does not stop the others. */
export function createSnapshotStore(first: Snapshot): SnapshotStore {
  let current = first;
  const listeners = new Set<{ hear: SnapshotListener }>();

  return {
    get: () => current,

    set(change) {
      const next = { ...current, ...change };
      if ((Object.keys(next) as (keyof Snapshot)[]).every((key) => next[key] === current[key])) return;
      current = next;
      for (const listener of [...listeners]) {
        // A listener that left, or a newer snapshot set, while the others were being told.
        if (!listeners.has(listener) || current !== next) continue;
        try {
          listener.hear(current);
        } catch (error) {
          // As the platform does with its own listeners: reported as uncaught, and nobody else's trouble.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    },

    subscribe(hear) {
      const listener = { hear };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
