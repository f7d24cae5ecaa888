/**
 * The two ways to await what a watch will know. Neither keeps anything when nobody is waiting. A settled state that is
 * only `remembered` from before a reload is for showing, not for acting on: it does not count until the server said so.
 */
import { WatchError } from "./error.ts";
import type { StatusEvent } from "./protocol.ts";
import type { Snapshot, SnapshotStore } from "./snapshot.ts";

/** Resolves with the first answer of `look` that is not undefined, now or after a change; rejects with what it throws. */
function until<T>(store: SnapshotStore, look: (snapshot: Snapshot) => T | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = store.subscribe(attempt);
    attempt();
    function attempt(): void {
      try {
        const found = look(store.get());
        if (found === undefined) return;
        resolve(found);
      } catch (error) {
        reject(error);
      }
      leave();
    }
  });
}

/** Resolves with the first settled state; rejects with a `WatchError` when the watch ends before. */
export const untilSettled = (store: SnapshotStore, remembered?: StatusEvent): Promise<StatusEvent> =>
  until(store, ({ event, connection, error }) => {
    if (event?.settled && event !== remembered) return event;
    if (connection === "closed") throw error ?? new WatchError("closed");
    return undefined;
  });

/**
 * Yields the newest state and then newer ones; who reads slowly skips some. Ends when the watch is closed, throws its
 * `WatchError` when it was refused. Leaving the loop leaves the watch as it is.
 */
export async function* iterate(
  store: SnapshotStore,
  remembered?: StatusEvent,
): AsyncGenerator<StatusEvent, void, undefined> {
  let seen = remembered?.settled ? remembered : undefined;
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
