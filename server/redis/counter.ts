/** Counts in Redis, for all nodes together. A count fails within half a second while Redis is away or slow. */
import { once } from "node:events";
import { setTimeout as wait } from "node:timers/promises";
import type { Counter } from "../rate-limit.ts";
import { openRedis } from "./route.ts";

/** One atomic script, so that a crash cannot leave a window without an end. */
const script = `
local current = redis.call('incrby', KEYS[1], ARGV[2])
if redis.call('pttl', KEYS[1]) < 0 then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return { current, redis.call('pttl', KEYS[1]) }`;

export interface RedisCounter extends Counter {
  /** Resolves when Redis is connected, or after `ms`. Never rejects. */
  ready(ms: number): Promise<void>;
  close(): Promise<void>;
}

export function createRedisCounter(url: string): RedisCounter {
  const redis = openRedis(url);
  redis.on("error", () => undefined); // The bus uses the same Redis and logs the error.

  return {
    async count(key, times, windowMs) {
      const answer = await redis.eval(script, 1, `tukio:limit:${key}`, windowMs, times);
      const [current, remainingMs] = answer as [number, number];
      return { current, remainingMs: remainingMs > 0 ? remainingMs : windowMs };
    },
    async ready(ms) {
      if (redis.status === "ready") return;
      const done = new AbortController();
      const { signal } = done;
      await Promise.race([once(redis, "ready", { signal }), wait(ms, undefined, { signal })]).catch(() => undefined);
      done.abort();
    },
    async close() {
      redis.disconnect();
    },
  };
}
