/**
 * Runs items in batches. An item that arrives while `concurrency` batches are in flight joins the next batch. Otherwise its batch
 * starts at once: no item waits for others to join, so that only load makes batches larger.
 */
import { HubError } from "../errors.ts";

export interface BatchOptions<T, R> {
  /** Batches in flight at once. */
  concurrency: number;
  sizeMax: number;
  /** An item that has waited longer than this since its `sinceMs` when its batch starts is refused with `store_unavailable`. */
  waitMsMax: number;
  /** Returns one result for each item, in their order. When it throws, every item fails. */
  run: (batch: readonly T[]) => Promise<readonly (R | PromiseLike<R>)[]>;
  /** The monotonic clock of `sinceMs`. */
  nowMs?: () => number;
}

interface Waiting<T, R> extends PromiseWithResolvers<R> {
  item: T;
}

/** Returns the function that runs one item. */
export function inBatches<T extends { sinceMs: number }, R>(options: BatchOptions<T, R>): (item: T) => Promise<R> {
  const { concurrency, sizeMax, waitMsMax, run, nowMs = () => performance.now() } = options;
  const waiting: Waiting<T, R>[] = [];
  let inFlight = 0;

  const isInTime = ({ item, reject }: Waiting<T, R>): boolean => {
    if (nowMs() - item.sinceMs <= waitMsMax) return true;
    reject(new HubError("store_unavailable", undefined, { retryAfterS: 1 }));
    return false;
  };

  const start = (): void => {
    while (inFlight < concurrency && waiting.length > 0) {
      const batch = waiting.splice(0, sizeMax).filter(isInTime);
      if (batch.length === 0) continue;
      inFlight += 1;
      void finish(batch).then(() => {
        inFlight -= 1;
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
