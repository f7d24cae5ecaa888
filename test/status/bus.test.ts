/** The contract of every bus, for each implementation, then the failures of Redis. */
import { Cluster, Redis } from "ioredis";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createRedisBus } from "../../server/redis/bus.ts";
import { createMemoryBus, type StatusBus } from "../../server/status/bus.ts";
import { eventOf } from "../support/event.ts";
import { redisUrl, startRedis, startRedisCluster, type TestCluster, type TestRedis } from "../support/redis.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

const quiet = { warn: () => undefined, info: () => undefined };

interface Received {
  events: StatusEvent[];
  gaps: number;
}

function listenTo(bus: StatusBus): Received {
  const received: Received = { events: [], gaps: 0 };
  bus.listen({
    onEvent: (event, json) => {
      expect(JSON.parse(json)).toEqual(event);
      received.events.push(event);
    },
    onGap: () => {
      received.gaps += 1;
    },
  });
  return received;
}

const open = (bus: StatusBus): StatusBus => {
  onTestFinished(() => bus.close());
  return bus;
};

const openRedisBus = (url: string): StatusBus => open(createRedisBus({ url, log: quiet }));

const becomesHealthy = (...buses: StatusBus[]) => vi.waitUntil(() => buses.every(({ healthy }) => healthy), 10_000);

const id = () => crypto.randomUUID();

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await startRedisCluster();
  return () => cluster.stop();
});

describe.each([
  ["in memory", () => open(createMemoryBus())],
  ["over Redis", () => openRedisBus(redisUrl())],
  ["over a Redis Cluster", () => openRedisBus(cluster.url)],
])("a bus %s", (_name, create) => {
  it("calls this node's listener synchronously, subscribed or not", () => {
    const bus = create();
    const received = listenTo(bus);
    const event = eventOf({ id: id(), version: 1 });
    bus.publish(event);
    expect(received.events).toEqual([event]);
  });

  it("publishes without a listener", () => {
    expect(() => create().publish(eventOf({ id: id(), version: 1 }))).not.toThrow();
  });

  it("subscribes and unsubscribes many orders in any sequence", async () => {
    const bus = create();
    const ids = Array.from({ length: 50 }, id);
    await Promise.all(ids.map((one) => bus.subscribe(one)));
    for (const one of ids) bus.unsubscribe(one);
    bus.unsubscribe("never subscribed");
    await bus.subscribe("again");
  });
});

describe.each([
  ["Redis", () => redisUrl(), (url: string) => new Redis(url)],
  ["a Redis Cluster", () => cluster.url, (url: string) => new Cluster(url.split(","))],
])("two nodes over %s", (_name, url, connect) => {
  const nodes = async () => {
    const [one, other] = [openRedisBus(url()), openRedisBus(url())];
    await becomesHealthy(one, other);
    return { one, other, receivedByOther: listenTo(other) };
  };

  it("receive the events of the orders they subscribe to, and no others", async () => {
    const { one, other, receivedByOther } = await nodes();
    const [subscribed, ignored] = [id(), id()];
    await other.subscribe(subscribed);
    one.publish(eventOf({ id: ignored, version: 1 }));
    one.publish(eventOf({ id: subscribed, version: 1 }));
    await vi.waitUntil(() => receivedByOther.events.length > 0);
    expect(receivedByOther.events.map((event) => event.id)).toEqual([subscribed]);
  });

  it("receive what the other node published right before it closed", async () => {
    const { one, other, receivedByOther } = await nodes();
    const subscribed = id();
    await other.subscribe(subscribed);
    one.publish(eventOf({ id: subscribed, version: 1 }));
    // The publisher is connected by then: in a Cluster the first command for a server connects to it.
    await vi.waitUntil(() => receivedByOther.events.length > 0);
    one.publish(eventOf({ id: subscribed, version: 2 }));
    await one.close();
    await vi.waitUntil(() => receivedByOther.events.length > 1);
  });

  it("receive events after a message that is not an event", async () => {
    const { one, other, receivedByOther } = await nodes();
    const subscribed = id();
    await other.subscribe(subscribed);
    const client = connect(url());
    onTestFinished(() => client.disconnect());
    for (const nonsense of ["not json", "null", "[]", '{"id":1}']) {
      const channel = `tukio:order:${subscribed}`;
      await (client instanceof Cluster ? client.spublish(channel, nonsense) : client.publish(channel, nonsense));
    }
    one.publish(eventOf({ id: subscribed, version: 1 }));
    await vi.waitUntil(() => receivedByOther.events.length > 0);
    one.publish(eventOf({ id: subscribed, version: 2 }));
    await vi.waitUntil(() => receivedByOther.events.length > 1);
    expect(receivedByOther.events.map(({ version }) => version)).toEqual([1, 2]);
  });

  it("receive nothing of an order after unsubscribing", async () => {
    const { one, other, receivedByOther } = await nodes();
    // The text in braces chooses the server of a Cluster, so both have the same one.
    const slot = id();
    const [left, kept] = [`{${slot}}left`, `{${slot}}kept`];
    await Promise.all([other.subscribe(left), other.subscribe(kept)]);
    other.unsubscribe(left);
    await other.subscribe(kept); // Redis answers in order, so the unsubscribe is done.
    one.publish(eventOf({ id: left, version: 1 }));
    one.publish(eventOf({ id: kept, version: 1 }));
    await vi.waitUntil(() => receivedByOther.events.length > 0);
    expect(receivedByOther.events.map((event) => event.id)).toEqual([kept]);
  });
});

