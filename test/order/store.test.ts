/** The order store: opening orders, deciding on evidence, and reading states. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { HubError } from "../../server/errors.ts";
import type { InboxRow } from "../../server/order/evidence.ts";
import type { Outcome } from "../../server/order/order.ts";
import { createReview, type ResolvedReview } from "../../server/order/review.ts";
import { createOrderStore } from "../../server/order/store.ts";
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

describe("open", () => {
  it("commits version 1 as pending, with a deadline by PostgreSQL's clock", async () => {
    const { event, payment } = await ground.open({ deadlineS: 120 });
    expect(event).toMatchObject({ version: 1, status: "pending", settled: false, live: false, amountMinor: 15_000 });
    expect(event.payment).toMatchObject({ id: payment.id, provider: "daraja", attempt: 1 });
    expect(Date.parse(event.payment.expiresAt) - Date.parse(event.payment.startedAt)).toBe(120_000);
    const view = await ground.view(event.orderId);
    expect(view.order).toEqual(event);
    expect(view.events).toEqual([event]);
    expect(announcedOf(event.id)).toEqual([event]);
  });

  it("takes one round trip", async () => {
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

  it("opens an order once for 20 concurrent requests, and refuses the others with the order's state", async () => {
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

  it("opens attempt 2 of a failed order as its next version (G3)", async () => {
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

  it("replaces the fields that a further attempt states, and keeps the others", async () => {
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
    for (const [what, other] of [
      ["another amount", { amountMinor: 15_001n }],
      ["another currency", { currency: "TZS" }],
      ["another amount and currency", { amountMinor: 15_001n, currency: "TZS" }],
      [
        "another amount and other items",
        { amountMinor: 15_001n, items: [{ name: "A", quantity: 1, unitAmountMinor: 15_001 }] },
      ],
    ] as const) {
      expect(await problemOf(ground.store.open(draftOf({ orderId: three.event.orderId, ...other })))).toMatchObject({
        code: "order_mismatch",
        message: `The order was opened with ${what}`,
        details: { order: { status: "failed" } },
      });
    }
  });
});

describe("items", () => {
  const items = [
    { name: "Ticket", quantity: 2, unitAmountMinor: 7_000, sku: "TICKET-A" },
    { name: "Fee", quantity: 1, unitAmountMinor: 1_000 },
  ];
  const mismatch = { code: "order_mismatch", message: "The order was opened with other items" };

  it("are fixed when the order opens: another attempt has the same ones, or none and keeps them", async () => {
    const { event, payment } = await ground.open({ items, lang: "sw" });
    const { orderId } = event;
    await ground.store.advance(payment.id, failed());
    for (const other of [[items[1], items[0]], items.slice(1), [{ ...items[0], name: "Seat" }, items[1]]]) {
      const draft = draftOf({ orderId, items: other as typeof items });
      expect(await problemOf(ground.store.open(draft))).toMatchObject({
        ...mismatch,
        details: { order: { version: 2 } },
      });
    }
    const second = await ground.open({ orderId });
    await ground.store.advance(second.payment.id, failed());
    expect(await ground.view(orderId)).toMatchObject({ items, lang: "sw" });
    // The order of the fields does not matter.
    const same = items.map((item) => Object.fromEntries(Object.entries(item).toReversed())) as typeof items;
    await ground.open({ orderId, items: same, lang: "bn" });
    expect(await ground.view(orderId)).toMatchObject({ items, lang: "bn", order: { version: 5 } });
  });

  it("cannot be added to an order that was opened without them", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    expect(await problemOf(ground.store.open(draftOf({ orderId: event.orderId, items })))).toMatchObject(mismatch);
    expect(await ground.view(event.orderId)).toMatchObject({ items: null, lang: null });
  });

  it("that differ are stated before the order's status", async () => {
    const { event } = await ground.open({ items });
    const draft = draftOf({ orderId: event.orderId, items: items.slice(1) });
    expect(await problemOf(ground.store.open(draft))).toMatchObject(mismatch);
    expect(await problemOf(ground.store.open({ ...draft, items }))).toMatchObject({ code: "payment_in_progress" });
  });

  it("make another request for one idempotency key, and so does the language", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId(), items, lang: "en" });
    const { event } = await ground.store.open(draft);
    expect(await ground.store.open(draft)).toEqual({ event });
    for (const other of [
      { items: items.slice(1) },
      { items: undefined },
      { lang: "bn" },
      { lang: undefined },
    ] as const) {
      expect(await problemOf(ground.store.open({ ...draft, ...other }))).toMatchObject({
        code: "idempotency_mismatch",
      });
    }
  });
});

describe("open with limits", () => {
  const limits = { phone: 3, order: 2 };
  const longAgo = "2026-01-01T00:00:00Z";
  /** Stores of two nodes on one database. */
  const nodes = () =>
    [1, 2].map(() =>
      createOrderStore({ database: ground.database, announce: () => undefined, amountlessProviders: [], limits }),
    );
  const limited = (what: string, max: number, other = "") =>
    expect.objectContaining({
      code: "rate_limited",
      message: expect.stringMatching(
        new RegExp(
          `^Too many payments for this ${what}: at most ${max} in 10 min\\. Try again in (?:\\d+ s|\\d+ min)${other}$`,
        ),
      ),
    });

  it("counts a phone's payments across concurrent requests and nodes, but no refused request", async () => {
    const phone = "+254712345001";
    const [one, other] = nodes();
    const { event } = (await one?.open(draftOf({ phone }))) ?? expect.unreachable();
    // These requests are refused and prompt nobody, so that they do not count.
    for (let refusals = 0; refusals < 5; refusals += 1) {
      await expect(other?.open(draftOf({ phone, orderId: event.orderId }))).rejects.toMatchObject({
        code: "payment_in_progress",
      });
    }
    // No request can write its event, so that all of them have counted before the first one commits.
    const held = await lockEvents(ground.database);
    const opening = Promise.allSettled(
      Array.from({ length: 8 }, (_, index) => (index % 2 ? one : other)?.open(draftOf({ phone }))),
    );
    await held.waiters(8);
    await held.release();
    const results = await opening;
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(2);
    const refused = results.flatMap((result) => (result.status === "rejected" ? [result.reason] : []));
    expect(refused).toEqual(Array(6).fill(limited("phone", 3)));
    await one?.open(draftOf({ phone: "+254712345002" }));
  });

  it("refuses a phone until its oldest counted payment is 10 minutes old, and states the time left", async () => {
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
    await expect(one?.open(draftOf({ phone }))).rejects.toEqual(limited("phone", 3));
  });

  it("names another number with the same ending, if the phone is a sandbox's", async () => {
    const phone = "+254712345901";
    const [one] = nodes();
    for (let opened = 0; opened < 3; opened += 1) await one?.open(draftOf({ phone }));
    const refused = one?.open({ ...draftOf({ phone }), isSandbox: true });
    const other = ", or use another number with the same ending, such as \\+254712345001";
    await expect(refused).rejects.toEqual(limited("phone", 3, other));
  });

  it("counts a phone's live payments and sandbox payments apart", async () => {
    const [one, other] = nodes();
    const phone = "+254712345009";
    for (const live of [false, true]) {
      for (let opened = 0; opened < 3; opened += 1) await one?.open(draftOf({ phone, live }));
    }
    for (const live of [false, true]) {
      await expect(other?.open(draftOf({ phone, live }))).rejects.toEqual(limited("phone", 3));
    }
    // Only the sandbox payments become old, so that only a sandbox payment is allowed again.
    await ground.database.pool.query("update payment set started_at = $2 where phone = $1 and not live", [
      phone,
      longAgo,
    ]);
    await expect(other?.open(draftOf({ phone, live: true }))).rejects.toMatchObject({ code: "rate_limited" });
    await other?.open(draftOf({ phone, live: false }));
  });

  it("counts an order's attempts, whatever their phone, before it states any other reason", async () => {
    const [one, other] = nodes();
    const orderId = nextOrderId();
    for (const phone of ["+254712345004", "+254712345005"]) {
      const { payment } = (await one?.open(draftOf({ orderId, phone }))) ?? expect.unreachable();
      await other?.advance(payment?.id ?? "", failed());
    }
    const again = [one, other].map((node) => node?.open(draftOf({ orderId, phone: "+254712345006" })));
    for (const refusal of await Promise.allSettled(again)) {
      expect(refusal).toEqual({ status: "rejected", reason: limited("order", 2) });
    }
    await ground.database.pool.query(
      `update payment set started_at = $2 where order_uuid = (select id from "order" where order_id = $1)`,
      [orderId, longAgo],
    );
    const { event } = (await one?.open(draftOf({ orderId, phone: "+254712345006" }))) ?? expect.unreachable();
    expect(event.payment.attempt).toBe(3);
  });

  it("counts a phone last, so that a request that waits for an order does not delay the phone's others", async () => {
    const [one] = nodes();
    const phone = "+254712345008";
    const { payment, event } = (await one?.open(draftOf({ phone }))) ?? expect.unreachable();
    await one?.advance(payment?.id ?? "", failed());
    const held = await lockOrder(ground.database, event.orderId);
    const again = one?.open(draftOf({ phone, orderId: event.orderId }));
    const refused = expect(again).rejects.toEqual(limited("phone", 3));
    await held.waiters(1);
    await one?.open(draftOf({ phone }));
    await one?.open(draftOf({ phone }));
    await held.release();
    await refused;
    const [order] = await ground.store.current([event.id]);
    expect(order).toMatchObject({ status: "failed", version: 2 });
  });

  it("answers a used idempotency key even when the limit is reached", async () => {
    const [one] = nodes();
    const draft = draftOf({ phone: "+254712345007", idempotencyKey: nextOrderId() });
    const { event } = (await one?.open(draft)) ?? expect.unreachable();
    for (let opened = 1; opened < 3; opened += 1) await one?.open(draftOf({ phone: "+254712345007" }));
    expect(await one?.open(draft)).toEqual({ event });
  });
});

