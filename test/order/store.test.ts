import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { HubError } from "../../server/errors.ts";
import { changedStatement } from "../../server/order/current.ts";
import type { InboxRow } from "../../server/order/evidence.ts";
import type { Outcome } from "../../server/order/order.ts";
import { createReview, type ResolvedReview } from "../../server/order/review.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { openManyOrders, planStepsOf, tableReadsOf } from "../support/query-plan.ts";
import { draftOf, failed, lockEvents, lockOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

const webhook = (body = "{}"): InboxRow => ({
  provider: "daraja",
  proof: "secret",
  headers: {},
  body: Buffer.from(body),
});

const problemOf = async (promise: Promise<unknown>): Promise<HubError> => {
  const error = await promise.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (!(error instanceof HubError)) throw new Error("expected a HubError", { cause: error });
  return error;
};

const announcedOf = (id: string) => ground.announced.filter((event) => event.id === id);

describe("opening an order", () => {
  it("commits version 1, pending, with its deadline by the database's clock", async () => {
    const { event, payment } = await ground.open({ deadlineS: 120 });
    expect(event).toMatchObject({ version: 1, status: "pending", settled: false, live: false, amountMinor: 15_000 });
    expect(event.payment).toMatchObject({ id: payment.id, provider: "daraja", attempt: 1 });
    expect(Date.parse(event.payment.expiresAt) - Date.parse(event.payment.startedAt)).toBe(120_000);
    const view = await ground.view(event.orderId);
    expect(view.order).toEqual(event);
    expect(view.events).toEqual([event]);
    expect(announcedOf(event.id)).toEqual([event]);
  });

  it("is one round trip", async () => {
    const sent: unknown[] = [];
    const { pool } = ground.database;
    const query = pool.query.bind(pool);
    pool.query = ((...args: Parameters<typeof query>) => {
      sent.push(args);
      return query(...args);
    }) as typeof pool.query;
    await ground.open();
    pool.query = query;
    expect(sent).toHaveLength(1);
  });

  it("lets one of many concurrent requests open it and tells the others why not, with the order", async () => {
    const draft = draftOf();
    const results = await Promise.allSettled(Array.from({ length: 20 }, () => ground.store.open(draft)));
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const result of results) {
      if (result.status === "rejected") {
        expect(result.reason).toMatchObject({ code: "payment_in_progress" });
        expect(result.reason.details.order).toMatchObject({ orderId: draft.orderId, version: 1 });
      }
    }
    expect((await ground.view(draft.orderId)).payments).toHaveLength(1);
  });

  it("tries a failed order again as attempt 2, next version, same order", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    const again = await ground.open({ orderId: event.orderId, phone: "+254700000001" });
    expect(again.event).toMatchObject({ id: event.id, version: 3, status: "pending" });
    expect(again.event).not.toHaveProperty("reason");
    expect(again.event.payment).toMatchObject({ id: again.payment.id, attempt: 2 });
    expect(again.payment.attempt).toBe(2);
    const { payments } = await ground.view(event.orderId);
    expect(payments.map(({ attempt, phone, status }) => ({ attempt, phone, status }))).toEqual([
      { attempt: 1, phone: "+2547*****678", status: "failed" },
      { attempt: 2, phone: "+2547*****001", status: "pending" },
    ]);
  });

  it("changes what another try says of the order and keeps what it leaves out", async () => {
    const { event, payment } = await ground.open({ description: "2 tickets", metadata: { seats: ["A1", "A2"] } });
    await ground.store.advance(payment.id, failed());
    await ground.open({ orderId: event.orderId, description: "3 tickets", customer: { name: "Asha" } });
    expect(await ground.view(event.orderId)).toMatchObject({
      description: "3 tickets",
      customer: { name: "Asha" },
      metadata: { seats: ["A1", "A2"] },
    });
  });

  it("stores an amount exactly that no JSON number can hold", async () => {
    const draft = draftOf({ amountMinor: 2n ** 53n + 1n });
    await expect(ground.store.open(draft)).rejects.toThrow(RangeError);
    const { rows } = await ground.database.pool.query(
      `select o.amount_minor::text as of_order, p.amount_minor::text as of_payment
       from "order" o join payment p on p.order_uuid = o.id where order_id = $1`,
      [draft.orderId],
    );
    expect(rows).toEqual([{ of_order: "9007199254740993", of_payment: "9007199254740993" }]);
  });

  it("refuses a paid order, an order in review, and another amount or currency", async () => {
    const one = await ground.open();
    await ground.store.advance(one.payment.id, paid());
    expect(await problemOf(ground.store.open(draftOf({ orderId: one.event.orderId })))).toMatchObject({
      code: "order_paid",
    });

    const two = await ground.open();
    await ground.store.advance(two.payment.id, paid({ amountMinor: 1n }));
    expect(await problemOf(ground.store.open(draftOf({ orderId: two.event.orderId })))).toMatchObject({
      code: "order_in_review",
    });

    const three = await ground.open();
    await ground.store.advance(three.payment.id, failed());
    for (const other of [{ amountMinor: 15_001n }, { currency: "TZS" }]) {
      expect(await problemOf(ground.store.open(draftOf({ orderId: three.event.orderId, ...other })))).toMatchObject({
        code: "order_mismatch",
        details: { order: { status: "failed" } },
      });
    }
  });
});

