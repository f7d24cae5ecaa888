/** Redis breaks in every way it can, under two nodes with watchers on all transports: nobody is left behind. */
import { Redis } from "ioredis";
import { beforeAll, describe, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import {
  beginJourney,
  createCleanups,
  deliver,
  expectInvariants,
  failure,
  openPushLog,
  type PushLog,
  success,
  unlimited,
} from "../support/deployment.ts";
import { call } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { startRedis, type TestRedis } from "../support/redis.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

// Faults take as long to be found as they take; a busy machine longer.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let databaseUrl: string;
let redis: TestRedis;
let pushLog: PushLog;
let one: NodeProcess;
let other: NodeProcess;
/** Each node's way to Redis. */
let proxies: TcpProxy[];

beforeAll(async () => {
  const cleanups = createCleanups();
  const database = await createDatabase();
  databaseUrl = database.url;
  cleanups.add(database.drop);
  redis = await startRedis();
  cleanups.add(redis.stop);
  pushLog = await openPushLog(cleanups);
  // Absent while the nodes start: the first test finds it so.
  await redis.stop();
  proxies = [await startTcpProxy(redis.url, cleanups.add), await startTcpProxy(redis.url, cleanups.add)];
  [one, other] = (await Promise.all(
    proxies.map(({ url }) => startProcess({ DATABASE_URL: databaseUrl, REDIS_URL: url, ...unlimited, ...pushLog.env })),
  )) as [NodeProcess, NodeProcess];
  cleanups.add(one.close);
  cleanups.add(other.close);
  return cleanups.runAll;
});

const busOf = async ({ url }: NodeProcess): Promise<unknown> =>
  ((await call(`${url}/readyz`)).body as unknown as { bus: string }).bus;

const becomes = (state: "up" | "down"): Promise<unknown> =>
  vi.waitUntil(async () => (await busOf(one)) === state && (await busOf(other)) === state, {
    timeout: 20_000,
    interval: 20,
  });

/** A payment fails while Redis is broken and is paid after all when it works again; some come to watch meanwhile. */
async function live({ fault, repair }: { fault(): unknown; repair(): unknown }): Promise<void> {
  const journey = await beginJourney(pushLog, [one.url, other.url]);
  onTestFinished(journey.close);
  await fault();
  await deliver(one, journey.push, failure);
  journey.addWatchers(other.url);
  await journey.reachVersion(3);
  await repair();
  const late = success();
  await deliver(one, journey.push, late);
  await journey.reachVersion(4);
  await becomes("up");
  // Told again, on both nodes, by a provider that forgot: no change and no event.
  for (const node of [one, other, one]) await deliver(node, journey.push, late);
  await expectInvariants({ databaseUrl, pushLog, url: other.url }, [journey]);
}

describe("watchers have every state, in order, while Redis", () => {
  it("is absent from the start and comes later", async () => {
    await live({
      async fault() {
        await becomes("down");
      },
      async repair() {
        await redis.restart();
        await becomes("up");
      },
    });
  });

  it("is killed and comes back empty", async () => {
    await live({
      async fault() {
        await redis.stop();
        await becomes("down");
      },
      repair: () => redis.restart(),
    });
  });

  it("stalls, and goes on", async () => {
    await live({
      fault: () => redis.stall(),
      repair: () => redis.resume(),
    });
  });

  it("has lost its connections without anybody saying so", async () => {
    await live({
      fault() {
        for (const proxy of proxies) proxy.blackhole();
      },
      repair: () => becomes("up"),
    });
  });

  it("has a cable that is cut on one node only", async () => {
    await live({
      fault: () => proxies[0]?.cut(),
      repair: () => proxies[0]?.restore(),
    });
  });

  it("ends its subscribers' connections, again and again", async () => {
    const admin = new Redis(redis.url);
    onTestFinished(() => admin.disconnect());
    const kill = () => admin.call("CLIENT", "KILL", "TYPE", "pubsub");
    await live({
      fault: kill,
      async repair() {
        await kill();
        await becomes("up");
        await kill();
      },
    });
  });

  it("is slow", async () => {
    await live({
      fault() {
        for (const proxy of proxies) proxy.delay(300);
      },
      repair() {
        for (const proxy of proxies) proxy.restore();
      },
    });
  });
});