describe("the bus over its own Redis", () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  beforeAll(async () => {
    redis = await startRedis();
    return () => redis.stop();
  });

  it("becomes unhealthy when Redis restarts, subscribes to everything again, then reports a gap (G4)", async () => {
    const [one, other] = [openRedisBus(redis.url), openRedisBus(redis.url)];
    const received = listenTo(other);
    await becomesHealthy(one, other);
    const ids = Array.from({ length: 2_500 }, id);
    await Promise.all(ids.map((one) => other.subscribe(one)));
    const gapsBefore = received.gaps;
    await redis.stop();
    await vi.waitUntil(() => !other.healthy);
    const during = id();
    await other.subscribe(during); // Resolves at once while Redis is away.
    await redis.restart();
    await vi.waitUntil(() => received.gaps > gapsBefore, 10_000);
    await becomesHealthy(one, other);
    for (const subscribed of [ids[0] ?? "", ids[2_499] ?? "", during])
      one.publish(eventOf({ id: subscribed, version: 1 }));
    await vi.waitUntil(() => received.events.length === 3, 10_000);
  });

  it("becomes unhealthy when Redis stalls, and publishes without waiting for it", async () => {
    const bus = openRedisBus(redis.url);
    const received = listenTo(bus);
    await becomesHealthy(bus);
    redis.stall();
    onTestFinished(() => redis.resume());
    await vi.waitUntil(() => !bus.healthy, 10_000);
    bus.publish(eventOf({ id: id(), version: 1 }));
    expect(received.events).toHaveLength(1);
    const gapsBefore = received.gaps;
    redis.resume();
    await vi.waitUntil(() => bus.healthy && received.gaps > gapsBefore, 10_000);
  });

  it("uses a Redis that starts later", async () => {
    await redis.stop();
    const bus = openRedisBus(redis.url);
    const received = listenTo(bus);
    expect(bus.healthy).toBe(false);
    await bus.subscribe("early");
    await redis.restart();
    await becomesHealthy(bus);
    expect(received.gaps).toBe(1);
    const other = openRedisBus(redis.url);
    await becomesHealthy(other);
    other.publish(eventOf({ id: "early", version: 1 }));
    await vi.waitUntil(() => received.events.length === 1);
  });

  it("replaces a half-open connection and publishes over the new one", async () => {
    const proxy = await startTcpProxy(redis.url);
    const [one, other] = [openRedisBus(proxy.url), openRedisBus(redis.url)];
    const received = listenTo(other);
    await becomesHealthy(one, other);
    const subscribed = id();
    await other.subscribe(subscribed);
    proxy.blackhole();
    let version = 0;
    await vi.waitUntil(
      () => {
        version += 1;
        one.publish(eventOf({ id: subscribed, version }));
        return received.events.length > 0;
      },
      { interval: 50 },
    );
  });
});

// A Cluster takes seconds to start, and to agree that a server is gone.
vi.setConfig({ testTimeout: 60_000 });

/** Enough orders that each server of the Cluster carries some. */
const manyIds = (): string[] => Array.from({ length: 60 }, id);

/** Resolves when a node has received an event of each of these orders from another node. */
async function receivesAll(publisher: StatusBus, received: Received, ids: readonly string[]): Promise<void> {
  for (const one of ids) publisher.publish(eventOf({ id: one, version: 1 }));
  await vi.waitUntil(() => ids.every((one) => received.events.some((event) => event.id === one)), 10_000);
  received.events.length = 0;
}

