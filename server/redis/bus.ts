/**
 * The bus over Redis pub/sub: one channel per order, subscribed only while this node has a watcher of it. In a Cluster
 * the channels are sharded: a message goes to the one server that has the channel's slot, and from there to its
 * followers, so more servers carry more. Orders whose channel moves to another server are subscribed there.
 *
 * Commands never queue while Redis is away: they fail at once, and the hub's reading stands in.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { BusListener, StatusBus } from "../status/bus.ts";
import { openRedisRoute } from "./route.ts";
import { channelOf, createShard, type RedisLog, reportErrors, type Shard, type ShardListener } from "./shard.ts";

export interface RedisBusOptions {
  /** `redis://` or `rediss://`; a comma list of them for a Cluster. */
  url: string;
  /** Hears of connections that break and come back; never given the URL. */
  log: RedisLog;
}

export function createRedisBus({ url, log }: RedisBusOptions): StatusBus {
  const route = openRedisRoute(url);
  const shards = new Map<string, Shard>();
  const subscribed = new Map<string, Shard | undefined>();
  let listener: BusListener | undefined;
  let healthy = false;

  const updateHealth = (): void => {
    const next = route.complete && [...shards.values()].every((shard) => shard.healthy);
    if (next !== healthy) log.info(next ? "Redis carries events" : "Redis does not carry events; reading instead");
    healthy = next;
  };

  const shardListener: ShardListener = {
    onMessage(json) {
      const event = parseEvent(json);
      if (event) listener?.onEvent(event, json);
    },
    onHealth: updateHealth,
    onGap: () => listener?.onGap(),
  };

  const shardOf = (id: string): Shard | undefined => shards.get(route.serverOf(channelOf(id)) ?? "");

  /** Has a shard for every server, and subscribes to every order where its channel is now. */
  const assignShards = (): void => {
    const servers = new Set(route.servers());
    for (const server of servers) {
      if (!shards.has(server)) shards.set(server, createShard({ route, server, listener: shardListener, log }));
    }
    for (const [server, shard] of shards) {
      if (!servers.has(server) && shards.delete(server)) void shard.close();
    }
    updateHealth();
    const moved = [...subscribed].filter(([id, shard]) => shard !== shardOf(id));
    for (const [id, shard] of moved) {
      shard?.unsubscribe(id);
      subscribed.set(id, shardOf(id));
    }
    if (moved.length > 0)
      void Promise.all(moved.map(([id]) => subscribed.get(id)?.subscribe(id))).then(shardListener.onGap);
  };

  reportErrors(route.client, { connection: "publisher", log });
  route.onChange(assignShards);
  assignShards();

  return {
    publish(event) {
      const json = JSON.stringify(event);
      listener?.onEvent(event, json);
      // Sending takes a tenth of a millisecond: the answer to whoever told of it goes first.
      nextTick()
        .then(() => route.publish(channelOf(event.id), json))
        .catch(() => undefined); // The other nodes' reading finds it.
    },

    async subscribe(id) {
      subscribed.set(id, shardOf(id));
      await subscribed.get(id)?.subscribe(id);
    },

    unsubscribe(id) {
      subscribed.get(id)?.unsubscribe(id);
      subscribed.delete(id);
    },

    listen(next) {
      listener = next;
    },

    get healthy() {
      return healthy;
    },

    async close() {
      await nextTick();
      await Promise.all([route, ...shards.values()].map(({ close }) => close()));
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
