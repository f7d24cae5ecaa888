/**
 * A shard is one subscriber connection and the orders subscribed on it. A single Redis has one shard, and a Cluster has one
 * per server.
 *
 * Guarantees: after a lost connection or a failed subscribe, the shard subscribes to all its orders again, then becomes
 * healthy, then reports a gap. It keeps its own set of orders, because ioredis loses a subscribe made while it is down.
 * A stalled Redis looks connected, so the shard pings it every second and drops a connection that does not answer.
 * Concurrency: `subscribe` and `unsubscribe` may run while all orders are subscribed again.
 */
import { type Redis, ReplyError } from "ioredis";
import { startLoop } from "../loop.ts";
import type { RedisRoute } from "./route.ts";

/** Channels per command. */
const batchSize = 1_000;

const pingIntervalMs = 1_000;

const channelPrefix = "tukio:order:";
const idOf = (channel: string): string => channel.slice(channelPrefix.length);
export const channelOf = (id: string): string => channelPrefix + id;

export interface RedisLog {
  warn(details: object, message: string): void;
  info(details: object, message: string): void;
}

export interface ShardListener {
  onMessage(json: string): void;
  /** Called after each change of `healthy`. */
  onHealth(): void;
  /** Called when the shard is healthy again and messages may be lost. */
  onGap(): void;
}

export interface Shard {
  readonly healthy: boolean;
  /** Resolves when Redis has subscribed the order, or at once while it is away. Never rejects. */
  subscribe(id: string): Promise<void>;
  unsubscribe(id: string): void;
  close(): Promise<void>;
}

export interface ShardOptions {
  route: RedisRoute;
  server: string;
  listener: ShardListener;
  log: RedisLog;
}

export function createShard({ route, server, listener, log }: ShardOptions): Shard {
  const subscriber = route.connect(server);
  const subscribed = new Set<string>();
  let healthy = false;
  // Counted, so that a failure during `subscribeAll` keeps the shard unhealthy when `subscribeAll` succeeds.
  let failures = 0;

  const fail = (): void => {
    failures += 1;
    if (!healthy) return;
    healthy = false;
    listener.onHealth();
  };

  const subscribeAll = async (): Promise<void> => {
    const failuresBefore = failures;
    await subscribeInBatches(route, subscriber, [...subscribed].map(channelOf));
    if (failures !== failuresBefore) return;
    healthy = true;
    listener.onHealth();
    listener.onGap();
  };

  const loop = startLoop({
    task: async () => {
      if (subscriber.status !== "ready") return;
      try {
        await (healthy ? subscriber.ping() : subscribeAll());
      } catch (error) {
        fail();
        // The connection of a server that answers with an error is kept.
        if (!(error instanceof ReplyError)) subscriber.disconnect(true);
        throw error;
      }
    },
    delayMs: () => pingIntervalMs,
    onError: (error) => log.warn({ event: "redis.subscriber.failed", error: String(error) }, "Redis subscriber failed"),
  });

  reportErrors(subscriber, { connection: "subscriber", log });
  subscriber.on("close", fail);
  subscriber.on("ready", loop.runNow);
  subscriber.on("moved", () => {
    fail();
    route.refresh();
  });
  subscriber.on(route.messageEvent, (channel: string, json: string) => {
    if (subscribed.has(idOf(channel))) return listener.onMessage(json);
    // `subscribeAll` subscribed the order after it was unsubscribed.
    route.unsubscribe(subscriber, channel).catch(() => undefined);
  });

  return {
    get healthy() {
      return healthy;
    },

    async subscribe(id) {
      subscribed.add(id);
      if (subscriber.status === "ready") await route.subscribe(subscriber, [channelOf(id)]).catch(fail);
    },

    unsubscribe(id) {
      subscribed.delete(id);
      if (subscriber.status === "ready") route.unsubscribe(subscriber, channelOf(id)).catch(() => undefined);
    },

    async close() {
      await loop.close();
      subscriber.disconnect();
    },
  };
}

async function subscribeInBatches(route: RedisRoute, subscriber: Redis, channels: readonly string[]): Promise<void> {
  for (let start = 0; start < channels.length; start += batchSize) {
    await route.subscribe(subscriber, channels.slice(start, start + batchSize));
  }
}

/** Logs the first of consecutive errors, without the URL. */
export function reportErrors(redis: RedisRoute["client"], { connection, log }: { connection: string; log: RedisLog }) {
  let isReported = false;
  redis.on("ready", () => {
    isReported = false;
  });
  redis.on("error", (error: Error) => {
    if (!isReported)
      log.warn({ event: "redis.connection.failed", connection, error: error.message }, "Redis connection failed");
    isReported = true;
  });
}
