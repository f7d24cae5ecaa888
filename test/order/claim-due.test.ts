/** Claims of due payments, the pace of queries, and what a query may decide. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PaymentDraft } from "../../server/order/draft.ts";
import type { Outcome } from "../../server/order/order.ts";
import type { Allowance } from "../../server/order/schedule.ts";
import { createStatistics } from "../../server/order/statistics.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { allowanceOf, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** Moves all times of a payment back, as if it had started `seconds` earlier. */
const age = (paymentId: string, seconds: number) =>
  ground.database.pool.query(
    `update payment set started_at = started_at - $2 * interval '1 second', expires_at = expires_at - $2 * interval '1 second',
       check_at = check_at - $2 * interval '1 second', suspected_at = suspected_at - $2 * interval '1 second' where id = $1`,
    [paymentId, seconds],
  );

/**
 * Expects the next check in `expectedS` seconds, or no check for null. Allows 4 s, because a busy machine may need them and no two
 * times of the schedule are that close.
 */
async function expectCheckIn(paymentId: string, expectedS: number | null): Promise<void> {
  const { rows } = await ground.database.pool.query<{ s: number | null }>(
    // The column has milliseconds and may have been rounded up.
    "select ceil(extract(epoch from check_at - interval '1 millisecond' - clock_timestamp()))::int as s from payment where id = $1",
    [paymentId],
  );
  const s = rows[0]?.s ?? null;
  if (expectedS === null || s === null) return expect(s).toBe(expectedS);
  expect(s).toBeLessThanOrEqual(expectedS);
  expect(s).toBeGreaterThan(expectedS - 5);
}

const dueIds = async (allowance: Partial<Allowance> = {}): Promise<string[]> =>
  (await ground.store.claimDue([allowanceOf(allowance)])).map(({ id }) => id);

const queryFailure: Outcome = { status: "failed", reason: "cancelled", source: "query" };

describe("claimDue", () => {
  it("claims a payment 10, 15, 20 and 30 s after its start, then every 60 s, and at its deadline (G9)", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120 });
    await expectCheckIn(payment.id, 10);
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
      await expectCheckIn(payment.id, nextInS);
    }
    await age(payment.id, 30);
    const [due] = (await ground.store.claimDue([allowanceOf()])).filter(({ id }) => id === payment.id);
    expect(due).toMatchObject({ isOver: true, isLongOver: false, status: "pending", amountMinor: 15_000n });
    await age(payment.id, 120);
    expect((await ground.store.claimDue([allowanceOf()])).find(({ id }) => id === payment.id)).toMatchObject({
      isLongOver: true,
    });
  });

  it("gives each payment to one of several nodes", async () => {
    const opened = await Promise.all(Array.from({ length: 40 }, () => ground.open({ live: true })));
    await Promise.all(opened.map(({ payment }) => age(payment.id, 11)));
    const nodes = [1, 2, 3].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [] }),
    );
    const claimed: string[] = [];
    for (let found = 1; found > 0; ) {
      const claims = await Promise.all(nodes.map((node) => node.claimDue([allowanceOf({ free: 5 })])));
      found = claims.flat().length;
      claimed.push(...claims.flat().map(({ id }) => id));
    }
    const ours = claimed.filter((id) => opened.some(({ payment }) => payment.id === id));
    expect(ours.toSorted()).toEqual(opened.map(({ payment }) => payment.id).toSorted());
  });

  it("claims an expired payment 5 min, 1 h and 24 h after its deadline, and then never again", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120 });
    await age(payment.id, 120);
    await ground.store.advance(payment.id, { status: "expired", reason: "deadline", source: "clock" });
    await expectCheckIn(payment.id, 300);
    for (const [afterS, nextInS] of [
      [300, 3_300],
      [3_300, 82_800],
      [82_800, null],
    ] as const) {
      await age(payment.id, afterS);
      expect(await dueIds()).toContain(payment.id);
      await expectCheckIn(payment.id, nextInS);
    }
  });

  it("reports a payment with a deadline of 15 s as long over after 30 s, not a minute later (G9)", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 15 });
    await age(payment.id, 15);
    expect(await dueIds()).toContain(payment.id);
    await expectCheckIn(payment.id, 15);
    await age(payment.id, 15);
    expect((await ground.store.claimDue([allowanceOf()])).find(({ id }) => id === payment.id)).toMatchObject({
      isLongOver: true,
      // The time for its last query.
      leftMs: 0,
    });
    await expectCheckIn(payment.id, 60);
  });

  it("schedules the first query when the provider can have an answer, and the next ones at the provider's own times", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120, firstCheckS: 30 });
    await expectCheckIn(payment.id, 30);
    await age(payment.id, 30);
    expect(await dueIds({ checksAtS: [30, 60] })).toContain(payment.id);
    await expectCheckIn(payment.id, 30);
  });

  it("claims a payment of a provider that is not enabled, so that it expires at its deadline (G9)", async () => {
    const { payment } = await ground.open({ provider: "gone", live: true, deadlineS: 10 });
    await age(payment.id, 10);
    const [due] = (await ground.store.claimDue([])).filter(({ id }) => id === payment.id);
    expect(due).toMatchObject({ provider: "gone", isOver: true, mayAsk: true });
  });

  it("schedules no check for a payment that is paid or in review, even after `checkNow`", async () => {
    const one = await ground.open();
    await ground.store.advance(one.payment.id, paid());
    const two = await ground.open();
    await ground.store.advance(two.payment.id, paid({ amountMinor: 1n }));
    for (const { payment } of [one, two]) {
      await ground.store.checkNow(payment.id);
      await expectCheckIn(payment.id, null);
    }
  });
});

