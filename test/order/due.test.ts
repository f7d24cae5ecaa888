/** Due payments and what queries may decide: shared without asking twice, a failure only when told twice. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { claimDueStatement } from "../../server/order/due.ts";
import type { Outcome } from "../../server/order/order.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** Moves a payment's whole past back, as if it had been asked for so long ago. */
const age = (paymentId: string, seconds: number) =>
  ground.database.pool.query(
    `update payment set started_at = started_at - $2 * interval '1 second', expires_at = expires_at - $2 * interval '1 second',
       check_at = check_at - $2 * interval '1 second', suspected_at = suspected_at - $2 * interval '1 second' where id = $1`,
    [paymentId, seconds],
  );

const checkInS = async (paymentId: string): Promise<number | null> => {
  const { rows } = await ground.database.pool.query<{ s: number | null }>(
    "select round(extract(epoch from check_at - clock_timestamp()))::int as s from payment where id = $1",
    [paymentId],
  );
  return rows[0]?.s ?? null;
};

const dueIds = async (limit = 100): Promise<string[]> => (await ground.store.claimDue(limit)).map(({ id }) => id);

const said: Outcome = { status: "failed", reason: "cancelled", source: "query" };

describe("a payment that is due to be asked about", () => {
  it("is asked 10, 15, 20 and 30 s after it began, then every 60 s, and at its deadline", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120 });
    expect(await checkInS(payment.id)).toBe(10);
    for (const [afterS, nextInS] of [
      [10, 5],
      [5, 5],
      [5, 10],
      [10, 60],
      [60, 30],
    ] as const) {
      expect(await dueIds()).not.toContain(payment.id);
      await age(payment.id, afterS);
      expect(await dueIds()).toContain(payment.id);
      expect(await checkInS(payment.id)).toBe(nextInS);
    }
    await age(payment.id, 30);
    const [due] = (await ground.store.claimDue(100)).filter(({ id }) => id === payment.id);
    expect(due).toMatchObject({ isOver: true, isLongOver: false, status: "pending", amountMinor: 15_000n });
    await age(payment.id, 120);
    expect((await ground.store.claimDue(100)).find(({ id }) => id === payment.id)).toMatchObject({ isLongOver: true });
  });

  it("is taken by one of many nodes, each payment once", async () => {
    const opened = await Promise.all(Array.from({ length: 40 }, () => ground.open({ live: true })));
    await Promise.all(opened.map(({ payment }) => age(payment.id, 11)));
    const nodes = [1, 2, 3].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, bareProviders: [] }),
    );
    const taken: string[] = [];
    for (let found = 1; found > 0; ) {
      const claims = await Promise.all(nodes.map((node) => node.claimDue(5)));
      found = claims.flat().length;
      taken.push(...claims.flat().map(({ id }) => id));
    }
    const ours = taken.filter((id) => opened.some(({ payment }) => payment.id === id));
    expect(ours.toSorted()).toEqual(opened.map(({ payment }) => payment.id).toSorted());
  });

  it("is asked for late money 5 min, 1 h and 24 h after its deadline, and then left alone", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120 });
    await age(payment.id, 120);
    await ground.store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
    expect(await checkInS(payment.id)).toBe(300);
    for (const [afterS, nextInS] of [
      [300, 3_300],
      [3_300, 82_800],
      [82_800, null],
    ] as const) {
      await age(payment.id, afterS);
      expect(await dueIds()).toContain(payment.id);
      expect(await checkInS(payment.id)).toBe(nextInS);
    }
  });

  it("is found through its index, however many are scheduled for later", async () => {
    const client = await ground.database.pool.connect();
    // The table is small here; the planner is asked what it can do, not what it prefers.
    await client.query("begin; set local enable_seqscan = off");
    const { rows } = await client.query<{ "QUERY PLAN": string }>(
      `explain ${claimDueStatement.text.replace("$1", "50")}`,
    );
    await client.query("rollback");
    client.release();
    const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
    expect(plan).toMatch(/Index Cond: \(check_at <= statement_timestamp\(\)\)/);
  });

  it("is not asked about any more when it is paid or in review, also after a hint", async () => {
    const one = await ground.open();
    await ground.store.advance(one.payment.id, paid());
    const two = await ground.open();
    await ground.store.advance(two.payment.id, paid({ amountMinor: 1n }));
    for (const { payment } of [one, two]) {
      await ground.store.nudge(payment.id);
      expect(await checkInS(payment.id)).toBeNull();
    }
  });
});

describe("a failure that only a query tells of", () => {
  it("settles when it is told twice, 15 s apart, of a prompt that is a minute old", async () => {
    const { event, payment } = await ground.open({ live: true });
    await ground.store.advance(payment.id, said);
    expect(await checkInS(payment.id)).toBe(10); // The schedule is sooner than the minute.
    await age(payment.id, 30);
    await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order.status).toBe("pending");
    await age(payment.id, 30);
    await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order).toMatchObject({
      status: "failed",
      reason: "cancelled",
      version: 2,
    });
  });

  it("is asked again after 15 s, not only when the schedule says so", async () => {
    const { event, payment } = await ground.open({ live: true, deadlineS: 600 });
    await age(payment.id, 100);
    await dueIds();
    expect(await checkInS(payment.id)).toBe(60);
    await ground.store.advance(payment.id, said);
    expect(await checkInS(payment.id)).toBe(15);
    await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order.status).toBe("pending");
    await age(payment.id, 15);
    await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order.status).toBe("failed");
  });

  it("starts again when another answer comes in between", async () => {
    const { event, payment } = await ground.open({ live: true, deadlineS: 600 });
    await age(payment.id, 100);
    for (const between of [
      { status: "processing", source: "query" },
      { status: "failed", reason: "insufficient_funds", source: "query" },
    ] as const) {
      await ground.store.advance(payment.id, said);
      await age(payment.id, 20);
      await ground.store.advance(payment.id, between);
      await ground.store.advance(payment.id, said);
      expect((await ground.view(event.orderId)).order.settled).toBe(false);
    }
  });

  it("in the sandbox needs 1 s and 3 s", async () => {
    const { event, payment } = await ground.open({ live: false });
    await ground.store.advance(payment.id, said);
    await age(payment.id, 3);
    await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order.status).toBe("failed");
  });

  it("does not stand in the way of a webhook, whichever comes first", async () => {
    const one = await ground.open({ live: true });
    await ground.store.advance(one.payment.id, said);
    await ground.store.advance(one.payment.id, { ...said, source: "webhook" });
    expect((await ground.view(one.event.orderId)).order).toMatchObject({ status: "failed", version: 2 });
    const two = await ground.open({ live: true });
    await Promise.all([
      ground.store.advance(two.payment.id, said),
      ground.store.advance(two.payment.id, paid()),
      ground.store.advance(two.payment.id, { status: "succeeded", source: "query" }),
    ]);
    const { order, events } = await ground.view(two.event.orderId);
    expect(order.status).toBe("succeeded");
    expect(events.map(({ version }) => version)).toEqual(events.map((_, index) => index + 1));
  });

  it("never takes back a success", async () => {
    const { event, payment } = await ground.open({ live: true });
    await ground.store.advance(payment.id, paid());
    await age(payment.id, 100);
    for (const _ of [1, 2]) await ground.store.advance(payment.id, said);
    expect((await ground.view(event.orderId)).order).toMatchObject({ status: "succeeded", version: 2 });
  });
});
