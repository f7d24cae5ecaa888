/** PostgreSQL fails in every known way under two nodes with watchers on all transports. No guarantee is broken. */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import {
  beginJourney,
  createCleanups,
  deliver,
  expectInvariants,
  failure,
  type Journey,
  openPushLog,
  openRedis,
  type PushLog,
  post,
  success,
  unlimited,
} from "../support/deployment.ts";
import { asMerchant, call, nodeAt, pay } from "../support/node.ts";
import { startPostgres, type TestPostgres } from "../support/postgres.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";
import { clientNames, startReconnectingWatch } from "../support/reconnecting-watch.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

// 120 s, because detecting a fault takes longer on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let postgres: TestPostgres;
let pushLog: PushLog;
let one: NodeProcess;
let other: NodeProcess;
/** The proxy between each node and PostgreSQL. */
let proxies: [TcpProxy, TcpProxy];

beforeAll(async () => {
  const cleanups = createCleanups();
  postgres = await startPostgres();
  cleanups.add(postgres.close);
  pushLog = await openPushLog(cleanups);
  proxies = [await startTcpProxy(postgres.url, cleanups.add), await startTcpProxy(postgres.url, cleanups.add)];
  const redisUrl = await openRedis(cleanups);
  const start = ({ url }: TcpProxy): Promise<NodeProcess> =>
    startProcess({ DATABASE_URL: url, REDIS_URL: redisUrl, ...unlimited, ...pushLog.env });
  // One after the other, because the first node creates the tables.
  one = await start(proxies[0]);
  cleanups.add(one.close);
  other = await start(proxies[1]);
  cleanups.add(other.close);
  return cleanups.runAll;
});

const storeOf = async ({ url }: NodeProcess): Promise<unknown> =>
  ((await call(`${url}/readyz`)).body as unknown as { postgres: string }).postgres;

const becomes = (state: "up" | "down", ...nodes: NodeProcess[]): Promise<unknown> =>
  vi.waitUntil(async () => (await Promise.all(nodes.map(storeOf))).every((found) => found === state), {
    timeout: 30_000,
    interval: 50,
  });

const begin = async (): Promise<Journey> => {
  const journey = await beginJourney(pushLog, [one.url, other.url]);
  onTestFinished(journey.close);
  return journey;
};

const checkInvariants = (journeys: readonly Journey[]): Promise<void> =>
  expectInvariants({ databaseUrl: postgres.url, pushLog, url: other.url }, journeys);

/** Delivers every payment's webhook until it is acknowledged, and not again: an acknowledged webhook must be on disk. */
async function settle(journeys: readonly Journey[], interrupt: () => Promise<void>): Promise<void> {
  const delivered = journeys.map(({ push }) => deliver(one, push, success()));
  await interrupt();
  await Promise.all(delivered);
  await Promise.all(journeys.map(({ reachVersion }) => reachVersion(3)));
}