describe("failure reported only by a query", () => {
  it("is recorded when a second query repeats it 15 s later and the prompt is a minute old", async () => {
    const { event, payment } = await ground.open({ live: true });
    await ground.store.advance(payment.id, queryFailure);
    await expectCheckIn(payment.id, 10); // The scheduled check comes before the prompt is a minute old.
    await age(payment.id, 30);
    await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order.status).toBe("pending");
    await age(payment.id, 30);
    await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order).toMatchObject({
      status: "failed",
      reason: "cancelled",
      version: 2,
    });
  });

  it("is checked again after 15 s, before the next scheduled query", async () => {
    const { event, payment } = await ground.open({ live: true, deadlineS: 600 });
    await age(payment.id, 100);
    await dueIds();
    await expectCheckIn(payment.id, 60);
    await ground.store.advance(payment.id, queryFailure);
    await expectCheckIn(payment.id, 15);
    await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order.status).toBe("pending");
    await age(payment.id, 15);
    await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order.status).toBe("failed");
  });

  it("needs another confirmation after a different answer in between", async () => {
    const { event, payment } = await ground.open({ live: true, deadlineS: 600 });
    await age(payment.id, 100);
    for (const between of [
      { status: "processing", source: "query" },
      { status: "failed", reason: "insufficient_funds", source: "query" },
    ] as const) {
      await ground.store.advance(payment.id, queryFailure);
      await age(payment.id, 20);
      await ground.store.advance(payment.id, between);
      await ground.store.advance(payment.id, queryFailure);
      expect((await ground.view(event.orderId)).order.settled).toBe(false);
    }
  });

  it("is confirmed in the sandbox by a query 1 s later, when the prompt is 3 s old", async () => {
    const { event, payment } = await ground.open({ live: false });
    await ground.store.advance(payment.id, queryFailure);
    await age(payment.id, 3);
    await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order.status).toBe("failed");
  });

  it("never blocks a webhook, whichever arrives first (G3)", async () => {
    const one = await ground.open({ live: true });
    await ground.store.advance(one.payment.id, queryFailure);
    await ground.store.advance(one.payment.id, { ...queryFailure, source: "webhook" });
    expect((await ground.view(one.event.orderId)).order).toMatchObject({ status: "failed", version: 2 });
    const two = await ground.open({ live: true });
    await Promise.all([
      ground.store.advance(two.payment.id, queryFailure),
      ground.store.advance(two.payment.id, paid()),
      ground.store.advance(two.payment.id, { status: "succeeded", source: "query" }),
    ]);
    const { order, events } = await ground.view(two.event.orderId);
    expect(order.status).toBe("succeeded");
    expect(events.map(({ version }) => version)).toEqual(events.map((_, index) => index + 1));
  });

  it("never takes back a success (G2)", async () => {
    const { event, payment } = await ground.open({ live: true });
    await ground.store.advance(payment.id, paid());
    await age(payment.id, 100);
    for (const _ of [1, 2]) await ground.store.advance(payment.id, queryFailure);
    expect((await ground.view(event.orderId)).order).toMatchObject({ status: "succeeded", version: 2 });
  });
});

