/**
 * Routes channels to Redis servers: a single server, or the servers of a Cluster, which each carry the channels of their
 * slots. Only this file opens connections and knows the difference.
 *
 * The slots of a Cluster are read every 2 s, and as soon as a server answers that a channel has moved.
 */
import { Cluster, Command, Redis, type RedisOptions } from "ioredis";
import { startLoop } from "../loop.ts";

const slotCount = 16_384;
const refreshIntervalMs = 2_000;
const retryDelayMs = (times: number): number => Math.min(100 * times, 1_000);

const commandTimeoutMs = 500;

/** Commands fail within half a second, and are not queued while Redis is away. */
const connectionOptions = {
  enableOfflineQueue: false,
  commandTimeout: commandTimeoutMs,
  // A connection that never answers may be half open, so it is replaced.
  socketTimeout: 2 * commandTimeoutMs,
  connectTimeout: 2_000,
  maxRetriesPerRequest: 0,
  autoResubscribe: false,
  autoResendUnfulfilledCommands: false,
  retryStrategy: retryDelayMs,
} satisfies RedisOptions;

/**
 * Opens a client for commands with one key. A comma in the URL means a Cluster: `redis://host:6379,` finds one through a
 * single server.
 */
export function openRedis(url: string): Redis | Cluster {
  if (!url.includes(",")) return new Redis(url, connectionOptions);
  const { retryStrategy, enableOfflineQueue, ...redisOptions } = connectionOptions;
  return new Cluster(startupServers(url), {
    redisOptions: { ...redisOptions, ...accessOf(url) },
    enableOfflineQueue,
    clusterRetryStrategy: retryStrategy,
    // The first command for a server connects to it, and later ones wait. Commands to a Cluster that is down fail at once.
    retryDelayOnFailover: 100,
    retryDelayOnClusterDown: 0,
    maxRedirections: 4,
    // Do not set slotsRefreshInterval: its timer never ends when the Cluster is closed during a refresh.
    // Host names are not resolved here, because TLS compares them with the certificate.
    dnsLookup: (address, done) => done(null, address),
  });
}

/** Opens one connection to each server that the URL names. It connects when it is asked to, and not again after a failure. */
export function openOnce(url: string): { server: string; redis: Redis }[] {
  const options = { ...connectionOptions, lazyConnect: true, retryStrategy: () => null };
  if (!url.includes(",")) return [{ server: urlsOf(url)[0]?.host ?? "", redis: new Redis(url, options) }];
  return startupServers(url).map((address) => ({
    server: `${address.host}:${address.port}`,
    redis: new Redis({ ...options, ...accessOf(url), ...address }),
  }));
}

export interface RedisRoute {
  readonly client: Redis | Cluster;
  publish(channel: string, message: string): Promise<unknown>;
  /** The servers that carry channels. Empty while they are unknown. */
  servers(): readonly string[];
  /** Undefined while no server is known to carry the channel. */
  serverOf(channel: string): string | undefined;
  /** Whether every channel has a server, and the Cluster takes commands. */
  readonly complete: boolean;
  /** Opens a connection that serves subscriptions only. */
  connect(server: string): Redis;
  /** Rejects when another server carries a channel. */
  subscribe(connection: Redis, channels: readonly string[]): Promise<unknown>;
  unsubscribe(connection: Redis, channel: string): Promise<unknown>;
  /** The event of a connection that carries a channel and a message. */
  readonly messageEvent: "message" | "smessage";
  /** Reads the slots as soon as possible. */
  refresh(): void;
  /** Sets the listener for changes of the servers of channels, and of `complete`. There is one listener. */
  onChange(listener: () => void): void;
  /** Closes the client. The caller of `connect` closes that connection. */
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
  /** The server of each slot. */
  let masters: (string | undefined)[] = [];
  let onChange = (): void => undefined;

  client.on("refresh", () => {
    const found = Array.from({ length: slotCount }, (_, slot) => client.slots[slot]?.[0]);
    if (found.every((master, slot) => master === masters[slot])) return;
    masters = found;
    onChange();
  });
  client.on("ready", () => onChange());
  client.on("close", () => onChange());

  const loop = startLoop({
    task: async () => {
      if (client.status !== "ready") return;
      const refreshed = Promise.withResolvers<void>();
      client.refreshSlotsCache(() => refreshed.resolve());
      await refreshed.promise;
    },
    delayMs: () => refreshIntervalMs,
    onError: () => undefined, // The task never rejects. The connections log servers that cannot be reached.
  });

  return {
    client,
    publish: (channel, message) => client.spublish(channel, message),
    servers: () => [...new Set(masters)].filter((master) => master !== undefined),
    serverOf: (channel) => masters[new Command("ssubscribe", [channel]).getSlot() ?? slotCount],
    get complete() {
      return client.status === "ready" && masters.length === slotCount && !masters.includes(undefined);
    },
    connect: (server) => new Redis({ ...connectionOptions, ...accessOf(url), ...addressOf(server) }),
    // Redis accepts only channels of one slot in a command.
    subscribe: (connection, channels) => Promise.all(channels.map((channel) => connection.ssubscribe(channel))),
    unsubscribe: (connection, channel) => connection.sunsubscribe(channel),
    messageEvent: "smessage",
    refresh: loop.runNow,
    onChange: (listener) => {
      onChange = listener;
    },
    close: async () => {
      await loop.close();
      client.disconnect();
    },
  };
}

const urlsOf = (url: string): URL[] =>
  url
    .split(",")
    .filter((item) => item.trim() !== "")
    .map((item) => new URL(item.trim()));

const startupServers = (url: string): { host: string; port: number }[] =>
  urlsOf(url).map(({ host }) => addressOf(host.includes(":", host.indexOf("]") + 1) ? host : `${host}:6379`));

/** The credentials and TLS of the first URL. Servers that the Cluster names use the same. */
function accessOf(url: string): Pick<RedisOptions, "username" | "password" | "tls"> {
  const [first] = urlsOf(url);
  return {
    ...(first?.username && { username: decodeURIComponent(first.username) }),
    ...(first?.password && { password: decodeURIComponent(first.password) }),
    ...(first?.protocol === "rediss:" && { tls: {} }),
  };
}

/** Parses `host:port`. The host may be an IPv6 address in brackets. */
function addressOf(server: string): { host: string; port: number } {
  const colon = server.lastIndexOf(":");
  return { host: server.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(server.slice(colon + 1)) };
}