describe("limits", () => {
  const limits = { phone: 3, order: 2 };
  const beginning = "2026-01-01T00:00:00Z";
  /** Stores of two nodes on one database. */
  const nodes = () =>
    [1, 2].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [], limits }),
    );
  const limited = (message: string) => expect.objectContaining({ code: "rate_limited", message });

  it("of a phone hold whoever asks at the same time, on whichever node, and count only what is opened", async () => {
    const phone = "+254712345001";
    const [one, other] = nodes();
    const { event } = (await one?.open(draftOf({ phone }))) ?? expect.unreachable();
    // Refused for what it is, again and again, and no prompt.
    for (let refusals = 0; refusals < 5; refusals += 1) {
      await expect(other?.open(draftOf({ phone, orderId: event.orderId }))).rejects.toMatchObject({
        code: "payment_in_progress",
      });
    }
    // Nobody gets as far as its event, so those that count at the same time have all counted before any is committed.
    const held = await lockEvents(ground.database);
    const opening = Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => (index % 2 ? one : other)?.open(draftOf({ phone }))),
    );
    await held.waiters(8);
    await held.release();
    const results = await opening;
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
    expect(refused).toEqual(Array(6).fill(limited("Too many payments for this phone")));
    await one?.open(draftOf({ phone: "+254712345002" }));
  });

  it("of a phone say when the oldest that counts is 10 minutes old, and let in again then", async () => {
    const phone = "+254712345003";
    const [one] = nodes();
    for (let opened = 0; opened < 3; opened += 1) await one?.open(draftOf({ phone }));
    const age = (interval: string) =>
      ground.database.pool.query(
        `update payment set started_at = started_at - interval '${interval}'
         where id = (select id from payment where phone = $1 order by started_at limit 1)`,
        [phone],
      );
    await age("590 seconds");
    const refusal = await problemOf(Promise.resolve(one?.open(draftOf({ phone }))));
    expect(refusal).toMatchObject({ code: "rate_limited" });
    expect(refusal.details.retryAfterS).toBeGreaterThan(0);
    expect(refusal.details.retryAfterS).toBeLessThanOrEqual(10);
    await age("10 seconds");
    await one?.open(draftOf({ phone }));
    await expect(one?.open(draftOf({ phone }))).rejects.toEqual(limited("Too many payments for this phone"));
  });

  it("of a phone count live payments and a sandbox's apart", async () => {
    const [one, other] = nodes();
    const phone = "+254712345009";
    for (const live of [false, true]) {
      for (let opened = 0; opened < 3; opened += 1) await one?.open(draftOf({ phone, live }));
    }
    for (const live of [false, true]) {
      await expect(other?.open(draftOf({ phone, live }))).rejects.toEqual(limited("Too many payments for this phone"));
    }
    // The refusal says when the oldest of the same kind is 10 minutes old.
    await ground.database.pool.query("update payment set started_at = $2 where phone = $1 and not live", [
      phone,
      beginning,
    ]);
    await expect(other?.open(draftOf({ phone, live: true }))).rejects.toMatchObject({ code: "rate_limited" });
    await other?.open(draftOf({ phone, live: false }));
  });

  it("of an order hold for its attempts, whatever their phone, before any other reason is told", async () => {
    const [one, other] = nodes();
    const orderId = nextOrderId();
    for (const phone of ["+254712345004", "+254712345005"]) {
      const { payment } = (await one?.open(draftOf({ orderId, phone }))) ?? expect.unreachable();
      await other?.advance(payment?.id ?? "", failed());
    }
    const again = [one, other].map((node) => node?.open(draftOf({ orderId, phone: "+254712345006" })));
    for (const refusal of await Promise.allSettled(again)) {
      expect(refusal).toEqual({ status: "rejected", reason: limited("Too many payments for this order") });
    }
    await ground.database.pool.query(
      `update payment set started_at = $2 where order_uuid = (select id from "order" where order_id = $1)`,
      [orderId, beginning],
    );
    const { event } = (await one?.open(draftOf({ orderId, phone: "+254712345006" }))) ?? expect.unreachable();
    expect(event.payment.attempt).toBe(3);
  });

  it("of a phone are counted last: whoever waits for an order is not in the way of the phone's others", async () => {
    const [one] = nodes();
    const phone = "+254712345008";
    const { payment, event } = (await one?.open(draftOf({ phone }))) ?? expect.unreachable();
    await one?.advance(payment?.id ?? "", failed());
    const held = await lockOrder(ground.database, event.orderId);
    const again = one?.open(draftOf({ phone, orderId: event.orderId }));
    const refused = expect(again).rejects.toEqual(limited("Too many payments for this phone"));
    await held.waiters(1);
    await one?.open(draftOf({ phone }));
    await one?.open(draftOf({ phone }));
    await held.release();
    await refused;
    const [order] = await ground.store.current([event.id]);
    expect(order).toMatchObject({ status: "failed", version: 2 });
  });

  it("do not hold an answer back that was given before under the same key", async () => {
    const [one] = nodes();
    const draft = draftOf({ phone: "+254712345007", idempotencyKey: nextOrderId() });
    const { event } = (await one?.open(draft)) ?? expect.unreachable();
    for (let opened = 1; opened < 3; opened += 1) await one?.open(draftOf({ phone: "+254712345007" }));
    expect(await one?.open(draft)).toEqual({ event });
  });
});

