/**
 * The bus over Redis pub/sub: one channel per order, followed only while this node has a watcher of it.
 *
 * Two connections. The subscriber keeps our own set of followed orders and subscribes all of them again whenever it is
 * back, because ioredis loses a subscribe made while it is down; only then does it report the gap. A stalled Redis
 * looks connected for ever, so the subscriber is pinged every second and dropped when it does not answer. Commands
 * never queue while Redis is away: they fail at once, and the hub's reading stands in.
 */
import { Redis, type RedisOptions } from "ioredis";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { startLoop } from "../loop.ts";
import type { BusListener, StatusBus } from "./bus.ts";

const subscribeBatch = 1_000;
const commandTimeoutMs = 500;
const pingIntervalMs = 1_000;

/** Commands fail at once or within half a second; nothing queues up while Redis is away. */
export const connectionOptions = {
  enableOfflineQueue: false,
  commandTimeout: commandTimeoutMs,
  // One that never answers may be dead without knowing: only a new one will find out.
  socketTimeout: 2 * commandTimeoutMs,
  connectTimeout: 2_000,
  maxRetriesPerRequest: 0,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: (times) => Math.min(100 * times, 1_000),
} satisfies RedisOptions;

const channelPrefix = "tukio:order:";
const idOf = (channel: string): string => channel.slice(channelPrefix.length);
const channelOf = (id: string): string => channelPrefix + id;

export interface RedisBusOptions {
  url: string;
  /** Hears of connections that break and come back; never given the URL. */
  log: { warn(details: object, message: string): void; info(message: string): void };
}

export function createRedisBus({ url, log }: RedisBusOptions): StatusBus {
  const publisher = new Redis(url, connectionOptions);
  const subscriber = new Redis(url, connectionOptions);
  const followed = new Set<string>();
  let listener: BusListener | undefined;
  let healthy = false;

  const setHealthy = (next: boolean): void => {
    if (next !== healthy) log.info(next ? "Redis carries events" : "Redis does not carry events; reading instead");
    healthy = next;
  };

  for (const [connection, redis] of Object.entries({ publisher, subscriber })) {
    let isReported = false;
    redis.on("ready", () => {
      isReported = false;
    });
    redis.on("error", (error: Error) => {
      if (!isReported) log.warn({ connection, error: error.message }, "Redis connection failed");
      isReported = true;
    });
  }

  subscriber.on("close", () => setHealthy(false));
  subscriber.on("ready", () => {
    resubscribe().catch((error: unknown) => {
      log.warn({ error: String(error) }, "Redis took no subscriptions");
      subscriber.disconnect(true);
    });
  });
  subscriber.on("message", (channel: string, json: string) => {
    // Unfollowed while all were being subscribed again.
    if (!followed.has(idOf(channel))) return void subscriber.unsubscribe(channel).catch(() => undefined);
    const event = parseEvent(json);
    if (event) listener?.onEvent(event, json);
  });

  const resubscribe = async (): Promise<void> => {
    const channels = [...followed].map(channelOf);
    for (let start = 0; start < channels.length; start += subscribeBatch) {
      await subscriber.subscribe(...channels.slice(start, start + subscribeBatch));
    }
    setHealthy(true);
    listener?.onGap();
  };

  const heartbeat = startLoop({
    task: async () => {
      if (subscriber.status !== "ready") return;
      await subscriber.ping().catch(() => {
        setHealthy(false);
        subscriber.disconnect(true);
      });
    },
    delayMs: () => pingIntervalMs,
    onError: (error) => log.warn({ error: String(error) }, "Redis not looked at"),
  });

  return {
    publish(event) {
      const json = JSON.stringify(event);
      listener?.onEvent(event, json);
      publisher.publish(channelOf(event.id), json).catch(() => undefined); // The other nodes' reading finds it.
    },

    async follow(id) {
      followed.add(id);
      if (subscriber.status !== "ready") return;
      await subscriber.subscribe(channelOf(id)).catch(() => subscriber.disconnect(true));
    },

    unfollow(id) {
      followed.delete(id);
      if (subscriber.status === "ready") subscriber.unsubscribe(channelOf(id)).catch(() => undefined);
    },

    listen(next) {
      listener = next;
    },

    get healthy() {
      return healthy;
    },

    async close() {
      await heartbeat.close();
      publisher.disconnect();
      subscriber.disconnect();
    },
  };
}

/** Redis is inside the trust boundary, but a message of another program or version must not take the hub down. */
function parseEvent(json: string): StatusEvent | undefined {
  try {
    const value: unknown = JSON.parse(json);
    const isEvent = typeof value === "object" && value !== null && "id" in value && "version" in value;
    return isEvent ? (value as StatusEvent) : undefined;
  } catch {
    return undefined;
  }
}
