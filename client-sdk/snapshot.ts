/** The snapshot of a watch and its listeners. */
import type { Connection } from "./connection.ts";
import type { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";

/** All that a page shows. The same object until something changes, so it can be compared by identity. */
export interface Snapshot {
  /** The newest state of the order. Undefined until the first one arrives. */
  readonly event: StatusEvent | undefined;
  /** `open` is live. From `connecting` and `waiting` the watch recovers automatically. `closed` is final. */
  readonly connection: Connection;
  /** The name of the open link's transport. Undefined without an open link. */
  readonly transport: string | undefined;
  /**
   * How far the device's clock is ahead of the server's, in milliseconds: `Date.now() - skewMs` is the server's time.
   * Undefined until the server has sent a state.
   */
  readonly skewMs: number | undefined;
  /** Why the watch ended. Undefined if the caller closed it. */
  readonly error: WatchError | undefined;
}

/** The snapshot before anything has arrived. */
export const firstSnapshot: Snapshot = {
  event: undefined,
  connection: "connecting",
  transport: undefined,
  skewMs: undefined,
  error: undefined,
};

export type SnapshotListener = (snapshot: Snapshot) => void;

export interface SnapshotStore {
  get(): Snapshot;
  /** Notifies the listeners if `change` differs from the current snapshot. */
  set(change: Partial<Snapshot>): void;
  subscribe(listener: SnapshotListener): () => void;
}

/** Calls listeners synchronously, in the order of subscription. A listener that throws does not stop the others. */
export function createSnapshotStore(first: Snapshot): SnapshotStore {
  let current = first;
  const listeners = new Set<{ notify: SnapshotListener }>();

  return {
    get: () => current,

    set(change) {
      const next = { ...current, ...change };
      if ((Object.keys(next) as (keyof Snapshot)[]).every((key) => next[key] === current[key])) return;
      current = next;
      for (const listener of [...listeners]) {
        // An earlier listener may have removed this one, or set a newer snapshot.
        if (!listeners.has(listener) || current !== next) continue;
        try {
          listener.notify(current);
        } catch (error) {
          // Reported as an uncaught error, as the DOM does for its own listeners.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    },

    subscribe(notify) {
      const listener = { notify };
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
