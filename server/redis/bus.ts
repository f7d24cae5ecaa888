/**
 * The bus over Redis pub/sub, with one channel per order. This node subscribes to a channel only while it has a watcher of
 * the order. In a Cluster the channels are sharded: only the server of a channel's slot carries its messages, so each
 * further server adds capacity.
 *
 * Guarantees: those of status/bus.ts. After a lost connection, or a channel that moves to another server, the bus
 * subscribes again and then reports a gap. `healthy` is false until then.
 * Does not guarantee: delivery. Commands fail at once while Redis is away and are not queued; resync passes read instead.
 * Concurrency: `subscribe` and `unsubscribe` may run while the shards change. `subscribed` holds the wanted state.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { BusListener, StatusBus } from "../status/bus.ts";
import { openRedisRoute, type RedisRoute } from "./route.ts";
import { channelOf, createShard, type RedisLog, reportErrors, type Shard, type ShardListener } from "./shard.ts";

export interface RedisBusOptions {
  /** `redis://` or `rediss://`; a comma-separated list of them for a Cluster. */
  url: string;
  /** Receives lost and restored connections, without the URL. */
  log: RedisLog;
}

interface State {
  route: RedisRoute;
  log: RedisLog;
  /** By server. */
  shards: Map<string, Shard>;
  /** The shard of each subscribed order, by uuid. Undefined while no server is known to carry its channel. */
  subscribed: Map<string, Shard | undefined>;
  listener: BusListener | undefined;
  healthy: boolean;
}

export function createRedisBus({ url, log }: RedisBusOptions): StatusBus {
  const route = openRedisRoute(url);
  const state: State = {
    route,
    log,
    shards: new Map(),
    subscribed: new Map(),
    listener: undefined,
    healthy: false,
  };
  const shardListener: ShardListener = {
    onMessage(json) {
      const event = parseEvent(json);
      if (event) state.listener?.onEvent(event, json);
    },
    onHealth: () => updateHealth(state),
    onGap: () => state.listener?.onGap(),
  };
  reportErrors(route.client, { connection: "publisher", log });
  route.onChange(() => assignShards(state, shardListener));
  assignShards(state, shardListener);

  return {
    publish(event) {
      const json = JSON.stringify(event);
      state.listener?.onEvent(event, json);
      // The answer to the caller goes first, because sending to Redis takes a tenth of a millisecond.
      nextTick()
        .then(() => route.publish(channelOf(event.id), json))
        .catch(() => undefined); // The resync passes of the other nodes read it.
    },

    async subscribe(id) {
      const shard = shardOf(state, id);
      state.subscribed.set(id, shard);
      await shard?.subscribe(id);
    },

    unsubscribe(id) {
      state.subscribed.get(id)?.unsubscribe(id);
      state.subscribed.delete(id);
    },

    listen(next) {
      state.listener = next;
    },

    get healthy() {
      return state.healthy;
    },

    async close() {
      // Lets the last `publish` send first.
      await nextTick();
      await Promise.all([route, ...state.shards.values()].map(({ close }) => close()));
    },
  };
}

const shardOf = ({ route, shards }: State, id: string): Shard | undefined =>
  shards.get(route.serverOf(channelOf(id)) ?? "");

function updateHealth(state: State): void {
  const { route, shards, log } = state;
  const healthy = route.complete && [...shards.values()].every((shard) => shard.healthy);
  if (healthy !== state.healthy) {
    if (healthy) log.info({ event: "redis.bus.up" }, "Redis carries events");
    else log.info({ event: "redis.bus.down" }, "Redis does not carry events; the hub reads from the database");
  }
  state.healthy = healthy;
}

/** Keeps one shard per server, and subscribes each order on the server that carries its channel now. */
function assignShards(state: State, listener: ShardListener): void {
  const { route, shards, subscribed, log } = state;
  const servers = new Set(route.servers());
  for (const server of servers) {
    if (!shards.has(server)) shards.set(server, createShard({ route, server, listener, log }));
  }
  for (const [server, shard] of shards) {
    if (!servers.has(server) && shards.delete(server)) void shard.close();
  }
  updateHealth(state);
  const moved = [...subscribed].filter(([id, shard]) => shard !== shardOf(state, id));
  for (const [id, shard] of moved) {
    shard?.unsubscribe(id);
    subscribed.set(id, shardOf(state, id));
  }
  if (moved.length > 0) void Promise.all(moved.map(([id]) => subscribed.get(id)?.subscribe(id))).then(listener.onGap);
}

/** Undefined when the message is not an event, because another program or version must not stop the node. */
function parseEvent(json: string): StatusEvent | undefined {
  try {
    const value: unknown = JSON.parse(json);
    const isEvent = typeof value === "object" && value !== null && "id" in value && "version" in value;
    return isEvent ? (value as StatusEvent) : undefined;
  } catch {
    return undefined;
  }
}
