import { describe, expect, it, onTestFinished, vi } from "vitest";
import {
  addressKey,
  createFallbackCounter,
  createGate,
  createLimit,
  createMemoryCounter,
  type Limit,
} from "../server/limit.ts";
import { createRedisCounter } from "../server/status/redis-counter.ts";
import { startRedis, startRedisCluster } from "./support/redis.ts";

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

  it("counts whoever is far from it in lots of five, and what is left of those with the first who is near", async () => {
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
    const limit = createLimit(counter, { what: "address", max: 24, windowMs: 60_000 });
    for (let take = 0; take < 13; take += 1) {
      await limit.take("a");
      await new Promise(setImmediate);
    }
    // The first one opens the window; two lots; the rest of those up to half, with the first beyond it.
    expect(asked).toEqual([1, 5, 5, 2]);
    for (let take = 13; take < 24; take += 1) await limit.take("a");
    await expect(limit.take("a")).rejects.toMatchObject({ code: "rate_limited" });
    now = 60_000;
    for (let take = 0; take < 4; take += 1) await limit.take("a");
    now = 120_000;
    asked.length = 0;
    // What was not counted of a window is of the next one: when the counter's own window ends is not known to the moment.
    await limit.take("a");
    expect(asked).toEqual([4]);
  });

  it("makes nobody wait who is far from it, and everybody who is not", async () => {
    let answers: (() => void)[] = [];
    let counted = 0;
    let remainingMs = 0;
    const counter = {
      count: async (_key: string, times: number) => {
        counted += times;
        const current = counted;
        await new Promise<void>((answer) => answers.push(answer));
        return { current, remainingMs };
      },
    };
    const answerAll = (): void => {
      for (const answer of answers) answer();
      answers = [];
    };
    const limit = createLimit(counter, { what: "address", max: 40, windowMs: 60_000 });
    /** Whether it was let in before its count was known. */
    const takes = async (): Promise<boolean> => {
      const taken = limit.take("a").then(() => true);
      const isIn = await Promise.race([taken, new Promise<false>((resolve) => setImmediate(resolve, false))]);
      taken.catch(() => undefined);
      return isIn;
    };
    expect(await takes()).toBe(false);
    answerAll();
    await new Promise(setImmediate);
    // What is known is of a window that is over.
    expect(await takes()).toBe(false);
    remainingMs = 60_000;
    counted = 0;
    expect(await takes()).toBe(false);
    answerAll();
    await new Promise(setImmediate);
    // Ten at once, and no further before their counts are known.
    for (let ahead = 0; ahead < 10; ahead += 1) expect(await takes()).toBe(true);
    expect(await takes()).toBe(false);
    answerAll();
    await new Promise(setImmediate);
    // From half of the limit on everybody waits, and nobody more than 40 is let in.
    for (let ahead = 0; ahead < 8; ahead += 1) expect(await takes()).toBe(true);
    expect(await takes()).toBe(false);
    answerAll();
    await new Promise(setImmediate);
    const rest = Array.from({ length: 30 }, () => limit.take("a"));
    await new Promise(setImmediate);
    answerAll();
    const refused = (await Promise.allSettled(rest)).filter(({ status }) => status === "rejected");
    expect(counted - refused.length).toBe(40);
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

  it("lets in ten at the most beyond what others have spent", async () => {
    const slow = createSlow();
    const limit = createLimit(slow, { what: "address", max: 40, windowMs: 60_000 });
    expect(await letInOf([limit.take("a")], slow)).toBe(1);
    slow.spend(39);
    const takes = Array.from({ length: 30 }, () => limit.take("a"));
    expect(await letInOf(takes, slow)).toBeLessThanOrEqual(10);
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

describe.each([
  ["Redis", startRedis],
  ["a Redis Cluster", startRedisCluster],
])("a limit in %s", (_name, start) => {
  it("counts for all nodes together, and for each alone while Redis is gone", async () => {
    const redis = await start();
    onTestFinished(redis.stop);
    const nodes = [1, 2].map(() => {
      const counter = createRedisCounter(redis.url);
      onTestFinished(counter.close);
      return createLimit(createFallbackCounter(counter, createMemoryCounter()), {
        what: "address",
        max: 2,
        windowMs: 60_000,
      });
    });
    const [one, other] = nodes;
    // The first counts may still fall back; wait until both see the same Redis.
    const isRefused = (limit: Limit | undefined, key: string): Promise<boolean> | undefined =>
      limit?.take(key).then(
        () => false,
        () => true,
      );
    await vi.waitUntil(
      async () => {
        const key = `probe-${Math.random()}`;
        const refused = [await isRefused(one, key), await isRefused(other, key), await isRefused(one, key)];
        return refused.join() === "false,false,true";
      },
      { interval: 200 },
    );
    await one?.take("a");
    await other?.take("a");
    for (const node of nodes) await expect(node.take("a")).rejects.toMatchObject({ code: "rate_limited" });
    await redis.stop();
    for (const node of nodes) await node.take("a");
    await one?.take("a");
    await expect(one?.take("a")).rejects.toMatchObject({ code: "rate_limited" });
    await other?.take("a");
  });
});

it("a gate lets so many be inside at once, per key", () => {
  const gate = createGate(2);
  gate.enter("a");
  gate.enter("a");
  expect(() => gate.enter("a")).toThrow(expect.objectContaining({ code: "rate_limited" }));
  gate.enter("b");
  gate.leave("a");
  gate.enter("a");
});
