import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Database } from "../../server/database/pool.ts";
import { createStatistics, type Statistics } from "../../server/order/statistics.ts";
import { allowanceOf, failed, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
let statistics: Statistics;
beforeAll(async () => {
  ground = await openTestStore();
  statistics = createStatistics(ground.database);
});
afterAll(() => ground.close());

const run = (text: string, values: unknown[]) => ground.database.pool.query(text, values);

describe("backlog", () => {
  it("counts due payments that no node has claimed, by provider, with the age of the oldest", async () => {
    expect(await statistics.backlog()).toEqual({ queries: [], inReview: 0, unapplied: 0 });
    for (const ageS of [30, 90, -60]) {
      const { payment } = await ground.open();
      await run("update payment set check_at = now() - $2 * interval '1 second' where id = $1", [payment.id, ageS]);
    }
    const other = await ground.open({ provider: "three" });
    await run("update payment set status = 'failed', check_at = now() where id = $1", [other.payment.id]);
    await ground.store.slowQueries("three");
    const { queries } = await statistics.backlog();
    expect(queries).toEqual([
      { provider: "daraja", due: 2, halvings: 0, oldestS: expect.any(Number) },
      { provider: "three", due: 1, halvings: 1, oldestS: expect.any(Number) },
    ]);
    expect(queries[0]?.oldestS).toBeGreaterThanOrEqual(90);
    expect(queries[0]?.oldestS).toBeLessThan(120);
    expect(await ground.store.claimDue([allowanceOf()])).toHaveLength(2);
    expect((await statistics.backlog()).queries).toEqual([
      { provider: "daraja", due: 0, halvings: 0, oldestS: 0 },
      { provider: "three", due: 1, halvings: 1, oldestS: expect.any(Number) },
    ]);
    await run("update payment set status = 'pending', check_at = null where id = $1", [other.payment.id]);
  });
});

describe("succeededShares", () => {
  it("covers the settled payments that were started in the last 24 hours, by provider", async () => {
    const outcomes = [paid(), paid(), failed(), failed({ status: "expired", reason: "no_response" }), undefined];
    for (const outcome of outcomes) {
      const { payment } = await ground.open({ provider: "one" });
      if (outcome) await ground.store.advance(payment.id, outcome);
    }
    const { payment } = await ground.open({ provider: "two" });
    await ground.store.advance(payment.id, failed());
    await ground.open({ provider: "three" });
    const old = await ground.open({ provider: "one" });
    await ground.store.advance(old.payment.id, paid());
    await run("update payment set started_at = now() - interval '25 hours' where id = $1", [old.payment.id]);
    expect(await createStatistics(ground.database).succeededShares()).toEqual(
      new Map([
        ["one", 0.5],
        ["two", 0],
      ]),
    );
  });

  it("counts every attempt of an order", async () => {
    const first = await ground.open({ provider: "three" });
    await ground.store.advance(first.payment.id, failed());
    const { orderId } = first.event;
    const second = await ground.open({ provider: "three", orderId });
    await ground.store.advance(second.payment.id, paid());
    expect((await createStatistics(ground.database).succeededShares()).get("three")).toBe(0.5);
  });
});

describe("reads of the shares", () => {
  it("are one statement in 30 s for any number of callers, and are repeated after a failure", async () => {
    let nowMs = 0;
    let readings = 0;
    let failure: Error | undefined;
    const pool = {
      async query() {
        readings += 1;
        if (failure) throw failure;
        return [{ rows: [] }, { rows: [{ provider: "one", share: readings }] }];
      },
    } as unknown as Database["pool"];
    const { succeededShares } = createStatistics({ ...ground.database, pool }, () => nowMs);
    const read = async () => (await succeededShares()).get("one");
    expect(await Promise.all([read(), read(), read()])).toEqual([1, 1, 1]);
    nowMs = 29_999;
    expect(await read()).toBe(1);
    nowMs = 30_000;
    failure = new Error("connection lost");
    const refused = await Promise.allSettled([read(), read()]);
    expect(refused.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(readings).toBe(2);
    failure = undefined;
    expect(await Promise.all([read(), read()])).toEqual([3, 3]);
  });
});

describe("backlog of reviews", () => {
  it("counts orders in review until full evidence of a success arrives", async () => {
    const one = await ground.open();
    const two = await ground.open();
    for (const { payment } of [one, two]) await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    expect(await statistics.backlog()).toMatchObject({ inReview: 2 });
    await ground.store.advance(one.payment.id, paid());
    expect(await statistics.backlog()).toMatchObject({ inReview: 1 });
    await ground.store.advance(two.payment.id, paid());
  });
});
