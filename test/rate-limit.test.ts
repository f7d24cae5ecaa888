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
  it("lets so many in within a window, and again in the next", async () => {
    let now = 0;
    const limit = createLimit(
      createMemoryCounter(() => now),
      { what: "address", max: 2, windowMs: 1_000 },
    );
    for (const _ of [1, 2]) await limit.take("a");
    now = 400;
    await expect(limit.take("a")).rejects.toMatchObject({ code: "rate_limited", details: { retryAfterS: 1 } });
    await limit.take("b");
    now = 1_000;
    await limit.take("a");
  });

  it.each([4, 20, 40, 600])("of %i is not exceeded by those who come in one tick", async (max) => {
    const limit = createLimit(createMemoryCounter(), { what: "address", max, windowMs: 60_000 });
    await limit.take("a");
    const takes = await Promise.allSettled(Array.from({ length: max + 50 }, () => limit.take("a")));
    expect(takes.filter(({ status }) => status === "fulfilled")).toHaveLength(max - 1);
  });

  it("counts in batches of five up to half of the limit, ahead of need, and one by one beyond", async () => {
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => now);
    onTestFinished(() => void vi.restoreAllMocks());
    const memory = createMemoryCounter();
    const asked: number[] = [];
    const counter = {
      count(key: string, times: number, windowMs: number) {
        asked.push(times);
        return memory.count(key, times, windowMs);
      },
    };
    const limit = createLimit(counter, { what: "address", max: 100, windowMs: 60_000 });
    const take = async (): Promise<void> => {
      await limit.take("a");
      await new Promise(setImmediate);
      await new Promise(setImmediate);
    };
    await take();
    expect(asked).toEqual([1, 5]);
    for (let taken = 1; taken < 46; taken += 1) await take();
    // 46 were counted ahead; another batch would go beyond half of the limit.
    expect(asked).toEqual([1, ...Array.from({ length: 9 }, () => 5)]);
    for (let taken = 46; taken < 100; taken += 1) await take();
    expect(asked.slice(10)).toEqual(Array.from({ length: 54 }, () => 1));
    await expect(limit.take("a")).rejects.toMatchObject({ code: "rate_limited" });
    now = 60_000;
    await take();
    expect(asked.slice(-2)).toEqual([1, 5]);
  });

  it("counts one by one where the limit is small", async () => {
    const counter = { count: vi.fn(createMemoryCounter().count) };
    const limit = createLimit(counter, { what: "address", max: 20, windowMs: 60_000 });
    for (let taken = 0; taken < 20; taken += 1) await limit.take("a");
    expect(counter.count.mock.calls.map(([, times]) => times)).toEqual(Array.from({ length: 20 }, () => 1));
  });

  it("is met by several nodes together, whoever of them is asked and when", async () => {
    const batches = 5;
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 250 }),
        fc.array(fc.record({ node: fc.nat(3), waits: fc.boolean() }), { minLength: 300, maxLength: 300 }),
        async (nodeCount, max, requests) => {
          const memory = createMemoryCounter();
          const counter = {
            // As Redis does, it answers some time after it has counted.
            async count(key: string, times: number, windowMs: number) {
              const counted = await memory.count(key, times, windowMs);
              await new Promise(setImmediate);
              return counted;
            },
          };
          const nodes = Array.from({ length: nodeCount }, () =>
            createLimit(counter, { what: "address", max, windowMs: 60_000 }),
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
          const letIn = (await Promise.all(takes)).filter(Boolean).length;
          expect(letIn).toBeLessThanOrEqual(max);
          expect(letIn).toBeGreaterThanOrEqual(max < 100 ? max : max - nodeCount * batches);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("makes no request wait that a batch was counted for, and every other one", async () => {
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
    const limit = createLimit(counter, { what: "address", max: 100, windowMs: 60_000 });
    /** Whether it was let in before any counter answered. */
    const takes = async (): Promise<boolean> => {
      const taken = limit.take("a").then(() => true);
      taken.catch(() => undefined);
      return await Promise.race([taken, new Promise<false>((resolve) => setImmediate(resolve, false))]);
    };
    expect(await takes()).toBe(false);
    // The first one's answer, then that of the batch which it asked for.
    await answerAll();
    await answerAll();
    for (let ahead = 0; ahead < 5; ahead += 1) expect(await takes()).toBe(true);
    // The next batch was asked for meanwhile, and is not counted yet.
    expect(await takes()).toBe(false);
    await answerAll();
    for (let ahead = 0; ahead < 5; ahead += 1) expect(await takes()).toBe(true);
  });
});

