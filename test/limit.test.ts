import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createFallbackCounter, createGate, createLimit, createMemoryCounter } from "../server/limit.ts";
import { createRedisCounter } from "../server/status/redis-counter.ts";
import { startRedis } from "./support/redis.ts";

describe("a limit in memory", () => {
  it("lets so many in within a window, and again in the next", async () => {
    let now = 0;
    const limit = createLimit(
      createMemoryCounter(() => now),
      { what: "phone", max: 2, windowMs: 1_000 },
    );
    for (const _ of [1, 2]) {
      await limit.check("a");
      await limit.add("a");
    }
    now = 400;
    await expect(limit.check("a")).rejects.toMatchObject({ code: "rate_limited", details: { retryAfterS: 1 } });
    await limit.check("b");
    now = 1_000;
    await limit.check("a");
  });
});

describe("a limit in Redis", () => {
  it("counts for all nodes together, and for each alone while Redis is gone", async () => {
    const redis = await startRedis();
    onTestFinished(redis.stop);
    const nodes = [1, 2].map(() => {
      const counter = createRedisCounter(redis.url);
      onTestFinished(counter.close);
      return createLimit(createFallbackCounter(counter, createMemoryCounter()), {
        what: "phone",
        max: 2,
        windowMs: 60_000,
      });
    });
    const [one, other] = nodes;
    // The first counts may still fall back; wait until both see the same Redis.
    await vi.waitUntil(async () => {
      await one?.add("probe");
      return other?.check("probe").then(
        () => false,
        () => true,
      );
    });
    await one?.add("a");
    await other?.add("a");
    for (const node of nodes) await expect(node.check("a")).rejects.toMatchObject({ code: "rate_limited" });
    await redis.stop();
    for (const node of nodes) await node.check("a");
    for (const _ of [1, 2]) await one?.add("a");
    await expect(one?.check("a")).rejects.toMatchObject({ code: "rate_limited" });
    await other?.check("a");
  });
});

it("a gate lets so many be inside at once, per key", () => {
  const gate = createGate(2);
  const leave = gate.enter("a");
  gate.enter("a");
  expect(() => gate.enter("a")).toThrow(expect.objectContaining({ code: "rate_limited" }));
  gate.enter("b");
  leave();
  gate.enter("a");
});
