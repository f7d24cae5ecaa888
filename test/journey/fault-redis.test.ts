/** Redis fails in every known way under two nodes with watchers on all transports. Every watcher gets every newest state. */
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

// 120 s, because detecting a fault takes longer on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let databaseUrl: string;
let redis: TestRedis;
let pushLog: PushLog;
let one: NodeProcess;
let other: NodeProcess;
/** The proxy between each node and Redis. */
let proxies: TcpProxy[];

beforeAll(async () => {
  const cleanups = createCleanups();
  const database = await createDatabase();
  databaseUrl = database.url;
  cleanups.add(database.drop);
  redis = await startRedis();
  cleanups.add(redis.stop);
  pushLog = await openPushLog(cleanups);
  // Redis is absent while the nodes start, which the first test needs.
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

/** Runs a payment that fails during the fault and succeeds after the repair. Watchers join during the fault. */
async function runPayment({ fault, repair }: { fault(): unknown; repair(): unknown }): Promise<void> {
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
  // A repeated webhook on both nodes makes no change and no event.
  for (const node of [one, other, one]) await deliver(node, journey.push, late);
  await expectInvariants({ databaseUrl, pushLog, url: other.url }, [journey]);
}

describe("watchers during a fault of Redis", () => {
  it("get every state when Redis starts after the nodes (G4, G5)", async () => {
    await runPayment({
      async fault() {
        await becomes("down");
      },
      async repair() {
        await redis.restart();
        await becomes("up");
      },
    });
  });

  it("get every state when Redis crashes and restarts empty (G4, G5)", async () => {
    await runPayment({
      async fault() {
        await redis.stop();
        await becomes("down");
      },
      repair: () => redis.restart(),
    });
  });

  it("get every state when Redis stalls and resumes (G4, G5)", async () => {
    await runPayment({
      fault: () => redis.stall(),
      repair: () => redis.resume(),
    });
  });

  it("get every state when all connections turn half-open (G4, G5)", async () => {
    await runPayment({
      fault() {
        for (const proxy of proxies) proxy.blackhole();
      },
      repair: () => becomes("up"),
    });
  });

  it("get every state when one node loses Redis (G4, G5)", async () => {
    await runPayment({
      fault: () => proxies[0]?.cut(),
      repair: () => proxies[0]?.restore(),
    });
  });

  it("get every state when Redis closes its subscribers' connections repeatedly (G4, G5)", async () => {
    const admin = new Redis(redis.url);
    onTestFinished(() => admin.disconnect());
    const kill = () => admin.call("CLIENT", "KILL", "TYPE", "pubsub");
    await runPayment({
      fault: kill,
      async repair() {
        await kill();
        await becomes("up");
        await kill();
      },
    });
  });

  it("get every state when Redis is slow (G4, G5)", async () => {
    await runPayment({
      fault() {
        for (const proxy of proxies) proxy.delay(300);
      },
      repair() {
        for (const proxy of proxies) proxy.restore();
      },
    });
  });
});