describe("an idempotency key", () => {
  it("answers the same request with the current state and opens nothing", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId(), metadata: { a: 1, b: 2 } });
    const { event, payment } = await ground.store.open(draft);
    await ground.store.advance(payment?.id ?? "", failed());
    const again = await ground.store.open({ ...draft, metadata: { b: 2, a: 1 } });
    expect(again).toEqual({ event: expect.objectContaining({ id: event.id, version: 2, status: "failed" }) });
    expect((await ground.view(draft.orderId)).payments).toHaveLength(1);
  });

  it("refuses another request", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId() });
    await ground.store.open(draft);
    expect(await problemOf(ground.store.open({ ...draft, orderId: nextOrderId() }))).toMatchObject({
      code: "idempotency_mismatch",
    });
    expect(await problemOf(ground.store.open({ ...draft, phone: "+254700000002" }))).toMatchObject({
      code: "idempotency_mismatch",
    });
  });

  it("makes concurrent twins wait for the first and open one payment", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId() });
    const results = await Promise.all(Array.from({ length: 10 }, () => ground.store.open(draft)));
    expect(new Set(results.map(({ event }) => event.id)).size).toBe(1);
    expect(results.filter(({ payment }) => payment)).toHaveLength(1);
  });

  it("racing with another order under the same key opens only one of the two", async () => {
    const key = nextOrderId();
    const results = await Promise.allSettled([1, 2].map(() => ground.store.open(draftOf({ idempotencyKey: key }))));
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    const [refused] = results.filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
    expect(refused?.reason).toMatchObject({ code: "idempotency_mismatch" });
  });

  it("is not used up by a request that was refused", async () => {
    const { event, payment } = await ground.open();
    const draft = draftOf({ orderId: event.orderId, idempotencyKey: nextOrderId() });
    expect(await problemOf(ground.store.open(draft))).toMatchObject({ code: "payment_in_progress" });
    await ground.store.advance(payment.id, failed());
    expect((await ground.store.open(draft)).payment?.attempt).toBe(2);
  });

  it("may be used anew after 72 hours", async () => {
    const idempotencyKey = nextOrderId();
    await ground.open({ idempotencyKey });
    await ground.database.pool.query(
      "update idempotency set created_at = created_at - interval '73 hours' where key = $1",
      [idempotencyKey],
    );
    expect((await ground.open({ idempotencyKey })).event.version).toBe(1);
  });
});

