/** What every bus promises, over every implementation; then what only Redis can break. */
import { Cluster, Redis } from "ioredis";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createRedisBus } from "../../server/redis/bus.ts";
import { createMemoryBus, type StatusBus } from "../../server/status/bus.ts";
import { eventOf } from "../support/event.ts";
import { redisUrl, startRedis, startRedisCluster, type TestCluster, type TestRedis } from "../support/redis.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

const quiet = { warn: () => undefined, info: () => undefined };

interface Heard {
  events: StatusEvent[];
  gaps: number;
}

function listenTo(bus: StatusBus): Heard {
  const heard: Heard = { events: [], gaps: 0 };
  bus.listen({
    onEvent: (event, json) => {
      expect(JSON.parse(json)).toEqual(event);
      heard.events.push(event);
    },
    onGap: () => {
      heard.gaps += 1;
    },
  });
  return heard;
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
  it("tells this node at once, followed or not", () => {
    const bus = create();
    const heard = listenTo(bus);
    const event = eventOf({ id: id(), version: 1 });
    bus.publish(event);
    expect(heard.events).toEqual([event]);
  });

  it("never throws without a listener", () => {
    expect(() => create().publish(eventOf({ id: id(), version: 1 }))).not.toThrow();
  });

  it("follows and unfollows any number of orders, in any order", async () => {
    const bus = create();
    const ids = Array.from({ length: 50 }, id);
    await Promise.all(ids.map((one) => bus.subscribe(one)));
    for (const one of ids) bus.unsubscribe(one);
    bus.unsubscribe("never followed");
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
    return { one, other, heardByOther: listenTo(other) };
  };

  it("hear of the orders they subscribe to, and of no others", async () => {
    const { one, other, heardByOther } = await nodes();
    const [followed, ignored] = [id(), id()];
    await other.subscribe(followed);
    one.publish(eventOf({ id: ignored, version: 1 }));
    one.publish(eventOf({ id: followed, version: 1 }));
    await vi.waitUntil(() => heardByOther.events.length > 0);
    expect(heardByOther.events.map((event) => event.id)).toEqual([followed]);
  });

  it("hear what was published just before its node closed", async () => {
    const { one, other, heardByOther } = await nodes();
    const followed = id();
    await other.subscribe(followed);
    one.publish(eventOf({ id: followed, version: 1 }));
    // Its connection is there by then: a server of a Cluster is connected to by the first command that needs it.
    await vi.waitUntil(() => heardByOther.events.length > 0);
    one.publish(eventOf({ id: followed, version: 2 }));
    await one.close();
    await vi.waitUntil(() => heardByOther.events.length > 1);
  });

  it("go on hearing of an order after a message that is not an event", async () => {
    const { one, other, heardByOther } = await nodes();
    const followed = id();
    await other.subscribe(followed);
    const stranger = connect(url());
    onTestFinished(() => stranger.disconnect());
    for (const nonsense of ["not json", "null", "[]", '{"id":1}']) {
      const channel = `tukio:order:${followed}`;
      await (stranger instanceof Cluster ? stranger.spublish(channel, nonsense) : stranger.publish(channel, nonsense));
    }
    one.publish(eventOf({ id: followed, version: 1 }));
    await vi.waitUntil(() => heardByOther.events.length > 0);
    one.publish(eventOf({ id: followed, version: 2 }));
    await vi.waitUntil(() => heardByOther.events.length > 1);
    expect(heardByOther.events.map(({ version }) => version)).toEqual([1, 2]);
  });

  it("stop hearing of an order that is unfollowed", async () => {
    const { one, other, heardByOther } = await nodes();
    // What stands in braces chooses the server of a Cluster: these two have the same.
    const slot = id();
    const [left, kept] = [`{${slot}}left`, `{${slot}}kept`];
    await Promise.all([other.subscribe(left), other.subscribe(kept)]);
    other.unsubscribe(left);
    await other.subscribe(kept); // Redis answers one connection in order: the unsubscribe is done.
    one.publish(eventOf({ id: left, version: 1 }));
    one.publish(eventOf({ id: kept, version: 1 }));
    await vi.waitUntil(() => heardByOther.events.length > 0);
    expect(heardByOther.events.map((event) => event.id)).toEqual([kept]);
  });
});