describe("the bus over its own Redis Cluster", () => {
  const nodes = async (url: string) => {
    const [one, other] = [openRedisBus(url), openRedisBus(url)];
    const received = listenTo(other);
    await becomesHealthy(one, other);
    const ids = manyIds();
    await Promise.all(ids.map((each) => other.subscribe(each)));
    await receivesAll(one, received, ids);
    return { one, other, received, ids };
  };

  it.each(["yes", "no"])(
    "recovers when a server restarts, subscribes to everything again, then reports a gap (cluster-require-full-coverage %s)",
    async (fullCoverage) => {
      const cluster = await startRedisCluster();
      onTestFinished(cluster.stop);
      for (const { ask } of cluster.servers) await ask("config", "set", "cluster-require-full-coverage", fullCoverage);
      const { one, other, received, ids } = await nodes(cluster.url);
      const gapsBefore = received.gaps;
      const [server] = cluster.servers;
      await server?.stop();
      await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
      const during = manyIds();
      await Promise.all(during.map((each) => other.subscribe(each)));
      const left = ids.splice(0, 20);
      for (const each of left) other.unsubscribe(each);
      expect(received.gaps).toBe(gapsBefore);
      await server?.restart();
      await vi.waitUntil(() => received.gaps > gapsBefore && other.healthy && one.healthy, 20_000);
      await receivesAll(one, received, [...ids, ...during]);
    },
  );

  it("becomes unhealthy when a server stalls, publishes without waiting, and keeps the other servers", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    for (const { ask } of cluster.servers) await ask("config", "set", "cluster-require-full-coverage", "no");
    const { one, other, received, ids } = await nodes(cluster.url);
    const [server] = cluster.servers;
    server?.stall();
    await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
    const carry = () => {
      for (const each of ids) one.publish(eventOf({ id: each, version: 1 }));
      return new Set(received.events.map((event) => event.id)).size >= ids.length / 3 && received.events;
    };
    const carried = await vi.waitUntil(carry, { interval: 200, timeout: 10_000 });
    expect(new Set(carried.map((event) => event.id)).size).toBeLessThan(ids.length);
    const gapsBefore = received.gaps;
    server?.resume();
    await vi.waitUntil(() => other.healthy && one.healthy && received.gaps > gapsBefore, 20_000);
    received.events.length = 0;
    await receivesAll(one, received, ids);
  });

  it("subscribes on the new server when a channel moves, then reports a gap", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    const { one, other, received, ids } = await nodes(cluster.url);
    const logged: string[] = [];
    const info = (details: object): void => void logged.push("event" in details ? String(details.event) : "");
    const third = open(createRedisBus({ url: cluster.url, log: { ...quiet, info } }));
    await becomesHealthy(third);
    const [moved = ""] = ids;
    await third.subscribe(moved);
    const [server] = cluster.servers;
    const slot = (await server?.ask("cluster", "keyslot", `tukio:order:${moved}`)) ?? "";
    const owner = await ownerOf(cluster, slot);
    const target = cluster.servers.find((each) => each !== owner);
    const targetId = (await target?.ask("cluster", "myid")) ?? "";
    const gapsBefore = received.gaps;
    // Every server gets the new owner, because the others may believe the old one.
    for (const each of [target, owner, ...cluster.servers])
      await each?.ask("cluster", "setslot", slot, "node", targetId);
    await vi.waitUntil(() => received.gaps > gapsBefore && other.healthy && third.healthy, 10_000);
    await receivesAll(one, received, ids);
    // The bus was down meanwhile, because events may have been lost.
    await vi.waitUntil(() => logged.includes("redis.bus.down") && logged.at(-1) === "redis.bus.up");
    expect(await target?.ask("pubsub", "shardnumsub", `tukio:order:${moved}`)).toMatch(/\b2$/);
  });

  it("subscribes on the replica that replaces a server, then reports a gap", async () => {
    const cluster = await startRedisCluster({ replicas: 1 });
    onTestFinished(cluster.stop);
    const { one, other, received, ids } = await nodes(cluster.url);
    const gapsBefore = received.gaps;
    await cluster.servers[0]?.stop();
    await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
    await vi.waitUntil(() => other.healthy && one.healthy && received.gaps > gapsBefore, 20_000);
    await receivesAll(one, received, ids);
    // The restarted server is the replica now.
    await cluster.servers[0]?.restart();
    await receivesAll(one, received, ids);
  });

  it("uses a Cluster that starts later", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    for (const server of cluster.servers) await server.stop();
    const [one, other] = [openRedisBus(cluster.url), openRedisBus(cluster.url)];
    const received = listenTo(other);
    const ids = manyIds();
    for (const each of ids) await other.subscribe(each);
    expect(other.healthy).toBe(false);
    for (const server of cluster.servers) await server.restart();
    await becomesHealthy(one, other);
    expect(received.gaps).toBeGreaterThan(0);
    await receivesAll(one, received, ids);
  });

  it("finds the Cluster through one server", async () => {
    const bus = openRedisBus(`${cluster.servers[0]?.url},`);
    await becomesHealthy(bus);
    const received = listenTo(bus);
    const ids = manyIds();
    await Promise.all(ids.map((each) => bus.subscribe(each)));
    const other = openRedisBus(cluster.url);
    await becomesHealthy(other);
    await receivesAll(other, received, ids);
  });
});

/** The server that owns a slot. */
async function ownerOf({ servers }: TestCluster, slot: string): Promise<TestRedis | undefined> {
  for (const server of servers) {
    const own = (await server.ask("cluster", "nodes")).split("\n").find((line) => line.includes("myself")) ?? "";
    const ranges = own
      .split(" ")
      .slice(8)
      .map((range) => range.split("-").map(Number));
    if (ranges.some(([first = 0, last = first]) => first <= Number(slot) && Number(slot) <= last)) return server;
  }
  return undefined;
}