describe("evidence", () => {
  it("that is full makes a success, with receipt and amount", async () => {
    const { event, payment } = await ground.open();
    const { result, event: next } = await ground.store.advance(
      payment.id,
      paid({ receipt: nextOrderId(), reference: "ws_1" }),
      webhook(),
    );
    expect(result).toBe("applied");
    expect(next).toMatchObject({
      id: event.id,
      version: 2,
      status: "succeeded",
      settled: true,
      payment: { amountPaidMinor: 15_000 },
    });
    expect(next).not.toHaveProperty("reason");
  });

  it("in a webhook is kept and acted on in one round trip, by a statement that PostgreSQL has prepared", async () => {
    const { payment } = await ground.open();
    const { webhookPool } = ground.database;
    const query = vi.spyOn(webhookPool, "query");
    await ground.store.advance(payment.id, paid(), webhook());
    await ground.store.advance(payment.id, paid(), webhook());
    expect(query).toHaveBeenCalledTimes(2);
    query.mockRestore();
    const { rows } = await webhookPool.query("select name from pg_prepared_statements where name = 'advance-batch'");
    expect(rows).toHaveLength(1);
  });

  it("of another amount or currency is for a person to review, and full evidence lifts it", async () => {
    for (const [wrong, reason] of [
      [{ amountMinor: 14_900n }, "amount_mismatch"],
      [{ currency: "TZS" }, "currency_mismatch"],
    ] as const) {
      const { event, payment } = await ground.open();
      await ground.store.advance(payment.id, paid({ ...wrong, receipt: nextOrderId() }));
      expect((await ground.view(event.orderId)).order).toMatchObject({ status: "review", settled: true, reason });
      const receipt = nextOrderId();
      await ground.store.advance(payment.id, paid({ receipt }));
      expect((await ground.view(event.orderId)).order).toMatchObject({
        status: "succeeded",
        version: 3,
        payment: { receipt, amountPaidMinor: 15_000 },
      });
    }
  });

  it("without an amount makes a success only where the provider's query cannot state one, and never lifts a review", async () => {
    const bare: Outcome = { status: "succeeded", source: "query" };
    const daraja = await ground.open();
    expect((await ground.store.advance(daraja.payment.id, bare)).event?.status).toBe("succeeded");

    const zenopay = await ground.open({ provider: "zenopay" });
    expect(await ground.store.advance(zenopay.payment.id, bare)).toEqual({ result: "hint" });
    expect((await ground.view(zenopay.event.orderId)).order.version).toBe(1);

    const review = await ground.open();
    await ground.store.advance(review.payment.id, paid({ amountMinor: 1n }));
    await ground.store.advance(review.payment.id, bare);
    expect((await ground.view(review.event.orderId)).order.status).toBe("review");
  });

  it("with an amount that cannot be read waits for a person, after the query that could state it", async () => {
    const { status, source } = paid();
    const unread: Outcome = { status, source, reason: "amount_mismatch", receipt: nextOrderId() };
    const daraja = await ground.open();
    expect((await ground.store.advance(daraja.payment.id, unread, webhook())).event).toMatchObject({
      status: "review",
      reason: "amount_mismatch",
      payment: { receipt: unread.receipt },
    });

    const zenopay = await ground.open({ provider: "zenopay" });
    expect(await ground.store.advance(zenopay.payment.id, unread, webhook())).toMatchObject({ result: "hint" });
    expect(await ground.store.advance(zenopay.payment.id, { ...unread, source: "reply" })).toMatchObject({
      result: "hint",
    });
    const { event } = await ground.store.advance(zenopay.payment.id, { ...unread, source: "query" });
    expect(event).toMatchObject({ status: "review", reason: "amount_mismatch" });
    expect(event?.payment).not.toHaveProperty("amountPaidMinor");
  });

  it("that is wrong after a success keeps the success and adds one event", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid({ receipt: nextOrderId() }));
    for (let times = 0; times < 3; times += 1) await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    const { order } = await ground.view(event.orderId);
    expect(order).toMatchObject({
      status: "succeeded",
      version: 3,
      reason: "amount_mismatch",
      payment: { amountPaidMinor: 15_000 },
    });
  });

  it("is never earlier than what happened before, though the clock went back", async () => {
    const { event, payment } = await ground.open();
    const ahead = await ground.database.pool.query<{ changed_at: Date }>(
      `update "order" set changed_at = changed_at + interval '1 hour' where id = $1 returning changed_at`,
      [event.id],
    );
    const { event: next } = await ground.store.advance(payment.id, paid());
    expect(next?.occurredAt).toBe(ahead.rows[0]?.changed_at.toISOString());
  });

  it("of success after a failure is late", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    await ground.store.advance(payment.id, paid());
    expect((await ground.view(event.orderId)).order).toMatchObject({ status: "succeeded", reason: "late", version: 3 });
  });

  it("brings a receipt that is learnt after the success as one change", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, { status: "succeeded", source: "query" });
    const receipt = nextOrderId();
    const { result, event: next } = await ground.store.advance(payment.id, paid({ receipt }), webhook());
    expect(result).toBe("applied");
    expect(next).toMatchObject({ status: "succeeded", version: 3, payment: { receipt, amountPaidMinor: 15_000 } });
    expect(await ground.store.advance(payment.id, paid({ receipt: nextOrderId() }), webhook())).toEqual({
      result: "repeat",
    });
    expect((await ground.view(event.orderId)).order.payment.receipt).toBe(receipt);
  });

  it("whose reference contradicts the payment's is only a hint, and makes us ask", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, { status: "processing", reference: "ws_ours", source: "reply" });
    expect(
      await ground.store.advance(payment.id, paid({ reference: "ws_other", receipt: "R-other" }), webhook()),
    ).toEqual({ result: "hint" });
    const { order, payments } = await ground.view(event.orderId);
    expect(order).toMatchObject({ status: "processing", version: 2 });
    expect(payments[0]).toMatchObject({ reference: "ws_ours" });
    const { rows } = await ground.database.pool.query(
      "select check_at <= clock_timestamp() + interval '1 second' as due from payment where id = $1",
      [payment.id],
    );
    expect(rows).toEqual([{ due: true }]);
    const { rows: receipts } = await ground.database.pool.query("select from receipt where receipt = 'R-other'");
    expect(receipts).toHaveLength(0);
  });

  it("that only a query tells of, without an amount that it could state, waits for the next question", async () => {
    const { payment } = await ground.open({ provider: "zenopay", live: true });
    const bare = (source: Outcome["source"]) => ground.store.advance(payment.id, { status: "succeeded", source });
    const dueIn = async (): Promise<number> =>
      (
        await ground.database.pool.query<{ s: number }>(
          "select extract(epoch from check_at - clock_timestamp())::float8 as s from payment where id = $1",
          [payment.id],
        )
      ).rows[0]?.s ?? Number.NaN;
    expect(await bare("query")).toEqual({ result: "hint" });
    expect(await dueIn()).toBeGreaterThan(5);
    expect(await bare("webhook")).toEqual({ result: "hint" });
    expect(await dueIn()).toBeLessThan(1);
  });

  it("that comes before the provider's reply leaves the reference to be kept without another version", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid({}), webhook());
    await ground.store.advance(payment.id, { status: "processing", reference: "ws_late_reply", source: "reply" });
    const { order, payments } = await ground.view(event.orderId);
    expect(order).toMatchObject({ status: "succeeded", version: 2 });
    expect(payments[0]).toMatchObject({ reference: "ws_late_reply" });
  });

  it("for a payment that is not ours is kept and changes nothing", async () => {
    const body = `unmatched ${nextOrderId()}`;
    expect(await ground.store.advance("00000000-0000-7000-8000-000000000000", paid(), webhook(body))).toEqual({
      result: "unmatched",
    });
    const { rows } = await ground.database.pool.query("select result from webhook where body = $1", [
      Buffer.from(body),
    ]);
    expect(rows).toEqual([{ result: "unmatched" }]);
  });

  it("of the same receipt for two payments, at the same time, pays one and sends the other to review", async () => {
    const receipt = nextOrderId();
    const pair = [await ground.open(), await ground.open()];
    await Promise.all(pair.map(({ payment }) => ground.store.advance(payment.id, paid({ receipt }), webhook())));
    const orders = await Promise.all(pair.map(async ({ event }) => (await ground.view(event.orderId)).order));
    expect(orders.map(({ status }) => status).toSorted()).toEqual(["review", "succeeded"]);
    expect(orders.find(({ status }) => status === "review")?.reason).toBe("receipt_reused");
  });
});

