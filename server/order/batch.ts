import { HubError } from "../errors.ts";

export interface BatchOptions<T, R> {
  /** Groups under way at once. */
  lanes: number;
  sizeMax: number;
  /** Whoever has waited longer since `sinceMs` when their turn comes is refused: `store_unavailable`. */
  waitMsMax: number;
  /** What came of each, in their order. When it throws, it has failed for all of them. */
  run: (batch: readonly T[]) => Promise<readonly (R | PromiseLike<R>)[]>;
  /** The clock of `sinceMs`, one that only moves forward. */
  nowMs?: () => number;
}

interface Waiting<T, R> extends PromiseWithResolvers<R> {
  item: T;
}

/**
 * Runs items in batches: an item that comes while every lane is taken joins the next batch. No item waits for another to
 * join it, so batches grow with the load alone.
 */
export function inBatches<T extends { sinceMs: number }, R>(options: BatchOptions<T, R>): (item: T) => Promise<R> {
  const { lanes, sizeMax, waitMsMax, run, nowMs = () => performance.now() } = options;
  const waiting: Waiting<T, R>[] = [];
  let busy = 0;

  const isInTime = ({ item, reject }: Waiting<T, R>): boolean => {
    if (nowMs() - item.sinceMs <= waitMsMax) return true;
    reject(new HubError("store_unavailable", undefined, { retryAfterS: 1 }));
    return false;
  };

  const start = (): void => {
    while (busy < lanes && waiting.length > 0) {
      const batch = waiting.splice(0, sizeMax).filter(isInTime);
      if (batch.length === 0) continue;
      busy += 1;
      void finish(batch).then(() => {
        busy -= 1;
        start();
      });
    }
  };

  const finish = async (batch: readonly Waiting<T, R>[]): Promise<void> => {
    try {
      const results = await run(batch.map(({ item }) => item));
      for (const [index, { resolve }] of batch.entries()) resolve(results[index] as R | PromiseLike<R>);
    } catch (error) {
      for (const { reject } of batch) reject(error);
    }
  };

  return (item) => {
    const one = { item, ...Promise.withResolvers<R>() };
    waiting.push(one);
    start();
    return one.promise;
  };
}
