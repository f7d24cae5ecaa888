/**
 * Where Redis is: one server, or the servers of a Cluster, each with the channels of its own slots. The only place that
 * makes connections and knows the difference. What a Cluster looks like is read again every two seconds, and as soon
 * as a server says that a channel is no longer its own.
 */
import { Cluster, Command, Redis, type RedisOptions } from "ioredis";
import { startLoop } from "../loop.ts";

const slotCount = 16_384;
const refreshIntervalMs = 2_000;
const retryDelayMs = (times: number): number => Math.min(100 * times, 1_000);

const commandTimeoutMs = 500;

/** Commands fail at once or within half a second; nothing queues up while Redis is away. */
const connectionOptions = {
  enableOfflineQueue: false,
  commandTimeout: commandTimeoutMs,
  // One that never answers may be dead without knowing: only a new one will find out.
  socketTimeout: 2 * commandTimeoutMs,
  connectTimeout: 2_000,
  maxRetriesPerRequest: 0,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: retryDelayMs,
} satisfies RedisOptions;

/** For commands with one key. A list of URLs, however short, is a Cluster: `redis://host:6379,` is one found through one server. */
export function openRedis(url: string): Redis | Cluster {
  if (!url.includes(",")) return new Redis(url, connectionOptions);
  const { retryStrategy, enableOfflineQueue, ...redisOptions } = connectionOptions;
  return new Cluster(startupServers(url), {
    redisOptions: { ...redisOptions, ...access(url) },
    enableOfflineQueue,
    clusterRetryStrategy: retryStrategy,
    // A server is connected to by the first command that needs it; those after it wait. A Cluster that is down is not waited for.
    retryDelayOnFailover: 100,
    retryDelayOnClusterDown: 0,
    maxRedirections: 4,
    // No slotsRefreshInterval: its timer goes on for ever when a Cluster is closed while it is being looked at.
    // Names stay names: TLS compares them with the certificate.
    dnsLookup: (address, done) => done(null, address),
  });
}

export interface RedisRoute {
  readonly client: Redis | Cluster;
  publish(channel: string, message: string): Promise<unknown>;
  /** The servers that carry channels; none while they are not known. */
  servers(): readonly string[];
  /** Undefined while no server is known to carry the channel. */
  serverOf(channel: string): string | undefined;
  /** Whether every channel has a server, and the Cluster takes commands. */
  readonly complete: boolean;
  /** A connection of its own for subscriptions, and for nothing else. */
  connect(server: string): Redis;
  /** On that connection. Rejects when a channel is another server's. */
  subscribe(connection: Redis, channels: readonly string[]): Promise<unknown>;
  unsubscribe(connection: Redis, channel: string): Promise<unknown>;
  /** The event of such a connection that brings a channel and its message. */
  readonly messageEvent: "message" | "smessage";
  /** Looks soon where the channels are. */
  refresh(): void;
  /** Hears when channels have other servers than before, or `complete` another value; there is one listener. */
  onChange(listener: () => void): void;
  /** Of the client; connections that were asked for are closed by whoever did. */
  close(): Promise<void>;
}

export function openRedisRoute(url: string): RedisRoute {
  const client = openRedis(url);
  return client instanceof Cluster ? clusterRoute(client, url) : singleRoute(client, url);
}

function singleRoute(client: Redis, url: string): RedisRoute {
  return {
    client,
    publish: (channel, message) => client.publish(channel, message),
    servers: () => [url],
    serverOf: () => url,
    complete: true,
    connect: () => new Redis(url, connectionOptions),
    subscribe: (connection, channels) => connection.subscribe(...channels),
    unsubscribe: (connection, channel) => connection.unsubscribe(channel),
    messageEvent: "message",
    refresh: () => undefined,
    onChange: () => undefined,
    close: async () => client.disconnect(),
  };
}

function clusterRoute(client: Cluster, url: string): RedisRoute {
  /** By slot. */
  let masters: (string | undefined)[] = [];
  let changed = (): void => undefined;

  client.on("refresh", () => {
    const found = Array.from({ length: slotCount }, (_, slot) => client.slots[slot]?.[0]);
    if (found.every((master, slot) => master === masters[slot])) return;
    masters = found;
    changed();
  });
  client.on("ready", () => changed());
  client.on("close", () => changed());

  const loop = startLoop({
    task: async () => {
      if (client.status !== "ready") return;
      const looked = Promise.withResolvers<void>();
      client.refreshSlotsCache(() => looked.resolve());
      await looked.promise;
    },
    delayMs: () => refreshIntervalMs,
    onError: () => undefined, // It never rejects; what cannot be reached is told by its own connections.
  });

  return {
    client,
    publish: (channel, message) => client.spublish(channel, message),
    servers: () => [...new Set(masters)].filter((master) => master !== undefined),
    serverOf: (channel) => masters[new Command("ssubscribe", [channel]).getSlot() ?? slotCount],
    get complete() {
      return client.status === "ready" && masters.length === slotCount && !masters.includes(undefined);
    },
    connect: (server) => new Redis({ ...connectionOptions, ...access(url), ...addressOf(server) }),
    // One command may only name channels of one slot.
    subscribe: (connection, channels) => Promise.all(channels.map((channel) => connection.ssubscribe(channel))),
    unsubscribe: (connection, channel) => connection.sunsubscribe(channel),
    messageEvent: "smessage",
    refresh: loop.runNow,
    onChange: (listener) => {
      changed = listener;
    },
    close: async () => {
      await loop.close();
      client.disconnect();
    },
  };
}

const listed = (url: string): URL[] =>
  url
    .split(",")
    .filter((item) => item.trim() !== "")
    .map((item) => new URL(item.trim()));

const startupServers = (url: string): { host: string; port: number }[] =>
  listed(url).map(({ host }) => addressOf(host.includes(":", host.indexOf("]") + 1) ? host : `${host}:6379`));

/** How to be let in; servers that are not listed are found by asking, and take the same. */
function access(url: string): Pick<RedisOptions, "username" | "password" | "tls"> {
  const [first] = listed(url);
  return {
    ...(first?.username && { username: decodeURIComponent(first.username) }),
    ...(first?.password && { password: decodeURIComponent(first.password) }),
    ...(first?.protocol === "rediss:" && { tls: {} }),
  };
}

/** Of `host:port`, where the host may be an address of IPv6. */
function addressOf(server: string): { host: string; port: number } {
  const colon = server.lastIndexOf(":");
  return { host: server.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(server.slice(colon + 1)) };
}