describe("what a person has rejected", () => {
  it("stays so when the same or a bare webhook comes again; full evidence brings it back", async () => {
    const { event, payment } = await ground.open();
    const wrong = paid({ amountMinor: 1n, receipt: nextOrderId() });
    await ground.store.advance(payment.id, wrong);
    const review = createReview({ database: ground.database, store: ground.store, announce: () => undefined });
    await review.resolve({ orderId: event.orderId, paymentId: payment.id, as: "failed", note: "not ours" });
    for (const evidence of [wrong, { status: "succeeded", source: "query" } as const, failed()]) {
      await ground.store.advance(payment.id, evidence, webhook());
      expect((await ground.view(event.orderId)).order).toMatchObject({
        status: "failed",
        reason: "rejected",
        version: 3,
      });
    }
    await ground.store.advance(payment.id, paid({ receipt: nextOrderId() }));
    expect((await ground.view(event.orderId)).order).toMatchObject({ status: "succeeded", reason: "late", version: 4 });
  });
});

describe("a person's decision", () => {
  it.each(["succeeded", "failed"] as const)("(%s) made twice at the same time is told once", async (as) => {
    const { event, payment } = await ground.open();
    const { orderId } = event;
    await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    const resolved: ResolvedReview[] = [];
    const review = createReview({
      database: ground.database,
      store: ground.store,
      announce: () => undefined,
      onResolved: (one) => resolved.push(one),
    });
    const order = await lockOrder(ground.database, orderId);
    const decisions = Promise.allSettled(
      [1, 2].map(() => review.resolve({ orderId, paymentId: payment.id, as, note: "seen" })),
    );
    await order.waiters(2);
    expect(resolved).toEqual([]);
    await order.release();
    await decisions;
    expect(resolved).toEqual([{ provider: "daraja", as }]);
    expect((await ground.view(orderId)).order).toMatchObject({ status: as, version: 3 });
  });
});

