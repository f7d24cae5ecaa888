/** Rate limits that are counted in a real Redis and in a Redis Cluster. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createFallbackCounter, createLimit, createMemoryCounter, type Limit } from "../../server/rate-limit.ts";
import { createRedisCounter } from "../../server/redis/counter.ts";
import { startRedis, startRedisCluster } from "../support/redis.ts";

describe.each([
  ["Redis", startRedis],
  ["a Redis Cluster", startRedisCluster],
])("a limit in %s", (_name, start) => {
  it("counts once `ready` resolves, and `ready` resolves in time without Redis", async () => {
    const redis = await start();
    onTestFinished(redis.stop);
    const counter = createRedisCounter(redis.url);
    onTestFinished(counter.close);
    await counter.ready(30_000);
    expect((await counter.count("first", 1, 60_000)).current).toBe(1);
    const lost = createRedisCounter("redis://127.0.0.1:1");
    onTestFinished(lost.close);
    await lost.ready(10);
  });

  it("counts for all nodes together, and for each node alone while Redis is away", async () => {
    const redis = await start();
    onTestFinished(redis.stop);
    const nodes = [1, 2].map(() => {
      const counter = createRedisCounter(redis.url);
      onTestFinished(counter.close);
      return createLimit(createFallbackCounter(counter, createMemoryCounter()), {
        subject: "address",
        max: 2,
        windowMs: 60_000,
      });
    });
    const [one, other] = nodes;
    // The first counts may still use the fallback, so the test waits until both nodes share Redis.
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
