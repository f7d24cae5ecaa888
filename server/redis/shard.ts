/**
 * One subscriber connection and the orders subscribed on it: one for a single Redis, one for each server of a Cluster.
 *
 * It keeps its own set of orders and subscribes all of them again whenever it is back or one was refused, because
 * ioredis loses a subscribe made while it is down; only then is it healthy again and reports the gap. A stalled Redis
 * looks connected for ever, so it is pinged every second and the connection dropped when it does not answer.
 */
import { ReplyError } from "ioredis";
import { startLoop } from "../loop.ts";
import type { RedisRoute } from "./route.ts";

const subscribeBatch = 1_000;
const pingIntervalMs = 1_000;

const channelPrefix = "tukio:order:";
const idOf = (channel: string): string => channel.slice(channelPrefix.length);
export const channelOf = (id: string): string => channelPrefix + id;

export interface RedisLog {
  warn(details: object, message: string): void;
  info(message: string): void;
}

export interface ShardListener {
  onMessage(json: string): void;
  /** Told of every change of `healthy`. */
  onHealth(): void;
  /** Healthy again, after messages may have been lost. */
  onGap(): void;
}

export interface Shard {
  readonly healthy: boolean;
  /** Resolves when messages of the order come, or at once while they cannot. Never rejects. */
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
  // So that what fails while all are being subscribed again is not forgotten when that has gone well.
  let failures = 0;

  const fail = (): void => {
    failures += 1;
    if (!healthy) return;
    healthy = false;
    listener.onHealth();
  };

  const subscribeAll = async (): Promise<void> => {
    const failuresBefore = failures;
    const channels = [...subscribed].map(channelOf);
    for (let start = 0; start < channels.length; start += subscribeBatch) {
      await route.subscribe(subscriber, channels.slice(start, start + subscribeBatch));
    }
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
        // A server that answers, if only with a refusal, is asked again in a second.
        if (!(error instanceof ReplyError)) subscriber.disconnect(true);
        throw error;
      }
    },
    delayMs: () => pingIntervalMs,
    onError: (error) => log.warn({ error: String(error) }, "Redis did not answer, or takes no subscriptions"),
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
    // Unsubscribed while all were being subscribed again.
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

/** Logs the first of several errors in a row; never the URL. */
export function reportErrors(redis: RedisRoute["client"], { connection, log }: { connection: string; log: RedisLog }) {
  let isReported = false;
  redis.on("ready", () => {
    isReported = false;
  });
  redis.on("error", (error: Error) => {
    if (!isReported) log.warn({ connection, error: error.message }, "Redis connection failed");
    isReported = true;
  });
}