describe("pace of queries", () => {
  let providers = 0;

  /** Opens `count` due payments with a provider of their own. The last one has the nearest deadline. */
  const openDue = async (count: number, draft: Partial<PaymentDraft> = {}) => {
    providers += 1;
    const provider = `paced-${providers}`;
    const payments: string[] = [];
    for (let nth = 0; nth < count; nth += 1) {
      const { payment } = await ground.open({ provider, live: true, deadlineS: 600 - nth, ...draft });
      await age(payment.id, 20);
      payments.push(payment.id);
    }
    await ground.store.preparePace([provider]);
    // A claim may also return payments that other tests left due.
    const claim = async (allowance: Partial<Allowance> = {}, store = ground.store) =>
      (await store.claimDue([allowanceOf({ provider, perMinute: 6, ...allowance })])).filter(
        (due) => due.provider === provider,
      );
    return { provider, payments, claim, ids: async () => (await claim()).map(({ id }) => id) };
  };

  /** Moves the pace's times back, as if `seconds` had passed. */
  const pass = (provider: string, seconds: number) =>
    ground.database.pool.query(
      `update query_pace set next_at = next_at - $2 * interval '1 second', halved_at = halved_at - $2 * interval '1 second'
       where provider = $1`,
      [provider, seconds],
    );

  it("allows `perMinute` queries, those with the nearest deadline first, and keeps the other payments due", async () => {
    const { provider, payments, ids } = await openDue(3);
    const [first, second, third] = payments;
    expect(await ids()).toEqual([third]);
    expect(await ids()).toEqual([]);
    await pass(provider, 5);
    expect(await ids()).toEqual([]);
    await pass(provider, 5);
    expect(await ids()).toEqual([second]);
    await pass(provider, 1_000);
    // Unused permits do not accumulate.
    expect(await ids()).toEqual([first]);
  });

  it("is shared by all nodes", async () => {
    const { claim } = await openDue(6);
    const nodes = [1, 2, 3].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [] }),
    );
    const claims = await Promise.all(nodes.map((node) => claim({ perMinute: 120 }, node)));
    // The burst is the permits of one second: two.
    expect(claims.flat()).toHaveLength(2);
    expect(await claim({ perMinute: 120 })).toHaveLength(0);
  });

  it("allows queries of open payments before those of settled ones", async () => {
    const { payments, provider, ids } = await openDue(2);
    const [settled = "", open = ""] = payments;
    await ground.store.advance(settled, { status: "failed", reason: "cancelled", source: "webhook" });
    await ground.database.pool.query(
      "update payment set check_at = started_at, expires_at = started_at where id = $1",
      [settled],
    );
    expect(await ids()).toEqual([open]);
    await pass(provider, 10);
    expect(await ids()).toEqual([settled]);
  });

  it("lets payments past twice their time end without a query (G9)", async () => {
    const { provider, payments, claim } = await openDue(3);
    await ground.store.slowQueries(provider, 300);
    expect(await claim()).toEqual([]);
    for (const id of payments) await age(id, 1_200);
    const due = await claim();
    expect(due.map(({ mayAsk, isLongOver }) => [mayAsk, isLongOver])).toEqual(payments.map(() => [false, true]));
  });

  it("never ends a payment without a query where only a node's own capacity limits the queries", async () => {
    const { payments, claim } = await openDue(30);
    for (const id of payments) await age(id, 1_200);
    const queried: string[] = [];
    // The state after an outage: many payments are past twice their time, and each claim takes four.
    while (queried.length < 30) {
      const due = await claim({ perMinute: undefined, free: 4 });
      expect(due.length).toBeGreaterThan(0);
      expect(due.every(({ mayAsk }) => mayAsk)).toBe(true);
      queried.push(...due.map(({ id }) => id));
    }
    expect(queried.toSorted()).toEqual(payments.toSorted());
  });

  it("is used in full on average, although a node claims only twice a second", async () => {
    const { provider } = await openDue(20);
    let queries = 0;
    // 90 a minute is one query in 2/3 s, so that 15 of 20 claims, half a second apart, get one.
    const claim = async () =>
      (await ground.store.claimDue([allowanceOf({ provider, perMinute: 90 })])).filter(
        (due) => due.provider === provider,
      );
    for (let claims = 0; claims < 20; claims += 1) {
      queries += (await claim()).length;
      await pass(provider, 0.5);
    }
    expect(queries).toBeGreaterThanOrEqual(14);
  });

  it("is not spent on payments that cannot be queried without a reference", async () => {
    const { payments, claim } = await openDue(3);
    const [known = ""] = payments;
    await ground.store.advance(known, { status: "processing", reference: `ws-${known}`, source: "reply" });
    const due = await claim({ needsReference: true });
    expect(due.map(({ id }) => id).toSorted()).toEqual(payments.toSorted());
    expect(due.every(({ mayAsk }) => mayAsk)).toBe(true);
  });

  it("is halved once for simultaneous rate-limit answers, and recovers in steps of two minutes", async () => {
    const { provider, claim } = await openDue(40);
    const statistics = createStatistics(ground.database);
    const halvings = async () =>
      (await statistics.backlog()).queries.find((one) => one.provider === provider)?.halvings;
    const free = { perMinute: undefined, free: 1 };
    expect(await claim(free)).toHaveLength(1);
    await Promise.all([1, 2, 3].map(() => ground.store.slowQueries(provider)));
    expect(await halvings()).toBe(1);
    // A pause of 10 s, then two and a half queries a second.
    expect(await claim(free)).toHaveLength(0);
    await pass(provider, 10);
    expect(await claim(free)).toHaveLength(1);
    expect(await claim(free)).toHaveLength(0);
    await ground.store.slowQueries(provider, 7);
    expect(await halvings()).toBe(2);
    await pass(provider, 119);
    expect(await halvings()).toBe(2);
    await pass(provider, 1);
    expect(await halvings()).toBe(1);
    await pass(provider, 120);
    expect(await halvings()).toBe(0);
    expect(await claim({ perMinute: undefined, free: 20 })).toHaveLength(20);
  });

  it("respects the pause that the provider asks for, up to ten minutes", async () => {
    const { provider, claim } = await openDue(2);
    await ground.store.slowQueries(provider, 1_000_000_000);
    await pass(provider, 599);
    expect(await claim()).toHaveLength(0);
    await pass(provider, 2);
    expect(await claim()).toHaveLength(1);
  });

  it("is not spent on a payment that was completed while its query waited", async () => {
    const { provider, claim } = await openDue(1);
    const [claimed] = await claim();
    await ground.store.advance(claimed?.id ?? "", paid({ receipt: `R-${claimed?.id}` }));
    await ground.store.defer(claimed?.id ?? "");
    await pass(provider, 10);
    expect(await claim()).toEqual([]);
  });

  it("allows a deferred payment again in the next interval", async () => {
    const { provider, claim } = await openDue(1);
    const [claimed] = await claim();
    await ground.store.defer(claimed?.id ?? "");
    await pass(provider, 10);
    expect((await claim()).map(({ id }) => id)).toEqual([claimed?.id]);
  });
});

