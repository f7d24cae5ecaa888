import { describe, expect, it, vi } from "vitest";
import type { HubError } from "../../server/errors.ts";
import { inBatches } from "../../server/order/batch.ts";

/** Groups that end when they are told to. */
function openGroups({ concurrency = 1, sizeMax = 10 }: { concurrency?: number; sizeMax?: number } = {}) {
  let nowMs = 0;
  const begun: {
    items: readonly string[];
    end: (results?: readonly string[]) => void;
    fail: (error: Error) => void;
  }[] = [];
  const askFor = inBatches<{ item: string; sinceMs: number }, string>({
    concurrency,
    sizeMax,
    waitMsMax: 3_000,
    nowMs: () => nowMs,
    run(batch) {
      const items = batch.map(({ item }) => item);
      const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
      begun.push({ items, end: (results = items.map((item) => item.toUpperCase())) => resolve(results), fail: reject });
      return promise;
    },
  });
  const ask = (item: string): Promise<string> => askFor({ item, sinceMs: nowMs });
  const batches = () => begun.map(({ items }) => items.join(""));
  return {
    ask,
    begun,
    batches,
    pass(ms: number) {
      nowMs += ms;
    },
  };
}

describe("in batches", () => {
  it("starts the first at once, and runs those that come meanwhile together", async () => {
    const { ask, begun, batches } = openGroups();
    const asked = [ask("a"), ask("b"), ask("c")];
    expect(batches()).toEqual(["a"]);
    begun[0]?.end();
    expect(await asked[0]).toBe("A");
    await expect.poll(batches).toEqual(["a", "bc"]);
    begun[1]?.end();
    expect(await Promise.all(asked)).toEqual(["A", "B", "C"]);
    const last = ask("d");
    expect(batches()).toEqual(["a", "bc", "d"]);
    begun[2]?.end();
    expect(await last).toBe("D");
  });

  it("no more than so many at once, and none larger than its most", async () => {
    const { ask, begun, batches } = openGroups({ concurrency: 2, sizeMax: 3 });
    const asked = [..."abcdefg"].map(ask);
    expect(batches()).toEqual(["a", "b"]);
    begun[1]?.end();
    await asked[1];
    await expect.poll(batches).toEqual(["a", "b", "cde"]);
    begun[0]?.end();
    await asked[0];
    await expect.poll(batches).toEqual(["a", "b", "cde", "fg"]);
    for (const { end } of begun) end();
    expect((await Promise.all(asked)).join("")).toBe("ABCDEFG");
  });

  it("what fails fails for its batch alone, and the next one begins", async () => {
    const { ask, begun, batches } = openGroups();
    const asked = [..."abc"].map((item) => ask(item).catch((error: Error) => error.message));
    begun[0]?.fail(new Error("gone"));
    expect(await asked[0]).toBe("gone");
    await vi.waitUntil(() => begun.length === 2);
    expect(batches()).toEqual(["a", "bc"]);
    begun[1]?.end();
    expect(await Promise.all(asked)).toEqual(["gone", "B", "C"]);
  });

  it("who has waited too long when their turn comes is refused, and those behind go on", async () => {
    const { ask, begun, batches, pass } = openGroups({ sizeMax: 1 });
    const asked = [..."abc"].map((item) => ask(item).catch((error: HubError) => error.code));
    pass(3_000);
    asked.push(ask("d"));
    begun[0]?.end();
    await vi.waitUntil(() => begun.length === 2);
    pass(1);
    begun[1]?.end();
    await vi.waitUntil(() => begun.length === 3);
    begun[2]?.end();
    expect(await Promise.all(asked)).toEqual(["A", "B", "store_unavailable", "D"]);
    expect(batches()).toEqual(["a", "b", "d"]);
  });
});
