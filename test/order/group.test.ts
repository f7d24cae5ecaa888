import { describe, expect, it } from "vitest";
import { inGroups } from "../../server/order/group.ts";

/** Groups that end when they are told to. */
function openGroups({ lanes = 1, sizeMax = 10 }: { lanes?: number; sizeMax?: number } = {}) {
  const begun: {
    items: readonly string[];
    end: (results?: readonly string[]) => void;
    fail: (error: Error) => void;
  }[] = [];
  const ask = inGroups<string, string>({
    lanes,
    sizeMax,
    run(items) {
      const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
      begun.push({ items, end: (results = items.map((item) => item.toUpperCase())) => resolve(results), fail: reject });
      return promise;
    },
  });
  const groups = () => begun.map(({ items }) => items.join(""));
  return { ask, begun, groups };
}

describe("in groups", () => {
  it("nobody waits for company, and who comes meanwhile goes together", async () => {
    const { ask, begun, groups } = openGroups();
    const asked = [ask("a"), ask("b"), ask("c")];
    expect(groups()).toEqual(["a"]);
    begun[0]?.end();
    expect(await asked[0]).toBe("A");
    await expect.poll(groups).toEqual(["a", "bc"]);
    begun[1]?.end();
    expect(await Promise.all(asked)).toEqual(["A", "B", "C"]);
    const last = ask("d");
    expect(groups()).toEqual(["a", "bc", "d"]);
    begun[2]?.end();
    expect(await last).toBe("D");
  });

  it("no more than so many at once, and none larger than its most", async () => {
    const { ask, begun, groups } = openGroups({ lanes: 2, sizeMax: 3 });
    const asked = [..."abcdefg"].map(ask);
    expect(groups()).toEqual(["a", "b"]);
    begun[1]?.end();
    await asked[1];
    await expect.poll(groups).toEqual(["a", "b", "cde"]);
    begun[0]?.end();
    await asked[0];
    await expect.poll(groups).toEqual(["a", "b", "cde", "fg"]);
    for (const { end } of begun) end();
    expect((await Promise.all(asked)).join("")).toBe("ABCDEFG");
  });

  it("what fails fails for those who wait too, at once; who comes then is tried again", async () => {
    const { ask, begun, groups } = openGroups({ lanes: 2, sizeMax: 1 });
    const asked = [..."abcd"].map((item) => ask(item).catch((error: Error) => error.message));
    begun[0]?.fail(new Error("gone"));
    expect(await Promise.all([asked[0], asked[2], asked[3]])).toEqual(["gone", "gone", "gone"]);
    expect(groups()).toEqual(["a", "b"]);
    const later = ask("e");
    expect(groups()).toEqual(["a", "b", "e"]);
    for (const { end } of begun) end();
    expect(await Promise.all([asked[1], later])).toEqual(["B", "E"]);
  });
});
