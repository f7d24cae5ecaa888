/**
 * The hub as one transport sees it, with its watchers counted and its pushes timed.
 *
 * A push is timed from the event's `occurredAt`, the database's clock within the commit, to the return of the watcher
 * that writes it: so it has in it the bus, and whatever the bus lost until reading found it. Two clocks are compared;
 * their difference is in the figure, and below 0 counts as 0. What happened before a watcher came is caught up with,
 * not pushed, and is not timed.
 */
import type { Standing } from "../promises.ts";
import type { Hub } from "./hub.ts";

export interface WatchRecorder {
  onWatchers(change: 1 | -1): void;
  /** Seconds. */
  onPush(latencyS: number): void;
  /** Two states that one watcher is given, one after the other. */
  onNext?(previous: Standing, next: Standing): void;
}

export function measureHub(hub: Hub, { onWatchers, onPush, onNext }: WatchRecorder): Hub {
  return {
    async watch(id, watcher) {
      const sinceMs = Date.now();
      let previous: Standing | undefined;
      const stop = await hub.watch(id, (event, json) => {
        if (previous) onNext?.(previous, event);
        const { version, status } = event;
        previous = { id, version, status };
        watcher(event, json);
        const occurredMs = Date.parse(event.occurredAt);
        if (occurredMs >= sinceMs) onPush(Math.max(0, Date.now() - occurredMs) / 1_000);
      });
      let isWatching = true;
      onWatchers(1);
      return () => {
        stop();
        if (isWatching) onWatchers(-1);
        isWatching = false;
      };
    },
    current: hub.current,
    get watched() {
      return hub.watched;
    },
    close: hub.close,
  };
}
