/** Reads of current states, in queries of bounded size. */
import { setImmediate as nextTick } from "node:timers/promises";
import type { TimedState } from "../order/store.ts";

/** Reads the current states of the orders with these uuids. Unknown orders are absent from the result. */
export type ReadCurrent = (ids: readonly string[]) => Promise<TimedState[]>;

/** 1,000 ids per query, because one query for all of a node's orders would hold a connection for too long. */
const idsPerQueryMax = 1_000;

export const inBatches = (ids: readonly string[]): string[][] =>
  Array.from({ length: Math.ceil(ids.length / idsPerQueryMax) }, (_, index) =>
    ids.slice(index * idsPerQueryMax, (index + 1) * idsPerQueryMax),
  );

interface Batch {
  ids: Set<string>;
  found: Promise<Map<string, TimedState>>;
}

/** Collects the ids of one tick and reads them together, each once, so that a reconnect storm costs few queries. */
export function batchReads(read: ReadCurrent): (id: string) => Promise<TimedState | undefined> {
  let collecting: Batch | undefined;

  const startBatch = (): Batch => {
    const ids = new Set<string>();
    const found = nextTick().then(async () => {
      collecting = undefined;
      const states = await Promise.all(inBatches([...ids]).map((batch) => read(batch)));
      return new Map(states.flat().map((state) => [state.event.id, state]));
    });
    return { ids, found };
  };

  return async (id) => {
    collecting ??= startBatch();
    collecting.ids.add(id);
    return (await collecting.found).get(id);
  };
}
