/**
 * Awaits the states of a watch: `settled()` and iteration. Neither buffers states. A state that is only
 * `stored` from before a reload may be shown, but it does not resolve anything until the server confirms it.
 */
import { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";
import type { Snapshot, SnapshotStore } from "./snapshot.ts";

/** Resolves with the first result of `find` that is not undefined, now or after a change. Rejects with its error. */
function until<T>(store: SnapshotStore, find: (snapshot: Snapshot) => T | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const unsubscribe = store.subscribe(check);
    check();
    function check(): void {
      try {
        const found = find(store.get());
        if (found === undefined) return;
        resolve(found);
      } catch (error) {
        reject(error);
      }
      unsubscribe();
    }
  });
}

/** Resolves with the first settled state from the server. Rejects with a `WatchError` if the watch ends first. */
export const untilSettled = (store: SnapshotStore, stored?: StatusEvent): Promise<StatusEvent> =>
  until(store, ({ event, connection, error }) => {
    if (event?.settled && event !== stored) return event;
    if (connection === "closed") throw error ?? new WatchError("closed");
    return undefined;
  });

/**
 * Yields the newest state and then newer ones; a slow reader skips some. Ends when the watch is closed, and throws its
 * `WatchError` if it was refused. Leaving the loop does not close the watch.
 */
export async function* iterate(
  store: SnapshotStore,
  stored?: StatusEvent,
): AsyncGenerator<StatusEvent, void, undefined> {
  let seen = stored;
  for (;;) {
    const { event } = await until(store, (snapshot) => {
      const { event, connection, error } = snapshot;
      const isNews = event !== undefined && event !== seen;
      if (!isNews && error) throw error;
      return isNews || connection === "closed" ? snapshot : undefined;
    });
    if (event === undefined || event === seen) return;
    seen = event;
    yield event;
  }
}