describe("two persons' decisions at the same time", () => {
  it.each([
    ["failed", "succeeded"],
    ["succeeded", "failed"],
  ] as const)("(%s before %s) are one: who comes second is told", async (first, second) => {
    const { event, payment } = await ground.open();
    const { orderId } = event;
    await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    const review = createReview({ database: ground.database, store: ground.store, announce: () => undefined });
    const decide = (as: typeof first | typeof second) =>
      review.resolve({ orderId, paymentId: payment.id, as, note: "seen" });
    const order = await lockOrder(ground.database, orderId);
    const taken = decide(first);
    await order.waiters(1);
    const late = expect(decide(second)).rejects.toMatchObject({
      code: "not_in_review",
      details: { order: { orderId, status: first } },
    });
    await order.waiters(2);
    await order.release();
    expect(await taken).toMatchObject({ status: first, version: 3 });
    await late;
  });
});

describe("the history of an order", () => {
  it("tells where each event was learnt, but for those that started a payment, and nobody else is told", async () => {
    const { event, payment } = await ground.open();
    const { orderId } = event;
    const learn = (outcome: Outcome) => ground.store.advance(payment.id, outcome);
    await learn({ status: "processing", reference: nextOrderId(), source: "reply" });
    await learn({ status: "expired", reason: "deadline", source: "clock" });
    await learn({ status: "failed", reason: "cancelled", source: "payer" });
    await ground.store.advance(payment.id, paid({ amountMinor: 1n }), webhook());
    const review = createReview({ database: ground.database, store: ground.store, announce: () => undefined });
    await review.resolve({ orderId, paymentId: payment.id, as: "failed", note: "not ours" });
    const again = await ground.open({ orderId });
    await ground.store.advance(again.payment.id, paid({ source: "query" }));
    const { order, events } = await ground.view(orderId);
    expect(events.map(({ status, source }) => [status, source])).toEqual([
      ["pending", undefined],
      ["processing", "reply"],
      ["expired", "clock"],
      ["failed", "payer"],
      ["review", "webhook"],
      ["failed", "person"],
      ["pending", undefined],
      ["succeeded", "query"],
    ]);
    for (const told of [order, ...ground.announced]) expect(told).not.toHaveProperty("source");
  });
});

