/** The check of Redis: whether each server answers, how fast, and the settings that events and limits depend on. */
import { type RedisHealth, readRedisHealth } from "../redis/health.ts";
import { type Check, error, type Finding, ok, warning } from "./check.ts";
import { bytesText, listText } from "./text.ts";

export interface RedisCheckOptions {
  redisUrl: string | undefined;
  /** Whether events reach the other nodes now. */
  isBusUp: () => boolean;
}

export const redisCheck = ({ redisUrl, isBusUp }: RedisCheckOptions): Check => ({
  id: "redis",
  name: "Redis",
  async run() {
    if (redisUrl === undefined)
      return ok("REDIS_URL is not set: events stay in this process, which is right for one process only.");
    const servers = await readRedisHealth(redisUrl);
    const faults = servers.flatMap((server) => faultOf(server) ?? []);
    const worst = faults.find(({ status }) => status === "error") ?? faults[0];
    if (worst) return worst;
    if (!isBusUp())
      return error(
        "Redis answers, but this node's subscription does not work yet: watchers receive changes of other nodes by polling.",
        "Run the doctor again in some seconds; if it lasts, read the log event redis.subscriber.failed.",
      );
    const slowest = Math.max(...servers.map(({ latencyMs }) => latencyMs));
    const names = servers.map(({ server, version }) => `${server} (${version})`);
    return ok(
      `${listText(names)} ${names.length === 1 ? "answers" : "answer"} within ${slowest.toFixed(1)} ms and ${names.length === 1 ? "carries" : "carry"} events.`,
    );
  },
});

/** A ping within a data centre takes less than 1 ms. */
const slowMs = 50;

/** Redis' default is 32 MiB. */
const bufferMin = 2 ** 20;

const withoutRedis = "Payments go on: watchers receive changes by polling PostgreSQL, and limits count per node.";

function faultOf(health: RedisHealth): Finding | undefined {
  const { server, failure } = health;
  if (failure === undefined) return settingFault(health);
  const isAccess = /^(WRONGPASS|NOAUTH|NOPERM)$/.test(failure);
  return isAccess
    ? error(
        `Redis at ${server} refuses the login (${failure}). ${withoutRedis}`,
        "Compare the user and the password in REDIS_URL with the server's.",
      )
    : error(
        `Redis at ${server} does not answer (${failure}). ${withoutRedis}`,
        "Look whether Redis runs, and whether this node reaches the host and port of REDIS_URL.",
      );
}

function settingFault(health: RedisHealth): Finding | undefined {
  const { server, latencyMs, version, isCluster, usedBytes, maxBytes, evictionPolicy, clients, clientsMax } = health;
  const { subscriberBufferMax: buffer } = health;
  if (isCluster && Number.parseInt(version, 10) < 7)
    return error(
      `The Redis Cluster at ${server} has version ${version}, which cannot carry events by shard.`,
      "Upgrade the Cluster to Redis 7 or newer.",
    );
  if (maxBytes > 0 && usedBytes > 0.9 * maxBytes)
    return warning(
      `Redis at ${server} uses ${bytesText(usedBytes)} of its ${bytesText(maxBytes)} (${evictionPolicy}): soon it ${evictionPolicy === "noeviction" ? "refuses to count limits" : "forgets counts of limits"}.`,
      "Raise maxmemory, or give Tukio a Redis of its own.",
    );
  if (clientsMax > 0 && clients > 0.9 * clientsMax)
    return warning(
      `Redis at ${server} has ${clients} of at most ${clientsMax} connections.`,
      "Raise maxclients, or find the program that leaves connections open (CLIENT LIST).",
    );
  if (buffer === 0)
    return warning(
      `Redis at ${server} has no limit for the buffers of subscribers: a node that reads slowly takes all its memory.`,
      "CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60', the default.",
    );
  if (buffer !== undefined && buffer < bufferMin)
    return warning(
      `Redis at ${server} disconnects a subscriber that is ${bytesText(buffer)} behind: a burst of events cuts off every node.`,
      "CONFIG SET client-output-buffer-limit 'pubsub 33554432 8388608 60', the default.",
    );
  if (latencyMs > slowMs)
    return warning(
      `Redis at ${server} took ${Math.round(latencyMs)} ms for a ping; each counted request waits for it.`,
      "Run Redis near the nodes, and look at SLOWLOG GET.",
    );
  return undefined;
}
