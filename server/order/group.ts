/**
 * Doing things together: at most `lanes` groups are under way at once, and what is asked for meanwhile goes into the
 * next one. Nobody waits for company; the busier it is, the larger the groups.
 */
export interface GroupOptions<T, R> {
  lanes: number;
  sizeMax: number;
  /** What came of each, in their order. When it throws, it has failed for all of them and for all who wait. */
  run: (group: readonly T[]) => Promise<readonly (R | PromiseLike<R>)[]>;
}

interface Waiting<T, R> extends PromiseWithResolvers<R> {
  item: T;
}

export function inGroups<T, R>({ lanes, sizeMax, run }: GroupOptions<T, R>): (item: T) => Promise<R> {
  const waiting: Waiting<T, R>[] = [];
  let busy = 0;

  const start = (): void => {
    if (busy === lanes || waiting.length === 0) return;
    busy += 1;
    void finish(waiting.splice(0, sizeMax)).then(() => {
      busy -= 1;
      start();
    });
  };

  const finish = async (group: readonly Waiting<T, R>[]): Promise<void> => {
    try {
      const results = await run(group.map(({ item }) => item));
      for (const [index, { resolve }] of group.entries()) resolve(results[index] as R | PromiseLike<R>);
    } catch (error) {
      // One after the other would find the same, each after as long a wait.
      for (const { reject } of [...group, ...waiting.splice(0)]) reject(error);
    }
  };

  return (item) => {
    const one = { item, ...Promise.withResolvers<R>() };
    waiting.push(one);
    start();
    return one.promise;
  };
}
