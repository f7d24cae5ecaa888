/** Due payments and what queries may decide: shared without asking twice, a failure only when told twice. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { claimDueStatement } from "../../server/order/claim-due.ts";
import type { PaymentDraft } from "../../server/order/draft.ts";
import type { Outcome } from "../../server/order/order.ts";
import { type Allowance, toClaim } from "../../server/order/schedule.ts";
import { createStatistics } from "../../server/order/statistics.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { openManyOrders, planStepsOf, tableReadsOf } from "../support/query-plan.ts";
import { allowanceOf, openTestStore, paid } from "../support/store.ts";

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

/**
 * Expects the next check in so many seconds, null for none. Up to 4 s have passed since on a busy machine, and no two
 * times of the schedule are that close.
 */
async function expectCheckIn(paymentId: string, expectedS: number | null): Promise<void> {
  const { rows } = await ground.database.pool.query<{ s: number | null }>(
    "select ceil(extract(epoch from check_at - clock_timestamp()))::int as s from payment where id = $1",
    [paymentId],
  );
  const s = rows[0]?.s ?? null;
  if (expectedS === null || s === null) return expect(s).toBe(expectedS);
  expect(s).toBeLessThanOrEqual(expectedS);
  expect(s).toBeGreaterThan(expectedS - 5);
}

const dueIds = async (allowance: Partial<Allowance> = {}): Promise<string[]> =>
  (await ground.store.claimDue([allowanceOf(allowance)])).map(({ id }) => id);

const said: Outcome = { status: "failed", reason: "cancelled", source: "query" };