describe("idempotency key", () => {
  it("answers the same request with the current state, and opens nothing", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId(), metadata: { a: 1, b: 2 } });
    const { event, payment } = await ground.store.open(draft);
    await ground.store.advance(payment?.id ?? "", failed());
    const again = await ground.store.open({ ...draft, metadata: { b: 2, a: 1 } });
    expect(again).toEqual({ event: expect.objectContaining({ id: event.id, version: 2, status: "failed" }) });
    expect((await ground.view(draft.orderId)).payments).toHaveLength(1);
  });

  it("refuses a different request", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId() });
    await ground.store.open(draft);
    expect(await problemOf(ground.store.open({ ...draft, orderId: nextOrderId() }))).toMatchObject({
      code: "idempotency_mismatch",
    });
    expect(await problemOf(ground.store.open({ ...draft, phone: "+254700000002" }))).toMatchObject({
      code: "idempotency_mismatch",
    });
  });

  it("opens one payment for ten concurrent requests", async () => {
    const draft = draftOf({ idempotencyKey: nextOrderId() });
    const results = await Promise.all(Array.from({ length: 10 }, () => ground.store.open(draft)));
    expect(new Set(results.map(({ event }) => event.id)).size).toBe(1);
    expect(results.filter(({ payment }) => payment)).toHaveLength(1);
  });

  it("opens one of two orders that race for it", async () => {
    const key = nextOrderId();
    const results = await Promise.allSettled([1, 2].map(() => ground.store.open(draftOf({ idempotencyKey: key }))));
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    const [refused] = results.filter(({ status }) => status === "rejected") as PromiseRejectedResult[];
    expect(refused?.reason).toMatchObject({ code: "idempotency_mismatch" });
  });

  it("stays unused after a refused request", async () => {
    const { event, payment } = await ground.open();
    const draft = draftOf({ orderId: event.orderId, idempotencyKey: nextOrderId() });
    expect(await problemOf(ground.store.open(draft))).toMatchObject({ code: "payment_in_progress" });
    await ground.store.advance(payment.id, failed());
    expect((await ground.store.open(draft)).payment?.attempt).toBe(2);
  });

  it("can be used again after 72 hours", async () => {
    const idempotencyKey = nextOrderId();
    await ground.open({ idempotencyKey });
    await ground.database.pool.query(
      "update idempotency set created_at = created_at - interval '73 hours' where key = $1",
      [idempotencyKey],
    );
    expect((await ground.open({ idempotencyKey })).event.version).toBe(1);
  });
});