describe("the climb", () => {
  it("makes one version and one announcement of twenty identical concurrent webhooks", async () => {
    const { event, payment } = await ground.open();
    const receipt = nextOrderId();
    const results = await Promise.all(
      Array.from({ length: 20 }, () =>
        ground.store.advance(payment.id, paid({ receipt, reference: "ws_20" }), webhook()),
      ),
    );
    expect(results.filter(({ result }) => result === "applied")).toHaveLength(1);
    expect(results.filter(({ result }) => result === "repeat")).toHaveLength(19);
    expect(announcedOf(event.id).map(({ version }) => version)).toEqual([1, 2]);
    const { rows } = await ground.database.pool.query(
      "select count(*)::int as kept from webhook where payment_id = $1",
      [payment.id],
    );
    expect(rows).toEqual([{ kept: 20 }]);
  });

  it("ends in the same status, amount and receipt whatever the order and number of the evidence, without gaps", async () => {
    const evidence: Record<string, Outcome> = {
      processing: { status: "processing", reference: "ws_p", source: "reply" },
      expired: { status: "expired", reason: "no_response", source: "webhook" },
      cancelled: failed(),
      noFunds: failed({ reason: "insufficient_funds" }),
      wrong: paid({ amountMinor: 100n, receipt: "R-wrong" }),
      full: paid({ receipt: "R-full" }),
    };
    const names = Object.keys(evidence);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.constantFrom(...names), { minLength: 1 }).chain((chosen) =>
          fc.tuple(
            fc.constant(chosen),
            fc.array(fc.constantFrom(...chosen), { maxLength: 4 }).chain((repeats) => {
              const all = [...chosen, ...repeats];
              return fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length });
            }),
            fc.boolean(),
          ),
        ),
        async ([chosen, sequence, concurrent]) => {
          const { event, payment } = await ground.open();
          const send = (name: string): Promise<unknown> => {
            const outcome = evidence[name] as Outcome;
            const receipt = outcome.receipt && { receipt: `${outcome.receipt}-${payment.id}` };
            return ground.store.advance(payment.id, { ...outcome, ...receipt }, webhook());
          };
          if (concurrent) await Promise.all(sequence.map(send));
          else for (const name of sequence) await send(name);

          const { order, events } = await ground.view(event.orderId);
          const highest = ["full", "wrong", "cancelled", "noFunds", "expired", "processing"].find((name) =>
            chosen.includes(name),
          );
          const status = {
            full: "succeeded",
            wrong: "review",
            cancelled: "failed",
            noFunds: "failed",
            expired: "expired",
            processing: "processing",
          };
          expect(order.status).toBe(status[highest as keyof typeof status]);
          const money = { full: ["R-full", 15_000], wrong: ["R-wrong", 100] }[highest as "full" | "wrong"];
          expect(order.payment.receipt).toBe(money && `${money[0]}-${payment.id}`);
          expect(order.payment.amountPaidMinor).toBe(money?.[1]);
          expect(events.map(({ version }) => version)).toEqual(events.map((_, index) => index + 1));
          expect(
            announcedOf(event.id)
              .map(({ version }) => version)
              .toSorted((a, b) => a - b),
          ).toEqual(events.map(({ version }) => version));
          const times = events.map(({ occurredAt }) => occurredAt);
          expect(times).toEqual(times.toSorted());
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("two attempts", () => {
  const twoAttempts = async () => {
    const first = await ground.open();
    await ground.store.advance(first.payment.id, { status: "expired", reason: "deadline", source: "clock" });
    const second = await ground.open({ orderId: first.event.orderId });
    await ground.store.advance(second.payment.id, { status: "processing", reference: "ws_second", source: "reply" });
    return { first: first.payment, second: second.payment, orderId: first.event.orderId };
  };

  it.each(["the failure first", "the success first"])(
    "end paid when the first one's late success races the second one's failure (%s in line)",
    async (line) => {
      const { first, second, orderId } = await twoAttempts();
      const order = await lockOrder(ground.database, orderId);
      const late = () => ground.store.advance(first.id, paid({ receipt: nextOrderId() }), webhook());
      const fails = () => ground.store.advance(second.id, failed(), webhook());
      const [one, two] = line === "the failure first" ? [fails, late] : [late, fails];
      const racing = [one()];
      await order.waiters(1);
      racing.push(two());
      await order.waiters(2);
      await order.release();
      await Promise.all(racing);
      const view = await ground.view(orderId);
      expect(view.order).toMatchObject({ status: "succeeded", reason: "late", payment: { id: first.id, attempt: 1 } });
      expect(view.events.map(({ version }) => version)).toEqual(view.events.map((_, index) => index + 1));
    },
  );

  it("paid twice stay paid by the first and name the other, once", async () => {
    const { first, second, orderId } = await twoAttempts();
    const order = await lockOrder(ground.database, orderId);
    const receipts = [nextOrderId(), nextOrderId()];
    const racing = [ground.store.advance(second.id, paid({ receipt: receipts[1] ?? "" }), webhook())];
    await order.waiters(1);
    racing.push(ground.store.advance(first.id, paid({ receipt: receipts[0] ?? "" }), webhook()));
    await order.waiters(2);
    await order.release();
    await Promise.all(racing);
    await ground.store.advance(first.id, paid({ receipt: receipts[0] ?? "" }), webhook());
    const { order: state, events } = await ground.view(orderId);
    expect(state).toMatchObject({
      status: "succeeded",
      reason: "paid_twice",
      alsoPaid: [first.id],
      payment: { id: second.id, receipt: receipts[1], amountPaidMinor: 15_000 },
    });
    expect(events.filter(({ reason }) => reason === "paid_twice")).toHaveLength(1);
  });

  it("leave the order to the latest: an earlier one's failure is not news", async () => {
    const { first, orderId } = await twoAttempts();
    const { version } = (await ground.view(orderId)).order;
    expect(await ground.store.advance(first.id, failed())).toEqual({ result: "applied" });
    const { order, payments } = await ground.view(orderId);
    expect(order).toMatchObject({ status: "processing", version });
    expect(payments[0]).toMatchObject({ status: "failed", reason: "cancelled" });
  });
});

describe("bytes that no statement can take", () => {
  it("are refused by the database as such, and can still be kept", async () => {
    const { event, payment } = await ground.open();
    const error = await ground.store
      .advance(payment.id, paid({ receipt: "R\u0000" }), webhook("R\\u0000"))
      .catch((cause: unknown) => cause);
    expect(error).not.toBeInstanceOf(HubError);
    await ground.inbox.insert({ ...webhook("R\\u0000"), paymentId: payment.id, result: "error", error: String(error) });
    await ground.store.checkNow(payment.id);
    const { rows } = await ground.database.pool.query(
      "select w.result, p.check_at <= clock_timestamp() + interval '1 second' as due from webhook w join payment p on p.id = w.payment_id where p.id = $1",
      [payment.id],
    );
    expect(rows).toEqual([{ result: "error", due: true }]);
    expect((await ground.view(event.orderId)).order.version).toBe(1);
  });
});

describe("changes", () => {
  it("name what changed lately with its version, and the database's clock", async () => {
    const { event } = await ground.open();
    const { at, changes } = await ground.store.changedSince();
    expect(changes).toContainEqual({ id: event.id, version: 1 });
    await ground.database.pool.query(`update "order" set changed_at = changed_at - interval '1 minute' where id = $1`, [
      event.id,
    ]);
    expect((await ground.store.changedSince(at)).changes).not.toContainEqual({ id: event.id, version: 1 });
  });

  it("read current states by id, in any number", async () => {
    const opened = await Promise.all(Array.from({ length: 25 }, () => ground.open()));
    const found = await ground.store.current(opened.map(({ event }) => event.id));
    expect(found.map(({ id }) => id).toSorted()).toEqual(opened.map(({ event }) => event.id).toSorted());
    expect(await ground.store.current(["00000000-0000-7000-8000-000000000000"])).toEqual([]);
  });
});

describe("what changed, among 10,000 orders", () => {
  it.each([
    ["just now", 0, 0],
    ["in the last two hours", 125, 12],
  ])("(%s) is read through its index, and nothing else is", async (_when, minutes, changes) => {
    const { database, close } = await openManyOrders();
    onTestFinished(close);
    const since = minutes === 0 ? null : new Date(Date.now() - minutes * 60_000).toISOString();
    for (const isGeneric of [false, true]) {
      const steps = await planStepsOf(database, { statement: changedStatement, values: [since], isGeneric });
      expect(tableReadsOf(steps, "order")).toEqual([{ index: "order_changed", rows: changes }]);
    }
  });
});
