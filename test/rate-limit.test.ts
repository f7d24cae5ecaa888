import fc from "fast-check";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  addressKey,
  createConnectionLimit,
  createFallbackCounter,
  createLimit,
  createMemoryCounter,
} from "../server/rate-limit.ts";

describe("a limit in memory", () => {
  it("lets `max` requests through in a window, and again in the next one", async () => {
    let now = 0;
    const limit = createLimit(
      createMemoryCounter(() => now),
      { subject: "address", max: 2, windowMs: 1_000 },
    );
    for (const _ of [1, 2]) await limit.take("a");
    now = 400;
    await expect(limit.take("a")).rejects.toMatchObject({ code: "rate_limited", details: { retryAfterS: 1 } });
    await limit.take("b");
    now = 1_000;
    await limit.take("a");
  });

  it.each([4, 20, 40, 600])("lets %i through of more requests in one tick (G12)", async (max) => {
    const limit = createLimit(createMemoryCounter(), { subject: "address", max, windowMs: 60_000 });
    await limit.take("a");
    const takes = await Promise.allSettled(Array.from({ length: max + 50 }, () => limit.take("a")));
    expect(takes.filter(({ status }) => status === "fulfilled")).toHaveLength(max - 1);
  });

  it("counts in batches of five up to half of the limit, and one by one above", async () => {
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    onTestFinished(() => void vi.restoreAllMocks());
    const memory = createMemoryCounter();
    const counts: number[] = [];
    const counter = {
      count(key: string, times: number, windowMs: number) {
        counts.push(times);
        return memory.count(key, times, windowMs);
      },
    };
    const limit = createLimit(counter, { subject: "address", max: 100, windowMs: 60_000 });
    const take = async (): Promise<void> => {
      await limit.take("a");
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    };
    await take();
    expect(counts).toEqual([1, 5]);
    for (let taken = 1; taken < 46; taken += 1) await take();
    // 46 are counted; another batch would exceed half of the limit.
    expect(counts).toEqual([1, ...Array.from({ length: 9 }, () => 5)]);
    for (let taken = 46; taken < 100; taken += 1) await take();
    expect(counts.slice(10)).toEqual(Array.from({ length: 54 }, () => 1));
    await expect(limit.take("a")).rejects.toMatchObject({ code: "rate_limited" });
    now = 60_000;
    await take();
    expect(counts.slice(-2)).toEqual([1, 5]);
  });

  it("counts one by one when the limit is small", async () => {
    const counter = { count: vi.fn(createMemoryCounter().count) };
    const limit = createLimit(counter, { subject: "address", max: 20, windowMs: 60_000 });
    for (let taken = 0; taken < 20; taken += 1) await limit.take("a");
    expect(counter.count.mock.calls.map(([, times]) => times)).toEqual(Array.from({ length: 20 }, () => 1));
  });

  it("holds for several nodes together, in any interleaving", async () => {
    const batches = 5;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 250 }),
        fc.array(fc.record({ node: fc.nat(3), waits: fc.boolean() }), { minLength: 300, maxLength: 300 }),
        async (nodeCount, max, requests) => {
          const memory = createMemoryCounter();
          const counter = {
            // Like Redis, it answers some time after it counts.
            async count(key: string, times: number, windowMs: number) {
              const counted = await memory.count(key, times, windowMs);
              await new Promise(setImmediate);
              return counted;
            },
          };
          const nodes = Array.from({ length: nodeCount }, () =>
            createLimit(counter, { subject: "address", max, windowMs: 60_000 }),
          );
          const takes: Promise<boolean>[] = [];
          for (const { node, waits } of requests) {
            const taken = nodes[node % nodeCount]?.take("a").then(
              () => true,
              () => false,
            );
            if (taken) takes.push(taken);
            if (waits) await taken;
          }
          const passed = (await Promise.all(takes)).filter(Boolean).length;
          expect(passed).toBeLessThanOrEqual(max);
          expect(passed).toBeGreaterThanOrEqual(max < 100 ? max : max - nodeCount * batches);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("delays only the requests that no batch was counted for", async () => {
    let answers: (() => void)[] = [];
    let counted = 0;
    const counter = {
      count: async (_key: string, times: number) => {
        counted += times;
        const current = counted;
        await new Promise<void>((answer) => answers.push(answer));
        return { current, remainingMs: 60_000 };
      },
    };
    const answerAll = async (): Promise<void> => {
      await new Promise(setImmediate);
      for (const answer of answers) answer();
      answers = [];
      await new Promise(setImmediate);
    };
    const limit = createLimit(counter, { subject: "address", max: 100, windowMs: 60_000 });
    /** Whether the request passes before the counter answers. */
    const takes = async (): Promise<boolean> => {
      const taken = limit.take("a").then(() => true);
      taken.catch(() => undefined);
      return await Promise.race([taken, new Promise<false>((resolve) => setImmediate(resolve, false))]);
    };
    expect(await takes()).toBe(false);
    // The answer for the first request, then for the batch that it started.
    await answerAll();
    await answerAll();
    for (let ahead = 0; ahead < 5; ahead += 1) expect(await takes()).toBe(true);
    // The next batch is in flight, and not counted yet.
    expect(await takes()).toBe(false);
    await answerAll();
    for (let ahead = 0; ahead < 5; ahead += 1) expect(await takes()).toBe(true);
  });
});

describe("a limit with a slow counter", () => {
  /** A counter whose answers the test releases, in any order. `spend` counts for other nodes. */
  const createSlow = () => {
    const answers: (() => void)[] = [];
    let current = 0;
    return {
      answers,
      spend: (count: number) => (current += count),
      count: async (_key: string, times: number) => {
        current += times;
        const counted = { current, remainingMs: 60_000 };
        await new Promise<void>((answer) => answers.push(answer));
        return counted;
      },
    };
  };
  const countPassed = async (takes: Promise<void>[], slow: ReturnType<typeof createSlow>): Promise<number> => {
    const all = Promise.allSettled(takes);
    await new Promise(setImmediate);
    while (slow.answers.length > 0) {
      // Sometimes the last one first.
      (slow.answers.length % 3 ? slow.answers.shift() : slow.answers.pop())?.();
      await new Promise(setImmediate);
    }
    return (await all).filter(({ status }) => status === "fulfilled").length;
  };

  it("holds for a burst, and for requests that arrive while the burst is counted", async () => {
    const slow = createSlow();
    const limit = createLimit(slow, { subject: "address", max: 20, windowMs: 60_000 });
    const takes = Array.from({ length: 15 }, () => limit.take("a"));
    await new Promise(setImmediate);
    slow.answers.shift()?.();
    await new Promise(setImmediate);
    takes.push(...Array.from({ length: 15 }, () => limit.take("a")));
    expect(await countPassed(takes, slow)).toBe(20);
  });

  it("respects what other nodes have spent", async () => {
    const slow = createSlow();
    const limit = createLimit(slow, { subject: "address", max: 200, windowMs: 60_000 });
    expect(await countPassed([limit.take("a")], slow)).toBe(1);
    // The first request and the batch that it started are counted.
    slow.spend(200 - 6);
    const takes = Array.from({ length: 30 }, () => limit.take("a"));
    expect(await countPassed(takes, slow)).toBe(5);
  });

  it("lets every request through when the counter fails", async () => {
    const failing = { count: () => Promise.reject(new Error("gone")) };
    const limit = createLimit(failing, { subject: "address", max: 1, windowMs: 60_000 });
    for (const _ of [1, 2, 3]) await limit.take("a");
  });
});

describe("addressKey", () => {
  it.each([
    ["203.0.113.7", "203.0.113.7"],
    ["203.0.113.7:51234", "203.0.113.7"],
    ["::ffff:203.0.113.7", "203.0.113.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"],
    ["2001:db8:1:3::", "2001:db8:1:3::/64"],
    ["unknown", "unknown"],
    ["x".repeat(10_000), "x".repeat(64)],
  ])("counts %s as %s", (address, key) => {
    expect(addressKey(address)).toBe(key);
  });
});

describe("a fallback counter", () => {
  it("skips a failed counter for 2 s, then tries it again", async () => {
    let now = 0;
    let attempts = 0;
    const failing = {
      count: async () => {
        attempts += 1;
        throw new Error("stalled");
      },
    };
    const counter = createFallbackCounter(failing, createMemoryCounter(), () => now);
    for (now of [0, 1, 1_999]) await counter.count("a", 1, 60_000);
    expect(attempts).toBe(1);
    now = 2_000;
    expect((await counter.count("a", 1, 60_000)).current).toBe(4);
    expect(attempts).toBe(2);
  });
});

describe("a connection limit", () => {
  it("lets `max` connections of an address be open at once (G12)", () => {
    const connectionLimit = createConnectionLimit(2);
    connectionLimit.acquire("a");
    connectionLimit.acquire("a");
    expect(() => connectionLimit.acquire("a")).toThrow(expect.objectContaining({ code: "rate_limited" }));
    connectionLimit.acquire("b");
    connectionLimit.release("a");
    connectionLimit.acquire("a");
  });
});