describe("a Redis of its own", () => {
  let redis: Awaited<ReturnType<typeof startRedis>>;
  beforeAll(async () => {
    redis = await startRedis();
    return () => redis.stop();
  });

  it("that is restarted: the bus says so, follows everything again, then reports the gap", async () => {
    const [one, other] = [openRedisBus(redis.url), openRedisBus(redis.url)];
    const heard = listenTo(other);
    await becomesHealthy(one, other);
    const ids = Array.from({ length: 2_500 }, id);
    await Promise.all(ids.map((one) => other.subscribe(one)));
    const gapsBefore = heard.gaps;
    await redis.stop();
    await vi.waitUntil(() => !other.healthy);
    const during = id();
    await other.subscribe(during); // Resolves at once although nothing can be subscribed now.
    await redis.restart();
    await vi.waitUntil(() => heard.gaps > gapsBefore, 10_000);
    await becomesHealthy(one, other);
    for (const followed of [ids[0] ?? "", ids[2_499] ?? "", during]) one.publish(eventOf({ id: followed, version: 1 }));
    await vi.waitUntil(() => heard.events.length === 3, 10_000);
  });

  it("that stalls is found out, and publishing never waits for it", async () => {
    const bus = openRedisBus(redis.url);
    const heard = listenTo(bus);
    await becomesHealthy(bus);
    redis.stall();
    onTestFinished(() => redis.resume());
    await vi.waitUntil(() => !bus.healthy, 10_000);
    bus.publish(eventOf({ id: id(), version: 1 }));
    expect(heard.events).toHaveLength(1);
    const gapsBefore = heard.gaps;
    redis.resume();
    await vi.waitUntil(() => bus.healthy && heard.gaps > gapsBefore, 10_000);
  });

  it("that is absent at the start is used when it comes", async () => {
    await redis.stop();
    const bus = openRedisBus(redis.url);
    const heard = listenTo(bus);
    expect(bus.healthy).toBe(false);
    await bus.subscribe("early");
    await redis.restart();
    await becomesHealthy(bus);
    expect(heard.gaps).toBe(1);
    const other = openRedisBus(redis.url);
    await becomesHealthy(other);
    other.publish(eventOf({ id: "early", version: 1 }));
    await vi.waitUntil(() => heard.events.length === 1);
  });

  it("that has lost a connection without anybody saying so is published to over a new one", async () => {
    const proxy = await startTcpProxy(redis.url);
    const [one, other] = [openRedisBus(proxy.url), openRedisBus(redis.url)];
    const heard = listenTo(other);
    await becomesHealthy(one, other);
    const followed = id();
    await other.subscribe(followed);
    proxy.blackhole();
    let version = 0;
    await vi.waitUntil(
      () => {
        version += 1;
        one.publish(eventOf({ id: followed, version }));
        return heard.events.length > 0;
      },
      { interval: 50 },
    );
  });
});

// Clusters take seconds to start, and to agree on who is gone.
vi.setConfig({ testTimeout: 60_000 });

/** Orders of which each server of the Cluster has some. */
const manyIds = (): string[] => Array.from({ length: 60 }, id);

/** Waits until a node hears another of all these orders: published again and again, as versions that come again may. */
async function hearsAll(publisher: StatusBus, heard: Heard, ids: readonly string[]): Promise<void> {
  for (const one of ids) publisher.publish(eventOf({ id: one, version: 1 }));
  await vi.waitUntil(() => ids.every((one) => heard.events.some((event) => event.id === one)), 10_000);
  heard.events.length = 0;
}