describe("advance", () => {
  it("records full evidence as a success, with receipt and amount", async () => {
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

  it("decides on a webhook and stores it in one round trip, by a prepared statement (G1)", async () => {
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

  it("sends another amount or currency to review, which full evidence lifts (G8)", async () => {
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

  it("accepts a success without an amount only where no query can state it, and never in review (G8)", async () => {
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

  it("sends an amount that it cannot read to review, after the query that could state it (G8)", async () => {
    const { status, source } = paid();
    const unreadable: Outcome = { status, source, reason: "amount_mismatch", receipt: nextOrderId() };
    const daraja = await ground.open();
    expect((await ground.store.advance(daraja.payment.id, unreadable, webhook())).event).toMatchObject({
      status: "review",
      reason: "amount_mismatch",
      payment: { receipt: unreadable.receipt },
    });

    const zenopay = await ground.open({ provider: "zenopay" });
    expect(await ground.store.advance(zenopay.payment.id, unreadable, webhook())).toMatchObject({ result: "hint" });
    expect(await ground.store.advance(zenopay.payment.id, { ...unreadable, source: "reply" })).toMatchObject({
      result: "hint",
    });
    const { event } = await ground.store.advance(zenopay.payment.id, { ...unreadable, source: "query" });
    expect(event).toMatchObject({ status: "review", reason: "amount_mismatch" });
    expect(event?.payment).not.toHaveProperty("amountPaidMinor");
  });

  it("keeps a success after contradicting evidence, and records one event for it (G2, G6)", async () => {
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

  it("never dates an event before the previous one, even when the clock went back", async () => {
    const { event, payment } = await ground.open();
    const ahead = await ground.database.pool.query<{ changed_at: Date }>(
      `update "order" set changed_at = changed_at + interval '1 hour' where id = $1 returning changed_at`,
      [event.id],
    );
    const { event: next } = await ground.store.advance(payment.id, paid());
    expect(next?.occurredAt).toBe(ahead.rows[0]?.changed_at.toISOString());
  });

  it("records a success after a failure with the reason `late`", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, failed());
    await ground.store.advance(payment.id, paid());
    expect((await ground.view(event.orderId)).order).toMatchObject({ status: "succeeded", reason: "late", version: 3 });
  });

  it("adds a receipt to a success as one change (G6)", async () => {
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

  it("takes evidence with another reference only as a reason to query the provider", async () => {
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

  it("leaves a success without its amount to the next query when a query reported it, and queries at once after a webhook", async () => {
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

  it("adds the reference of a reply that arrives after the success, without another version", async () => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid({}), webhook());
    await ground.store.advance(payment.id, { status: "processing", reference: "ws_late_reply", source: "reply" });
    const { order, payments } = await ground.view(event.orderId);
    expect(order).toMatchObject({ status: "succeeded", version: 2 });
    expect(payments[0]).toMatchObject({ reference: "ws_late_reply" });
  });

  it("stores a webhook of an unknown payment and changes nothing (G1)", async () => {
    const body = `unmatched ${nextOrderId()}`;
    expect(await ground.store.advance("00000000-0000-7000-8000-000000000000", paid(), webhook(body))).toEqual({
      result: "unmatched",
    });
    const { rows } = await ground.database.pool.query("select result from webhook where body = $1", [
      Buffer.from(body),
    ]);
    expect(rows).toEqual([{ result: "unmatched" }]);
  });

  it("pays one of two payments that race with the same receipt, and sends the other to review", async () => {
    const receipt = nextOrderId();
    const pair = [await ground.open(), await ground.open()];
    await Promise.all(pair.map(({ payment }) => ground.store.advance(payment.id, paid({ receipt }), webhook())));
    const orders = await Promise.all(pair.map(async ({ event }) => (await ground.view(event.orderId)).order));
    expect(orders.map(({ status }) => status).toSorted()).toEqual(["review", "succeeded"]);
    expect(orders.find(({ status }) => status === "review")?.reason).toBe("receipt_reused");
  });
});

describe("rejected payment", () => {
  it("stays failed after the same evidence or a success without an amount, until full evidence pays it (G8)", async () => {
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

describe("resolve", () => {
  it.each(["succeeded", "failed"] as const)("reports two concurrent decisions for %s once", async (as) => {
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

  it.each([
    ["failed", "succeeded"],
    ["succeeded", "failed"],
  ] as const)("records %s and refuses a concurrent decision for %s with `not_in_review`", async (first, second) => {
    const { event, payment } = await ground.open();
    const { orderId } = event;
    await ground.store.advance(payment.id, paid({ amountMinor: 1n }));
    const review = createReview({ database: ground.database, store: ground.store, announce: () => undefined });
    const decide = (as: typeof first | typeof second) =>
      review.resolve({ orderId, paymentId: payment.id, as, note: "seen" });
    const order = await lockOrder(ground.database, orderId);
    const decided = decide(first);
    await order.waiters(1);
    const refused = expect(decide(second)).rejects.toMatchObject({
      code: "not_in_review",
      details: { order: { orderId, status: first } },
    });
    await order.waiters(2);
    await order.release();
    expect(await decided).toMatchObject({ status: first, version: 3 });
    await refused;
  });
});

describe("history", () => {
  it("has the source of each event except those that open an attempt, and no published state has one", async () => {
    const { event, payment } = await ground.open();
    const { orderId } = event;
    const advance = (outcome: Outcome) => ground.store.advance(payment.id, outcome);
    await advance({ status: "processing", reference: nextOrderId(), source: "reply" });
    await advance({ status: "expired", reason: "deadline", source: "clock" });
    await advance({ status: "failed", reason: "cancelled", source: "payer" });
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
    for (const state of [order, ...ground.announced]) expect(state).not.toHaveProperty("source");
  });
});

describe("climb", () => {
  it("makes one version and one announcement of 20 concurrent identical webhooks, and stores each (G1, G6)", async () => {
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
      "select count(*)::int as stored from webhook where payment_id = $1",
      [payment.id],
    );
    expect(rows).toEqual([{ stored: 20 }]);
  });

  it("ends in the same state for any sequence of the same evidence, in versions without a gap (G2, G3, G6)", async () => {
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

describe("order with two attempts", () => {
  const openTwoAttempts = async () => {
    const first = await ground.open();
    await ground.store.advance(first.payment.id, { status: "expired", reason: "deadline", source: "clock" });
    const second = await ground.open({ orderId: first.event.orderId });
    await ground.store.advance(second.payment.id, { status: "processing", reference: "ws_second", source: "reply" });
    return { first: first.payment, second: second.payment, orderId: first.event.orderId };
  };

  it.each(["failure", "success"])(
    "is paid when the first attempt's late success races the second's failure, with the %s first in the queue (G2, G3)",
    async (firstInQueue) => {
      const { first, second, orderId } = await openTwoAttempts();
      const order = await lockOrder(ground.database, orderId);
      const late = () => ground.store.advance(first.id, paid({ receipt: nextOrderId() }), webhook());
      const fails = () => ground.store.advance(second.id, failed(), webhook());
      const [one, two] = firstInQueue === "failure" ? [fails, late] : [late, fails];
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

  it("stays paid by the first success and lists the other attempt once (G2, G6)", async () => {
    const { first, second, orderId } = await openTwoAttempts();
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

  it("follows its latest attempt: a failure of an earlier one makes no event", async () => {
    const { first, orderId } = await openTwoAttempts();
    const { version } = (await ground.view(orderId)).order;
    expect(await ground.store.advance(first.id, failed())).toEqual({ result: "applied" });
    const { order, payments } = await ground.view(orderId);
    expect(order).toMatchObject({ status: "processing", version });
    expect(payments[0]).toMatchObject({ status: "failed", reason: "cancelled" });
  });
});

describe("webhook with a NUL character", () => {
  it("is refused by PostgreSQL, and can still be stored as an error (G1)", async () => {
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

describe("changedSince", () => {
  it("returns recently changed orders with their versions, and the time by PostgreSQL's clock", async () => {
    const { event } = await ground.open();
    const { at, changes } = await ground.store.changedSince();
    expect(changes).toContainEqual({ id: event.id, version: 1 });
    await ground.database.pool.query(`update "order" set changed_at = changed_at - interval '1 minute' where id = $1`, [
      event.id,
    ]);
    expect((await ground.store.changedSince(at)).changes).not.toContainEqual({ id: event.id, version: 1 });
  });
});

describe("current", () => {
  it("returns the states of any number of orders by id", async () => {
    const opened = await Promise.all(Array.from({ length: 25 }, () => ground.open()));
    const found = await ground.store.current(opened.map(({ event }) => event.id));
    expect(found.map(({ id }) => id).toSorted()).toEqual(opened.map(({ event }) => event.id).toSorted());
    expect(await ground.store.current(["00000000-0000-7000-8000-000000000000"])).toEqual([]);
  });

  it("returns the same states with PostgreSQL's time of the read", async () => {
    const { event } = await ground.open();
    const clock = async (): Promise<Date> =>
      (await ground.database.pool.query("select date_trunc('milliseconds', clock_timestamp()) as at")).rows[0].at;
    const before = await clock();
    const [timed] = await ground.store.currentWithTime([event.id]);
    const after = await clock();
    expect([timed?.event]).toStrictEqual(await ground.store.current([event.id]));
    const readAtMs = Date.parse(timed?.readAt ?? "");
    expect(readAtMs).toBeGreaterThanOrEqual(before.getTime());
    expect(readAtMs).toBeLessThanOrEqual(after.getTime());
  });
});