describe("a limit whose counter is slow", () => {
  /** Answers when it is told to, in the order asked for or not, and counts for others too. */
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
  const letInOf = async (takes: Promise<void>[], slow: ReturnType<typeof createSlow>): Promise<number> => {
    const all = Promise.allSettled(takes);
    await new Promise(setImmediate);
    while (slow.answers.length > 0) {
      // The last one first, now and then.
      (slow.answers.length % 3 ? slow.answers.shift() : slow.answers.pop())?.();
      await new Promise(setImmediate);
    }
    return (await all).filter(({ status }) => status === "fulfilled").length;
  };

  it("holds for a first burst, and for what comes while it is being counted", async () => {
    const slow = createSlow();
    const limit = createLimit(slow, { what: "address", max: 20, windowMs: 60_000 });
    const takes = Array.from({ length: 15 }, () => limit.take("a"));
    await new Promise(setImmediate);
    slow.answers.shift()?.();
    await new Promise(setImmediate);
    takes.push(...Array.from({ length: 15 }, () => limit.take("a")));
    expect(await letInOf(takes, slow)).toBe(20);
  });

  it("lets nobody in beyond what other nodes have spent", async () => {
    const slow = createSlow();
    const limit = createLimit(slow, { what: "address", max: 200, windowMs: 60_000 });
    expect(await letInOf([limit.take("a")], slow)).toBe(1);
    // The first request and the batch that it asked for are counted.
    slow.spend(200 - 6);
    const takes = Array.from({ length: 30 }, () => limit.take("a"));
    expect(await letInOf(takes, slow)).toBe(5);
  });

  it("lets everybody in when it fails", async () => {
    const failing = { count: () => Promise.reject(new Error("gone")) };
    const limit = createLimit(failing, { what: "address", max: 1, windowMs: 60_000 });
    for (const _ of [1, 2, 3]) await limit.take("a");
  });
});

describe("an address", () => {
  it.each([
    ["203.0.113.7", "203.0.113.7"],
    ["203.0.113.7:51234", "203.0.113.7"],
    ["::ffff:203.0.113.7", "203.0.113.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["[2001:db8:1:2::9]:443", "2001:db8:1:2::/64"],
    ["2001:db8:1:3::", "2001:db8:1:3::/64"],
    ["unknown", "unknown"],
    ["x".repeat(10_000), "x".repeat(64)],
  ])("%s counts as %s", (address, key) => {
    expect(addressKey(address)).toBe(key);
  });
});

describe("a fallback", () => {
  it("leaves a counter that failed alone for 2 s, then tries it again", async () => {
    let now = 0;
    let asked = 0;
    const failing = {
      count: async () => {
        asked += 1;
        throw new Error("stalled");
      },
    };
    const counter = createFallbackCounter(failing, createMemoryCounter(), () => now);
    for (now of [0, 1, 1_999]) await counter.count("a", 1, 60_000);
    expect(asked).toBe(1);
    now = 2_000;
    expect((await counter.count("a", 1, 60_000)).current).toBe(4);
    expect(asked).toBe(2);
  });
});

it("a gate lets so many be inside at once, per key", () => {
  const connectionLimit = createConnectionLimit(2);
  connectionLimit.enter("a");
  connectionLimit.enter("a");
  expect(() => connectionLimit.enter("a")).toThrow(expect.objectContaining({ code: "rate_limited" }));
  connectionLimit.enter("b");
  connectionLimit.leave("a");
  connectionLimit.enter("a");
});