describe("a deployment", () => {
  it("loses no webhook when PostgreSQL crashes and restarts (G1, G4)", async () => {
    const journeys = await Promise.all(Array.from({ length: 4 }, begin));
    const spooled = await begin();
    await settle(journeys, async () => {
      await postgres.crash();
      await becomes("down", one, other);
      // The node that did not initiate the payment acknowledges the webhook without a database. It is not repeated.
      expect(await post(other, spooled.push, success())).toBe(200);
      // These watchers cannot get a state yet.
      journeys[0]?.addWatchers(one.url);
      await postgres.restart();
      for (const proxy of proxies) proxy.targets = [postgres.url];
    });
    await spooled.reachVersion(3);
    await checkInvariants([...journeys, spooled]);
  });

  it("makes new watchers reconnect until they get the state (G4)", async () => {
    const { order, watchToken: token } = await pay(nodeAt(one.url));
    const { orderId } = order;
    (await pushLog.push(order.payment.id)).accept();
    await committed({ orderId }, 2);
    const streams = (): number => one.output().split("/events?").length;
    const before = streams();
    for (const proxy of proxies) proxy.cut();
    const watches = clientNames.map((client) => startReconnectingWatch(client, { url: one.url, orderId, token }));
    onTestFinished(() => {
      for (const watch of watches) watch.close();
    });
    // The node logs a stream when it ends. The line masks an order id with many digits as a phone number.
    await vi.waitUntil(() => streams() > before);
    for (const proxy of proxies) proxy.restore();
    await Promise.all(watches.map(({ until }) => until(({ version }) => version === 2)));
    expect(watches.filter(({ refusals }) => refusals > 0)).toEqual([]);
    await becomes("up", one, other);
  });

  it("answers 503 in time and loses no webhook when PostgreSQL stalls and resumes (G1, G4)", async () => {
    const journey = await begin();
    await settle([journey], async () => {
      for (const proxy of proxies) proxy.stall("requests", "answers");
      await becomes("down", one, other);
      // A request that needs the database gets an answer before its client gives up.
      expect(await asMerchant(other, `/v1/orders/${journey.orderId}`)).toMatchObject({
        status: 503,
        body: { code: "store_unavailable", retryable: true },
      });
      for (const proxy of proxies) proxy.restore();
    });
    await becomes("up", one, other);
    await checkInvariants([journey]);
  });

  it("loses no webhook when all connections turn half-open (G1, G4)", async () => {
    const journey = await begin();
    await settle([journey], async () => {
      for (const proxy of proxies) proxy.blackhole();
    });
    await becomes("up", one, other);
    // The other node's connections are half-open too: the first one that fails replaces them all.
    await vi.waitUntil(async () => (await asMerchant(other, `/v1/orders/${journey.orderId}`)).status === 200, {
      timeout: 30_000,
    });
    await checkInvariants([journey]);
  });

  it("makes one change and one event when PostgreSQL commits and its answer is lost (G6)", async () => {
    const journey = await begin();
    const lock = await lockOrder(journey);
    const unanswered = post(one, journey.push, success());
    await lock.isWaitedFor();
    proxies[0].stall("answers");
    await lock.release();
    await committed(journey, 3);
    proxies[0].drop();
    proxies[0].restore();
    // 200 when the second statement stored the webhook, else 503: an acknowledged webhook is never lost.
    expect([200, 503]).toContain(await unanswered);
    await deliver(other, journey.push, success());
    await journey.reachVersion(3);
    await checkInvariants([journey]);
    expect((await asMerchant(other, `/v1/orders/${journey.orderId}`)).body.events).toHaveLength(3);
  });

  it("takes webhooks and refuses requests when the pool is exhausted", async () => {
    const [blocked, free] = [await begin(), await begin()];
    await deliver(one, blocked.push, failure);
    await blocked.reachVersion(3);
    const lock = await lockOrder(blocked);
    // Each request holds a connection while it waits for the order's lock.
    const { orderId } = blocked;
    const tries = Array.from({ length: 20 }, () =>
      asMerchant(nodeAt(one.url), "/v1/payments", {
        orderId,
        amountMinor: 15_000,
        currency: "KES",
        provider: "daraja",
        phone: "+254712345600",
      }),
    );
    const refused = await Promise.race(tries);
    expect(refused).toMatchObject({ status: 503, body: { code: "store_unavailable" } });
    expect(await post(one, free.push, success())).toBe(200);
    await free.reachVersion(3);
    await lock.release();
    const answers = await Promise.all(tries);
    // At most one attempt started. It has one push.
    expect(answers.filter(({ status }) => status === 202).length).toBeLessThan(2);
    const attempt = answers.find(({ status }) => status === 202)?.body.order.payment.id;
    if (attempt !== undefined) (await pushLog.push(attempt)).accept();
    else await deliver(one, blocked.push, success());
    await blocked.reachVersion(attempt === undefined ? 4 : 5);
    await checkInvariants([blocked, free]);
  });
});

/** Locks the order's row from another session. */
async function lockOrder({ orderId }: Pick<Journey, "orderId">): Promise<{
  isWaitedFor(): Promise<unknown>;
  release(): Promise<unknown>;
}> {
  const client = new pg.Client(postgres.url);
  await client.connect();
  onTestFinished(() => client.end());
  await client.query("begin");
  await client.query('select from "order" where order_id = $1 for update', [orderId]);
  const waiting = "select from pg_stat_activity where pg_backend_pid() = any (pg_blocking_pids(pid))";
  return {
    isWaitedFor: () => vi.waitUntil(async () => (await client.query(waiting)).rowCount, { interval: 10 }),
    release: () => client.query("commit"),
  };
}

/** Waits until the order's version is committed, without asking a node. */
async function committed({ orderId }: Pick<Journey, "orderId">, version: number): Promise<void> {
  const client = new pg.Client(postgres.url);
  await client.connect();
  try {
    const look = () => client.query('select from "order" where order_id = $1 and version >= $2', [orderId, version]);
    await vi.waitUntil(async () => (await look()).rowCount === 1, { interval: 10 });
  } finally {
    await client.end();
  }
}
