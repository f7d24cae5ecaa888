/** What a Redis server says about itself: for the doctor. Changes nothing. */
import type { Redis } from "ioredis";
import { openOnce } from "./route.ts";

export interface RedisHealth {
  /** Host and port. */
  server: string;
  /** The error's code, or Redis' own first word, such as `WRONGPASS`; absent if the server answered. */
  failure?: string;
  /** The shortest of five pings, in milliseconds, because the others also measure how busy this process is. */
  latencyMs: number;
  version: string;
  /** Whether it is a server of a Cluster. */
  isCluster: boolean;
  usedBytes: number;
  /** 0: no limit. */
  maxBytes: number;
  evictionPolicy: string;
  clients: number;
  clientsMax: number;
  /** The hard limit of the buffer of a subscriber, in bytes; 0: none. Undefined if Redis does not tell, as managed ones do. */
  subscriberBufferMax: number | undefined;
}

/** Asks every server that the URL names. Never rejects; ends within seconds. */
export const readRedisHealth = (url: string): Promise<RedisHealth[]> =>
  Promise.all(
    openOnce(url).map(async ({ server, redis }) => {
      // When a connection fails, ioredis rejects with "Connection is closed", and reports the cause by this event.
      let cause: unknown;
      redis.on("error", (one) => {
        cause ??= one;
      });
      try {
        await redis.connect();
        return { server, ...(await ask(redis)) };
      } catch (error) {
        return { ...unknown, server, failure: failureOf(cause ?? error) };
      } finally {
        redis.disconnect();
      }
    }),
  );

const unknown = {
  latencyMs: 0,
  version: "",
  isCluster: false,
  usedBytes: 0,
  maxBytes: 0,
  evictionPolicy: "",
  clients: 0,
  clientsMax: 0,
  subscriberBufferMax: undefined,
} as const;

async function ask(redis: Redis): Promise<Omit<RedisHealth, "server">> {
  const times: number[] = [];
  for (let count = 0; count < 5; count += 1) {
    const startedMs = performance.now();
    await redis.ping();
    times.push(performance.now() - startedMs);
  }
  const info = await redis.info();
  const field = (name: string): string => new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(info)?.[1] ?? "";
  const number = (name: string): number => Number(field(name)) || 0;
  return {
    latencyMs: Math.min(...times),
    version: field("redis_version"),
    isCluster: field("cluster_enabled") === "1",
    usedBytes: number("used_memory"),
    maxBytes: number("maxmemory"),
    evictionPolicy: field("maxmemory_policy"),
    clients: number("connected_clients"),
    clientsMax: number("maxclients"),
    subscriberBufferMax: await subscriberBuffer(redis),
  };
}

async function subscriberBuffer(redis: Redis): Promise<number | undefined> {
  const answer = await redis.config("GET", "client-output-buffer-limit").catch(() => undefined);
  const text = Array.isArray(answer) ? String(answer[1]) : "";
  const [, bytes] = /\bpubsub (\d+) \d+ \d+/.exec(text) ?? [];
  return bytes === undefined ? undefined : Number(bytes);
}

/** The message of an error may have an address and a user, so that only its first word is shown. */
function failureOf(error: unknown): string {
  const { code, message = "" } = error instanceof Error ? (error as NodeJS.ErrnoException) : {};
  const [word] = /^[A-Z]{4,20}\b/.exec(message) ?? [];
  return code ?? word ?? "no answer";
}