describe("a payment that is due to be asked about", () => {
  it("is asked 10, 15, 20 and 30 s after it began, then every 60 s, and at its deadline", async () => {
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

  it("is taken by one of many nodes, each payment once", async () => {
    const opened = await Promise.all(Array.from({ length: 40 }, () => ground.open({ live: true })));
    await Promise.all(opened.map(({ payment }) => age(payment.id, 11)));
    const nodes = [1, 2, 3].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [] }),
    );
    const taken: string[] = [];
    for (let found = 1; found > 0; ) {
      const claims = await Promise.all(nodes.map((node) => node.claimDue([allowanceOf({ free: 5 })])));
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

  it("is found through its index among 10,000, by either kind of plan, and no table is read", async () => {
    const many = await openManyOrders();
    onTestFinished(many.close);
    for (const isGeneric of [false, true]) {
      // What is taken is due no more: the later runs, the one that is explained among them, find the next ones.
      const values = [JSON.stringify([toClaim(allowanceOf({ free: 5 }))])];
      const steps = await planStepsOf(many.database, { statement: claimDueStatement, values, isGeneric });
      for (const table of ["payment", "order"]) {
        // The step that updates reads what other steps have found.
        const reads = tableReadsOf(
          steps.filter((step) => step["Node Type"] !== "ModifyTable"),
          table,
        );
        expect(reads.length).toBeGreaterThan(0);
        for (const { index, rows } of reads) {
          expect([table, index]).toEqual([table, expect.any(String)]);
          expect(rows).toBeLessThanOrEqual(100);
        }
      }
      expect(tableReadsOf(steps, "payment").map(({ index }) => index)).toContain("payment_due");
    }
  });

  it("with a time of 15 s is over for good after twice that, not a minute later", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 15 });
    await age(payment.id, 15);
    expect(await dueIds()).toContain(payment.id);
    await expectCheckIn(payment.id, 15);
    await age(payment.id, 15);
    expect((await ground.store.claimDue([allowanceOf()])).find(({ id }) => id === payment.id)).toMatchObject({
      isLongOver: true,
      // Its last question gets no more time than this.
      leftMs: 0,
    });
    await expectCheckIn(payment.id, 60);
  });

  it("is first asked about when its provider can have an answer, and again by its provider's own times", async () => {
    const { payment } = await ground.open({ live: true, deadlineS: 120, firstCheckS: 30 });
    await expectCheckIn(payment.id, 30);
    await age(payment.id, 30);
    expect(await dueIds({ checksAtS: [30, 60] })).toContain(payment.id);
    await expectCheckIn(payment.id, 30);
  });

  it("is taken where its provider is not in use any more, so that its deadline ends it", async () => {
    const { payment } = await ground.open({ provider: "gone", live: true, deadlineS: 10 });
    await age(payment.id, 10);
    const [due] = (await ground.store.claimDue([])).filter(({ id }) => id === payment.id);
    expect(due).toMatchObject({ provider: "gone", isOver: true, mayAsk: true });
  });

  it("is not asked about any more when it is paid or in review, also after a hint", async () => {
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

describe("a failure that only a query tells of", () => {
  it("settles when it is told twice, 15 s apart, of a prompt that is a minute old", async () => {
    const { event, payment } = await ground.open({ live: true });
    await ground.store.advance(payment.id, said);
    await expectCheckIn(payment.id, 10); // The schedule is sooner than the minute.
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
    await expectCheckIn(payment.id, 60);
    await ground.store.advance(payment.id, said);
    await expectCheckIn(payment.id, 15);
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

describe("the pace of a provider", () => {
  let providers = 0;

  /** So many payments of a provider of their own that are due, the last opened with the nearest deadline. */
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
    // What other tests left due is taken too.
    const claim = async (allowance: Partial<Allowance> = {}, store = ground.store) =>
      (await store.claimDue([allowanceOf({ provider, perMinute: 6, ...allowance })])).filter(
        (due) => due.provider === provider,
      );
    return { provider, payments, claim, ids: async () => (await claim()).map(({ id }) => id) };
  };

  /** Lets the pace's clock go on. */
  const pass = (provider: string, seconds: number) =>
    ground.database.pool.query(
      `update query_pace set next_at = next_at - $2 * interval '1 second', halved_at = halved_at - $2 * interval '1 second'
       where provider = $1`,
      [provider, seconds],
    );

  it("lets so many queries through in a minute, those with the nearest deadline first, and keeps the others due", async () => {
    const { provider, payments, ids } = await openDue(3);
    const [first, second, third] = payments;
    expect(await ids()).toEqual([third]);
    expect(await ids()).toEqual([]);
    await pass(provider, 5);
    expect(await ids()).toEqual([]);
    await pass(provider, 5);
    expect(await ids()).toEqual([second]);
    await pass(provider, 1_000);
    // What was not used is not saved up.
    expect(await ids()).toEqual([first]);
  });

  it("is shared by all nodes", async () => {
    const { claim } = await openDue(6);
    const nodes = [1, 2, 3].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [] }),
    );
    const claims = await Promise.all(nodes.map((node) => claim({ perMinute: 120 }, node)));
    // A second's worth at once.
    expect(claims.flat()).toHaveLength(2);
    expect(await claim({ perMinute: 120 })).toHaveLength(0);
  });

  it("has open payments asked about before those that have settled", async () => {
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

  it("ends payments that are long over without asking about them", async () => {
    const { provider, payments, claim } = await openDue(3);
    await ground.store.slowQueries(provider, 300);
    expect(await claim()).toEqual([]);
    for (const id of payments) await age(id, 1_200);
    const due = await claim();
    expect(due.map(({ mayAsk, isLongOver }) => [mayAsk, isLongOver])).toEqual(payments.map(() => [false, true]));
  });

  it("is no reason to end payments unasked where nothing limits it but a node's own room", async () => {
    const { payments, claim } = await openDue(30);
    for (const id of payments) await age(id, 1_200);
    const asked: string[] = [];
    // As after an outage: many are long over, and each claim has room for a few.
    while (asked.length < 30) {
      const due = await claim({ perMinute: undefined, free: 4 });
      expect(due.length).toBeGreaterThan(0);
      expect(due.every(({ mayAsk }) => mayAsk)).toBe(true);
      asked.push(...due.map(({ id }) => id));
    }
    expect(asked.toSorted()).toEqual(payments.toSorted());
  });

  it("is used up on average although due payments are looked for twice a second", async () => {
    const { provider } = await openDue(20);
    let queries = 0;
    // 90 a minute are one in two thirds of a second: of 20 looks, 15 find one.
    const claim = async () =>
      (await ground.store.claimDue([allowanceOf({ provider, perMinute: 90 })])).filter(
        (due) => due.provider === provider,
      );
    for (let look = 0; look < 20; look += 1) {
      queries += (await claim()).length;
      await pass(provider, 0.5);
    }
    expect(queries).toBeGreaterThanOrEqual(14);
  });

  it("is not spent on payments that cannot be asked about without a reference", async () => {
    const { payments, claim } = await openDue(3);
    const [known = ""] = payments;
    await ground.store.advance(known, { status: "processing", reference: `ws-${known}`, source: "reply" });
    const taken = await claim({ needsReference: true });
    expect(taken.map(({ id }) => id).toSorted()).toEqual(payments.toSorted());
    expect(taken.every(({ mayAsk }) => mayAsk)).toBe(true);
  });

  it("is halved when the provider was asked too often, once for answers that come together, and comes back in steps", async () => {
    const { provider, claim } = await openDue(40);
    const statistics = createStatistics(ground.database);
    const halvings = async () =>
      (await statistics.backlog()).queries.find((one) => one.provider === provider)?.halvings;
    const free = { perMinute: undefined, free: 1 };
    expect(await claim(free)).toHaveLength(1);
    await Promise.all([1, 2, 3].map(() => ground.store.slowQueries(provider)));
    expect(await halvings()).toBe(1);
    // Left alone for 10 s, then asked at two and a half a second.
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

  it("heeds a time to wait that the provider names, and no longer than ten minutes", async () => {
    const { provider, claim } = await openDue(2);
    await ground.store.slowQueries(provider, 1_000_000_000);
    await pass(provider, 599);
    expect(await claim()).toHaveLength(0);
    await pass(provider, 2);
    expect(await claim()).toHaveLength(1);
  });

  it("is not spent on a payment that was completed while its query waited", async () => {
    const { provider, claim } = await openDue(1);
    const [taken] = await claim();
    await ground.store.advance(taken?.id ?? "", paid({ receipt: `R-${taken?.id}` }));
    await ground.store.defer(taken?.id ?? "");
    await pass(provider, 10);
    expect(await claim()).toEqual([]);
  });

  it("gives back what was taken and could not be asked about", async () => {
    const { provider, claim } = await openDue(1);
    const [taken] = await claim();
    await ground.store.defer(taken?.id ?? "");
    await pass(provider, 10);
    expect((await claim()).map(({ id }) => id)).toEqual([taken?.id]);
  });
});

describe("a success that states no receipt", () => {
  const openAsking = () =>
    createOrderStore({
      database: ground.database,
      announce: () => undefined,
      amountlessProviders: ["bare"],
      receiptProviders: ["bare", "full"],
    });

  it.each([
    ["of a provider whose query states it", "bare", {}, 5],
    ["with one", "bare", { receipt: "R-1" }, null],
    ["of a provider whose query states none", "none", {}, null],
    ["by a person's word", "full", { source: "person" }, 5],
    ["with one, but without an amount that the query could state", "full", { source: "person", receipt: "R-2" }, 5],
  ] as const)("%s is asked about once: %#", async (_what, provider, says, nextInS) => {
    const { payment } = await ground.open({ provider, live: true });
    const store = openAsking();
    const isPerson = "source" in says;
    // A receipt that another payment has is for a person to decide on; no amount is stated.
    const other = await ground.open({ provider, live: true });
    if (isPerson) {
      await store.advance(other.payment.id, paid({ receipt: `shared-${other.payment.id}` }));
      await store.advance(payment.id, {
        status: "succeeded",
        receipt: `shared-${other.payment.id}`,
        source: "webhook",
      });
    }
    const outcome = { status: "succeeded", source: "webhook", ...says } as const;
    await store.advance(payment.id, isPerson ? outcome : { ...paid(), ...outcome });
    await expectCheckIn(payment.id, nextInS);
  });

  it("learns it, as one more event of the same, and is left alone after the answer", async () => {
    const { event, payment } = await ground.open({ provider: "bare", live: true });
    const store = openAsking();
    await store.advance(payment.id, paid({ reference: "ref" }));
    await age(payment.id, 5);
    const taken = await store.claimDue([allowanceOf({ provider: "bare" })]);
    expect(taken.find(({ id }) => id === payment.id)).toMatchObject({ status: "succeeded" });
    // Until it is answered it falls due again: the node that asks may die.
    await expectCheckIn(payment.id, 60);
    await store.advance(payment.id, { status: "succeeded", receipt: `R-${payment.id}`, source: "query" });
    await store.endReceiptCheck(payment.id);
    await expectCheckIn(payment.id, null);
    const { order, events } = await ground.view(event.orderId);
    expect(order).toMatchObject({ status: "succeeded", version: 3, payment: { receipt: `R-${payment.id}` } });
    expect(events.map(({ status }) => status)).toEqual(["pending", "succeeded", "succeeded"]);
  });

  it("is asked about for an hour after its deadline at most, if nobody answers", async () => {
    const { payment } = await ground.open({ provider: "bare", live: true, deadlineS: 120 });
    const store = openAsking();
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
    ["that it is open", { status: "processing" }],
    ["another amount", { status: "succeeded", amountMinor: 1n, currency: "KES" }],
  ] as const)("stays a success whatever the query says: %s", async (_what, says) => {
    const { event, payment } = await ground.open({ provider: "bare", live: true });
    const store = openAsking();
    await store.advance(payment.id, paid());
    await store.advance(payment.id, { ...says, source: "query" });
    expect((await ground.view(event.orderId)).order).toMatchObject({
      status: "succeeded",
      payment: { amountPaidMinor: 15_000 },
    });
  });
});
