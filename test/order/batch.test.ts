import { describe, expect, it, vi } from "vitest";
import type { HubError } from "../../server/errors.ts";
import { inBatches } from "../../server/order/batch.ts";

/** Batches that end when the test ends them, and a clock that the test moves. */
function createBatches({ concurrency = 1, sizeMax = 10 }: { concurrency?: number; sizeMax?: number } = {}) {
  let nowMs = 0;
  const started: {
    items: readonly string[];
    end: (results?: readonly string[]) => void;
    fail: (error: Error) => void;
  }[] = [];
  const run = inBatches<{ item: string; sinceMs: number }, string>({
    concurrency,
    sizeMax,
    waitMsMax: 3_000,
    nowMs: () => nowMs,
    run(batch) {
      const items = batch.map(({ item }) => item);
      const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
      started.push({
        items,
        end: (results = items.map((item) => item.toUpperCase())) => resolve(results),
        fail: reject,
      });
      return promise;
    },
  });
  const add = (item: string): Promise<string> => run({ item, sinceMs: nowMs });
  const batches = () => started.map(({ items }) => items.join(""));
  return {
    add,
    started,
    batches,
    passMs(ms: number) {
      nowMs += ms;
    },
  };
}

describe("inBatches", () => {
  it("starts the first item at once, and runs the items that arrive meanwhile in one batch", async () => {
    const { add, started, batches } = createBatches();
    const results = [add("a"), add("b"), add("c")];
    expect(batches()).toEqual(["a"]);
    started[0]?.end();
    expect(await results[0]).toBe("A");
    await expect.poll(batches).toEqual(["a", "bc"]);
    started[1]?.end();
    expect(await Promise.all(results)).toEqual(["A", "B", "C"]);
    const last = add("d");
    expect(batches()).toEqual(["a", "bc", "d"]);
    started[2]?.end();
    expect(await last).toBe("D");
  });

  it("runs at most `concurrency` batches at once, of at most `sizeMax` items", async () => {
    const { add, started, batches } = createBatches({ concurrency: 2, sizeMax: 3 });
    const results = [..."abcdefg"].map(add);
    expect(batches()).toEqual(["a", "b"]);
    started[1]?.end();
    await results[1];
    await expect.poll(batches).toEqual(["a", "b", "cde"]);
    started[0]?.end();
    await results[0];
    await expect.poll(batches).toEqual(["a", "b", "cde", "fg"]);
    for (const { end } of started) end();
    expect((await Promise.all(results)).join("")).toBe("ABCDEFG");
  });

  it("fails only the items of a batch that fails, and starts the next batch", async () => {
    const { add, started, batches } = createBatches();
    const results = [..."abc"].map((item) => add(item).catch((error: Error) => error.message));
    started[0]?.fail(new Error("gone"));
    expect(await results[0]).toBe("gone");
    await vi.waitUntil(() => started.length === 2);
    expect(batches()).toEqual(["a", "bc"]);
    started[1]?.end();
    expect(await Promise.all(results)).toEqual(["gone", "B", "C"]);
  });

  it("refuses an item that has waited too long, and runs the items behind it", async () => {
    const { add, started, batches, passMs } = createBatches({ sizeMax: 1 });
    const results = [..."abc"].map((item) => add(item).catch((error: HubError) => error.code));
    passMs(3_000);
    results.push(add("d"));
    started[0]?.end();
    await vi.waitUntil(() => started.length === 2);
    passMs(1);
    started[1]?.end();
    await vi.waitUntil(() => started.length === 3);
    started[2]?.end();
    expect(await Promise.all(results)).toEqual(["A", "B", "store_unavailable", "D"]);
    expect(batches()).toEqual(["a", "b", "d"]);
  });
});