describe("a Redis Cluster of its own", () => {
  const nodes = async (url: string) => {
    const [one, other] = [openRedisBus(url), openRedisBus(url)];
    const heard = listenTo(other);
    await becomesHealthy(one, other);
    const ids = manyIds();
    await Promise.all(ids.map((each) => other.subscribe(each)));
    await hearsAll(one, heard, ids);
    return { one, other, heard, ids };
  };

  it.each(["yes", "no"])(
    "of which a server stops and comes back (cluster-require-full-coverage %s): the bus says so, follows everything again, then reports the gap",
    async (fullCoverage) => {
      const cluster = await startRedisCluster();
      onTestFinished(cluster.stop);
      for (const { ask } of cluster.servers) await ask("config", "set", "cluster-require-full-coverage", fullCoverage);
      const { one, other, heard, ids } = await nodes(cluster.url);
      const gapsBefore = heard.gaps;
      const [server] = cluster.servers;
      await server?.stop();
      await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
      const during = manyIds();
      await Promise.all(during.map((each) => other.subscribe(each)));
      const left = ids.splice(0, 20);
      for (const each of left) other.unsubscribe(each);
      expect(heard.gaps).toBe(gapsBefore);
      await server?.restart();
      await vi.waitUntil(() => heard.gaps > gapsBefore && other.healthy && one.healthy, 20_000);
      await hearsAll(one, heard, [...ids, ...during]);
    },
  );

  it("of which a server stalls: that is found out, publishing never waits for it, and the others carry on", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    for (const { ask } of cluster.servers) await ask("config", "set", "cluster-require-full-coverage", "no");
    const { one, other, heard, ids } = await nodes(cluster.url);
    const [server] = cluster.servers;
    server?.stall();
    await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
    const carry = () => {
      for (const each of ids) one.publish(eventOf({ id: each, version: 1 }));
      return new Set(heard.events.map((event) => event.id)).size >= ids.length / 3 && heard.events;
    };
    const carried = await vi.waitUntil(carry, { interval: 200, timeout: 10_000 });
    expect(new Set(carried.map((event) => event.id)).size).toBeLessThan(ids.length);
    const gapsBefore = heard.gaps;
    server?.resume();
    await vi.waitUntil(() => other.healthy && one.healthy && heard.gaps > gapsBefore, 20_000);
    heard.events.length = 0;
    await hearsAll(one, heard, ids);
  });

  it("of which a channel moves to another server: it is followed there, then the gap is reported", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    const { one, other, heard, ids } = await nodes(cluster.url);
    const said: string[] = [];
    const told = open(createRedisBus({ url: cluster.url, log: { ...quiet, info: (message) => said.push(message) } }));
    await becomesHealthy(told);
    const [moved = ""] = ids;
    await told.subscribe(moved);
    const [server] = cluster.servers;
    const slot = (await server?.ask("cluster", "keyslot", `tukio:order:${moved}`)) ?? "";
    const owner = await ownerOf(cluster, slot);
    const target = cluster.servers.find((each) => each !== owner);
    const targetId = (await target?.ask("cluster", "myid")) ?? "";
    const gapsBefore = heard.gaps;
    // Whoever gives the slot away last may still be believed by the others.
    for (const each of [target, owner, ...cluster.servers])
      await each?.ask("cluster", "setslot", slot, "node", targetId);
    await vi.waitUntil(() => heard.gaps > gapsBefore && other.healthy && told.healthy, 10_000);
    await hearsAll(one, heard, ids);
    // Meanwhile events may have been lost, and it said so.
    await vi.waitUntil(
      () => said.some((words) => words.includes("does not carry")) && said.at(-1)?.includes("carries"),
    );
    expect(await target?.ask("pubsub", "shardnumsub", `tukio:order:${moved}`)).toMatch(/\b2$/);
  });

  it("of which a server is replaced by its replica: its orders are followed there, then the gap is reported", async () => {
    const cluster = await startRedisCluster({ replicas: 1 });
    onTestFinished(cluster.stop);
    const { one, other, heard, ids } = await nodes(cluster.url);
    const gapsBefore = heard.gaps;
    await cluster.servers[0]?.stop();
    await vi.waitUntil(() => !other.healthy && !one.healthy, 10_000);
    await vi.waitUntil(() => other.healthy && one.healthy && heard.gaps > gapsBefore, 20_000);
    await hearsAll(one, heard, ids);
    // It comes back as the replica of the other.
    await cluster.servers[0]?.restart();
    await hearsAll(one, heard, ids);
  });

  it("that is absent at the start is used when it comes", async () => {
    const cluster = await startRedisCluster();
    onTestFinished(cluster.stop);
    for (const server of cluster.servers) await server.stop();
    const [one, other] = [openRedisBus(cluster.url), openRedisBus(cluster.url)];
    const heard = listenTo(other);
    const ids = manyIds();
    for (const each of ids) await other.subscribe(each);
    expect(other.healthy).toBe(false);
    for (const server of cluster.servers) await server.restart();
    await becomesHealthy(one, other);
    expect(heard.gaps).toBeGreaterThan(0);
    await hearsAll(one, heard, ids);
  });

  it("is found through one server", async () => {
    const bus = openRedisBus(`${cluster.servers[0]?.url},`);
    await becomesHealthy(bus);
    const heard = listenTo(bus);
    const ids = manyIds();
    await Promise.all(ids.map((each) => bus.subscribe(each)));
    const other = openRedisBus(cluster.url);
    await becomesHealthy(other);
    await hearsAll(other, heard, ids);
  });
});

/** The server that has a slot. */
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