describe("success without a receipt", () => {
  /** Two providers here have queries that state receipts; "bare" also states no amount. */
  const createReceiptStore = () =>
    createOrderStore({
      database: ground.database,
      announce: () => undefined,
      amountlessProviders: ["bare"],
      receiptProviders: ["bare", "full"],
    });

  it.each([
    ["the query states receipts", "bare", {}, 5],
    ["the success has a receipt", "bare", { receipt: "R-1" }, null],
    ["the query states no receipt", "none", {}, null],
    ["a person accepted the payment", "full", { source: "person" }, 5],
    ["only the amount is missing and the query states it", "full", { source: "person", receipt: "R-2" }, 5],
  ] as const)("is checked only for what a query can add: %s", async (_when, provider, evidence, nextInS) => {
    const { payment } = await ground.open({ provider, live: true });
    const store = createReceiptStore();
    const isPerson = "source" in evidence;
    // The receipt of another payment sends this one to review. Its webhook states no amount.
    const other = await ground.open({ provider, live: true });
    if (isPerson) {
      await store.advance(other.payment.id, paid({ receipt: `shared-${other.payment.id}` }));
      await store.advance(payment.id, {
        status: "succeeded",
        receipt: `shared-${other.payment.id}`,
        source: "webhook",
      });
    }
    const outcome = { status: "succeeded", source: "webhook", ...evidence } as const;
    await store.advance(payment.id, isPerson ? outcome : { ...paid(), ...outcome });
    await expectCheckIn(payment.id, nextInS);
  });

  it("gets its receipt from a query, as one event, and is not checked again", async () => {
    const { event, payment } = await ground.open({ provider: "bare", live: true });
    const store = createReceiptStore();
    await store.advance(payment.id, paid({ reference: "ref" }));
    await age(payment.id, 5);
    const due = await store.claimDue([allowanceOf({ provider: "bare" })]);
    expect(due.find(({ id }) => id === payment.id)).toMatchObject({ status: "succeeded" });
    // The payment is due again without an answer, because the node that claimed it may die.
    await expectCheckIn(payment.id, 60);
    await store.advance(payment.id, { status: "succeeded", receipt: `R-${payment.id}`, source: "query" });
    await store.endReceiptCheck(payment.id);
    await expectCheckIn(payment.id, null);
    const { order, events } = await ground.view(event.orderId);
    expect(order).toMatchObject({ status: "succeeded", version: 3, payment: { receipt: `R-${payment.id}` } });
    expect(events.map(({ status }) => status)).toEqual(["pending", "succeeded", "succeeded"]);
  });

  it("is checked for at most an hour after its deadline", async () => {
    const { payment } = await ground.open({ provider: "bare", live: true, deadlineS: 120 });
    const store = createReceiptStore();
    await store.advance(payment.id, paid());
    await age(payment.id, 120 + 3_590);
    const claim = () => store.claimDue([allowanceOf({ provider: "bare" })]);
    expect((await claim()).map(({ id }) => id)).toContain(payment.id);
    await expectCheckIn(payment.id, 60);
    await age(payment.id, 60);
    expect((await claim()).map(({ id }) => id)).toContain(payment.id);
    await expectCheckIn(payment.id, null);
  });

  it.each([
    ["a failure", { status: "failed", reason: "declined" }],
    ["an open payment", { status: "processing" }],
    ["another amount", { status: "succeeded", amountMinor: 1n, currency: "KES" }],
  ] as const)("stays a success when a query reports %s (G2)", async (_what, evidence) => {
    const { event, payment } = await ground.open({ provider: "bare", live: true });
    const store = createReceiptStore();
    await store.advance(payment.id, paid());
    await store.advance(payment.id, { ...evidence, source: "query" });
    expect((await ground.view(event.orderId)).order).toMatchObject({
      status: "succeeded",
      payment: { amountPaidMinor: 15_000 },
    });
  });
});
