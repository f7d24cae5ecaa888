/** Results of an order: changes by the merchant, and their races with each other and with evidence. */
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openDatabase } from "../../server/database/pool.ts";
import type { Outcome, Result, Status } from "../../server/order/order.ts";
import { createOrderStore, type Opened, type OrderStore } from "../../server/order/store.ts";
import { failed, lockOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

const voucher: Result = { id: "voucher-1", kind: "voucher", title: "Airtime", code: "4821 9930" };
const link: Result = { id: "book", kind: "link", title: "Your book", url: "https://shop.example/books/7f3a" };

const textOf = (id: string, length = 1): Result => ({ id, kind: "text", title: id, text: "x".repeat(length) });

const receipt = nextOrderId;

/** Opens an order and pays it: version 2. */
async function openPaid(outcome: Partial<Outcome> = {}): Promise<Required<Opened>> {
  const opened = await ground.open();
  await ground.store.advance(opened.payment.id, paid({ receipt: receipt(), ...outcome }));
  return opened;
}

/** Opens an order whose first attempt failed and whose second one paid it: version 4. */
async function openPaidBySecond(): Promise<{ orderId: string; first: string; second: string }> {
  const { event, payment } = await ground.open();
  await ground.store.advance(payment.id, failed());
  const second = await ground.open({ orderId: event.orderId });
  await ground.store.advance(second.payment.id, paid({ receipt: receipt() }));
  return { orderId: event.orderId, first: payment.id, second: second.payment.id };
}

/** The store of another node. */
function openOther(): OrderStore {
  const database = openDatabase(ground.database.pool.options.connectionString ?? "", () => undefined);
  onTestFinished(database.close);
  return createOrderStore({
    database,
    announce: (event) => ground.announced.push(event),
    amountlessProviders: ["daraja"],
  });
}

/** The history, whose versions have no gap, and whose last state is the order's. */
async function historyOf(orderId: string) {
  const { order, events } = await ground.view(orderId);
  expect(events.map(({ version }) => version)).toEqual(events.map((_, index) => index + 1));
  const { source: _, ...last } = events.at(-1) ?? {};
  expect(last).toEqual(order);
  return { order, events };
}

const idsOf = (results: readonly Result[] | undefined): string[] => (results ?? []).map(({ id }) => id);

describe("putResult", () => {
  it("adds results to a paid order, each as the next version, and announces it (G3)", async () => {
    const { event } = await openPaid();
    const before = (await ground.view(event.orderId)).order;
    const first = await ground.store.putResult(event.orderId, voucher);
    expect(first).toEqual({ isChanged: true, event: ground.announced.at(-1) });
    expect(first.event).toEqual({ ...before, version: 3, results: [voucher], occurredAt: first.event.occurredAt });
    const second = await ground.store.putResult(event.orderId, link);
    expect(second.event).toMatchObject({ version: 4, results: [voucher, link] });
    const { events } = await historyOf(event.orderId);
    expect(events.map(({ source, results }) => [source, results?.length])).toEqual([
      [undefined, undefined],
      ["webhook", undefined],
      ["merchant", 1],
      ["merchant", 2],
    ]);
  });

  it("takes one round trip", async () => {
    const { event } = await openPaid();
    const query = vi.spyOn(pg.Client.prototype, "query");
    onTestFinished(() => query.mockRestore());
    await ground.store.putResult(event.orderId, voucher);
    expect(query.mock.calls.map(([statement]) => (statement as { name?: string }).name)).toEqual(["put-result"]);
  });

  it("replaces the result with the same id in its place", async () => {
    const { event } = await openPaid();
    for (const result of [voucher, link]) await ground.store.putResult(event.orderId, result);
    const other: Result = { id: voucher.id, kind: "text", title: "Collect it", text: "Counter 3" };
    const { event: changed } = await ground.store.putResult(event.orderId, other);
    expect(changed).toMatchObject({ version: 5, results: [other, link] });
  });

  it("makes no version of an identical result, whatever the order of its fields", async () => {
    const { event } = await openPaid();
    const { event: changed } = await ground.store.putResult(event.orderId, voucher);
    const announced = ground.announced.length;
    const { id, kind, title, code } = voucher as Required<Result>;
    expect(await ground.store.putResult(event.orderId, { code, title, kind, id })).toEqual({
      isChanged: false,
      event: changed,
    });
    expect(ground.announced.length).toBe(announced);
    await historyOf(event.orderId);
  });

  const unpaid: [Status, (paymentId: string) => Promise<unknown>][] = [
    ["pending", async () => undefined],
    ["processing", (id) => ground.store.advance(id, { status: "processing", reference: receipt(), source: "reply" })],
    ["failed", (id) => ground.store.advance(id, failed())],
    ["expired", (id) => ground.store.advance(id, { status: "expired", reason: "deadline", source: "clock" })],
    ["review", (id) => ground.store.advance(id, paid({ amountMinor: 1n, receipt: receipt() }))],
  ];

  it.each(unpaid)("refuses an order that is %s, with its state", async (status, reach) => {
    const { event, payment } = await ground.open();
    await reach(payment.id);
    const { order } = await ground.view(event.orderId);
    expect(order.status).toBe(status);
    await expect(ground.store.putResult(event.orderId, voucher)).rejects.toMatchObject({
      code: "order_unpaid",
      details: { order },
    });
    expect((await historyOf(event.orderId)).order).toEqual(order);
  });

  it("refuses an unknown order", async () => {
    await expect(ground.store.putResult("ORD-nowhere", voucher)).rejects.toMatchObject({ code: "order_unknown" });
  });

  const tooMany = { code: "body_invalid", details: { errors: [{ path: "results" }] } };

  it("refuses the 21st result, and still replaces one of 20", async () => {
    const { event } = await openPaid();
    for (let n = 1; n <= 20; n += 1) await ground.store.putResult(event.orderId, textOf(`r${n}`));
    await expect(ground.store.putResult(event.orderId, textOf("r21"))).rejects.toMatchObject(tooMany);
    const { event: changed } = await ground.store.putResult(event.orderId, textOf("r20", 2));
    expect([changed.version, changed.results?.length]).toEqual([23, 20]);
  });

  it("refuses results of more than 8 KiB together, and takes a smaller one in the place of a large one", async () => {
    const { event } = await openPaid();
    await ground.store.putResult(event.orderId, textOf("large", 8_000));
    await expect(ground.store.putResult(event.orderId, textOf("more", 200))).rejects.toMatchObject(tooMany);
    await ground.store.putResult(event.orderId, textOf("large", 100));
    const { event: changed } = await ground.store.putResult(event.orderId, textOf("more", 200));
    expect(idsOf(changed.results)).toEqual(["large", "more"]);
    await historyOf(event.orderId);
  });

  it("never dates a state before the previous one, even when the clock went back", async () => {
    const { event } = await openPaid();
    await ground.database.pool.query(`update "order" set changed_at = changed_at + interval '1 hour' where id = $1`, [
      event.id,
    ]);
    const before = (await ground.view(event.orderId)).order.occurredAt;
    expect((await ground.store.putResult(event.orderId, voucher)).event.occurredAt).toBe(before);
  });
});

describe("removeResult", () => {
  it("removes one result as the next version, and the field with the last one", async () => {
    const { event } = await openPaid();
    for (const result of [voucher, link]) await ground.store.putResult(event.orderId, result);
    const first = await ground.store.removeResult(event.orderId, voucher.id);
    expect(first).toMatchObject({ version: 5, status: "succeeded", results: [link] });
    expect(ground.announced.at(-1)).toEqual(first);
    const second = await ground.store.removeResult(event.orderId, link.id);
    expect(second).toMatchObject({ version: 6, status: "succeeded" });
    expect(second).not.toHaveProperty("results");
    expect((await historyOf(event.orderId)).events.at(-1)).toMatchObject({ source: "merchant" });
  });

  it("refuses a result that the order does not have, and an unknown order", async () => {
    const { event } = await openPaid();
    const unknown = { code: "result_unknown" };
    await expect(ground.store.removeResult(event.orderId, "none")).rejects.toMatchObject(unknown);
    await ground.store.putResult(event.orderId, voucher);
    await expect(ground.store.removeResult(event.orderId, "none")).rejects.toMatchObject(unknown);
    await ground.store.removeResult(event.orderId, voucher.id);
    await expect(ground.store.removeResult(event.orderId, voucher.id)).rejects.toMatchObject(unknown);
    await expect(ground.store.removeResult("ORD-nowhere", "none")).rejects.toMatchObject({ code: "order_unknown" });
    expect((await historyOf(event.orderId)).order.version).toBe(4);
  });
});

describe("results that two nodes change at once", () => {
  it("are all kept, in versions without a gap (G3)", async () => {
    const { event } = await openPaid();
    const stores = [ground.store, openOther()];
    const held = await lockOrder(ground.database, event.orderId);
    const results = Array.from({ length: 8 }, (_, n) => textOf(`r${n}`));
    const changes = results.map((result, n) => stores[n % 2]?.putResult(event.orderId, result));
    await held.waiters(8);
    await held.release();
    const versions = (await Promise.all(changes)).map((changed) => changed?.event.version ?? 0);
    expect(versions.toSorted((one, two) => one - two)).toEqual([3, 4, 5, 6, 7, 8, 9, 10]);
    const { order, events } = await historyOf(event.orderId);
    expect(idsOf(order.results).toSorted()).toEqual(idsOf(results));
    expect(events.slice(2).map((state) => state.results?.length)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(ground.announced.filter(({ id }) => id === event.id)).toHaveLength(10);
  });

  it("make one version when both put the same result, or remove the same one", async () => {
    const { event } = await openPaid();
    const stores = [ground.store, openOther()];
    const held = await lockOrder(ground.database, event.orderId);
    const puts = stores.map((store) => store.putResult(event.orderId, voucher));
    await held.waiters(2);
    await held.release();
    expect((await Promise.all(puts)).map(({ isChanged }) => isChanged).toSorted()).toEqual([false, true]);
    const again = await lockOrder(ground.database, event.orderId);
    const removals = Promise.allSettled(stores.map((store) => store.removeResult(event.orderId, voucher.id)));
    await again.waiters(2);
    await again.release();
    expect((await removals).map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect((await historyOf(event.orderId)).order.version).toBe(4);
  });

  it("do not pass 20 together", async () => {
    const { event } = await openPaid();
    for (let n = 1; n <= 19; n += 1) await ground.store.putResult(event.orderId, textOf(`r${n}`));
    const held = await lockOrder(ground.database, event.orderId);
    const puts = Promise.allSettled(
      [ground.store, openOther()].map((store, n) => store.putResult(event.orderId, textOf(`last${n}`))),
    );
    await held.waiters(2);
    await held.release();
    expect((await puts).map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect((await historyOf(event.orderId)).order.results).toHaveLength(20);
  });
});

describe("a result that races with evidence", () => {
  /** Both wait for the order's lock, in either order. Returns the state after both. */
  async function race(
    orderId: string,
    put: () => Promise<unknown>,
    evidence: () => Promise<unknown>,
    isFirst: boolean,
  ) {
    const held = await lockOrder(ground.database, orderId);
    const [first, second] = isFirst ? [put, evidence] : [evidence, put];
    const begun = first();
    await held.waiters(1);
    const both = Promise.allSettled([begun, second()]);
    await held.waiters(2);
    await held.release();
    const settled = await both;
    expect(settled.map((one) => (one.status === "rejected" ? one.reason : "done"))).toEqual(["done", "done"]);
    return historyOf(orderId);
  }

  const turns = [
    ["before", true],
    ["after", false],
  ] as const;

  it.each(turns)("is kept when another attempt pays too, %s it (G2)", async (_turn, isFirst) => {
    const { orderId, first, second } = await openPaidBySecond();
    const { order, events } = await race(
      orderId,
      () => openOther().putResult(orderId, voucher),
      () => ground.store.advance(first, paid({ receipt: receipt() })),
      isFirst,
    );
    expect(order).toMatchObject({
      version: 6,
      status: "succeeded",
      reason: "paid_twice",
      payment: { id: second },
      alsoPaid: [first],
      results: [voucher],
    });
    expect(events.slice(4).map(({ results }) => idsOf(results))).toEqual([isFirst ? ["voucher-1"] : [], ["voucher-1"]]);
  });

  it.each(turns)("is kept when a late receipt arrives, %s it", async (_turn, isFirst) => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, paid());
    const { order } = await race(
      event.orderId,
      () => ground.store.putResult(event.orderId, voucher),
      () => ground.store.advance(payment.id, paid({ receipt: `LATE-${event.orderId}` })),
      isFirst,
    );
    expect(order).toMatchObject({
      version: 4,
      status: "succeeded",
      payment: { receipt: `LATE-${event.orderId}` },
      results: [voucher],
    });
  });

  it("is accepted when the success that it waits for is committed first", async () => {
    const { event, payment } = await ground.open();
    const { order } = await race(
      event.orderId,
      () => ground.store.putResult(event.orderId, voucher),
      () => ground.store.advance(payment.id, paid({ receipt: receipt() })),
      false,
    );
    expect(order).toMatchObject({ version: 3, status: "succeeded", results: [voucher] });
  });
});
