/** Counting in Redis, for all nodes together. Fails at once while Redis is away or slow. */
import type { Counter } from "../limit.ts";
import { openRedis } from "./redis-route.ts";

/** One step in Redis, so that no window is ever left without an end. */
const script = `
local current = redis.call('incrby', KEYS[1], ARGV[2])
if redis.call('pttl', KEYS[1]) < 0 then
  redis.call('pexpire', KEYS[1], ARGV[1])
end
return { current, redis.call('pttl', KEYS[1]) }`;

export function createRedisCounter(url: string): Counter & { close(): Promise<void> } {
  const redis = openRedis(url);
  redis.on("error", () => undefined); // The bus, on the same Redis, tells of it.

  return {
    async count(key, times, windowMs) {
      const answer = await redis.eval(script, 1, `tukio:limit:${key}`, windowMs, times);
      const [current, remainingMs] = answer as [number, number];
      return { current, remainingMs: remainingMs > 0 ? remainingMs : windowMs };
    },
    async close() {
      redis.disconnect();
    },
  };
}
