/** Nodes whose clocks are wrong by hours and jump while they run. Every stored time is PostgreSQL's. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import {
  beginJourney,
  createCleanups,
  deliver,
  expectInvariants,
  failure,
  openPushLog,
  openRedis,
  type PushLog,
  success,
  unlimited,
} from "../support/deployment.ts";
import { asMerchant } from "../support/node.ts";
import { type NodeProcess, startProcess } from "../support/process.ts";

// 120 s, because detecting a fault takes longer on a busy machine.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

let databaseUrl: string;
let pushLog: PushLog;
let ahead: NodeProcess;
let behind: NodeProcess;

/** A module loaded before Tukio: it shifts `Date` by `hours` and switches the shift off and on at each SIGUSR2. */
const skew = (hours: number): string =>
  `--import=data:text/javascript,${encodeURIComponent(`
    const Real = Date;
    let offMs = ${hours} * 3_600_000;
    process.on("SIGUSR2", () => { offMs = offMs === 0 ? ${hours} * 3_600_000 : 0; });
    globalThis.Date = class extends Real {
      constructor(...given) { if (given.length > 0) super(...given); else super(Real.now() + offMs); }
      static now() { return Real.now() + offMs; }
    };`)}`;

beforeAll(async () => {
  const cleanups = createCleanups();
  const database = await createDatabase();
  databaseUrl = database.url;
  cleanups.add(database.drop);
  pushLog = await openPushLog(cleanups);
  const redisUrl = await openRedis(cleanups);
  const start = (hours: number): Promise<NodeProcess> =>
    startProcess({
      DATABASE_URL: databaseUrl,
      REDIS_URL: redisUrl,
      ...unlimited,
      DARAJA_DEADLINE_S: "6",
      NODE_OPTIONS: skew(hours),
      ...pushLog.env,
    });
  [ahead, behind] = await Promise.all([start(5), start(-5)]);
  cleanups.add(ahead.close);
  cleanups.add(behind.close);
  return cleanups.runAll;
});

/** A node's clock plus one day: the expiry of a token that it issues. */
async function clockOf(node: NodeProcess, orderId: string): Promise<number> {
  const { body } = await asMerchant(node, `/v1/orders/${orderId}/watch-tokens`, {});
  return Date.parse(body.watchTokenExpiresAt);
}

describe("two nodes with clocks ten hours apart that jump", () => {
  it("expire a payment at its deadline by PostgreSQL's clock, and store rising times (G9)", async () => {
    const paid = await beginJourney(pushLog, [ahead.url, behind.url]);
    const left = await beginJourney(pushLog, [behind.url, ahead.url]);
    for (const one of [paid, left]) onTestFinished(one.close);
    const apart = async (): Promise<number> =>
      Math.round(((await clockOf(ahead, paid.orderId)) - (await clockOf(behind, paid.orderId))) / 3_600_000);
    expect(await apart()).toBe(10);
    // The order starts on one node and ends on the other, whose clock has just jumped.
    await deliver(behind, paid.push, failure);
    await paid.reachVersion(3);
    for (const node of [ahead, behind]) node.process.kill("SIGUSR2");
    await vi.waitUntil(async () => (await apart()) === 0);
    await deliver(ahead, paid.push, success());
    await paid.reachVersion(4);
    // The other payment has no evidence: it expires when its deadline is over by PostgreSQL's clock.
    await left.reachVersion(3);
    await expectInvariants({ databaseUrl, pushLog, url: ahead.url }, [paid, left]);
    const { body } = await asMerchant(ahead, `/v1/orders/${paid.orderId}`);
    const times = body.events.map(({ occurredAt }) => Date.parse(occurredAt));
    expect(times).toEqual(times.toSorted((one, other) => one - other));
    const { body: ended } = await asMerchant(behind, `/v1/orders/${left.orderId}`);
    expect(ended.order).toMatchObject({ status: "expired", reason: "deadline" });
    expect(Date.parse(ended.order.occurredAt)).toBeGreaterThanOrEqual(Date.parse(ended.order.payment.expiresAt));
  });
});
