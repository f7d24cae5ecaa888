/** Counting in Redis, for all nodes together. Fails at once while Redis is away or slow. */
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import type { Counter } from "../rate-limit.ts";
import { openRedis } from "./route.ts";

/** One step in Redis, so that no window is ever left without an end. */
const script = `
local current = redis.call('incrby', KEYS[1], ARGV[2])
if redis.call('pttl', KEYS[1]) < 0 then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return { current, redis.call('pttl', KEYS[1]) }`;

export interface RedisCounter extends Counter {
  /** Resolves when Redis can be asked, or after so many milliseconds. Never rejects. */
  ready(ms: number): Promise<void>;
  close(): Promise<void>;
}

export function createRedisCounter(url: string): RedisCounter {
  const redis = openRedis(url);
  redis.on("error", () => undefined); // The bus, on the same Redis, tells of it.

  return {
    async count(key, times, windowMs) {
      const answer = await redis.eval(script, 1, `tukio:limit:${key}`, windowMs, times);
      const [current, remainingMs] = answer as [number, number];
      return { current, remainingMs: remainingMs > 0 ? remainingMs : windowMs };
    },
    async ready(ms) {
      if (redis.status === "ready") return;
      const gaveUp = new AbortController();
      const { signal } = gaveUp;
      await Promise.race([once(redis, "ready", { signal }), wait(ms, undefined, { signal })]).catch(() => undefined);
      gaveUp.abort();
    },
    async close() {
      redis.disconnect();
    },
  };
}
