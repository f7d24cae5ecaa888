import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Outcome } from "../../server/order/order.ts";
import type { Advanced, InboxRow } from "../../server/order/store.ts";
import { failed, holdOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** More than may be written at once on their own. */
const ahead = 2;

const webhook = (body: string): InboxRow => ({
  provider: "daraja",
  proof: "secret",
  headers: {},
  body: Buffer.from(body),
});

interface Told {
  paymentId: string;
  outcome?: Outcome;
  body?: string;
}

/** Tells of all of them while every way in is taken, so that they are written together: by now they are being written. */
async function tell(told: readonly Told[]): Promise<{ asked: Promise<Advanced>[]; statements: () => string[] }> {
  const first = await Promise.all(Array.from({ length: ahead }, () => ground.open()));
  const locks = await Promise.all(first.map(({ event }) => holdOrder(ground.database, event.orderId)));
  const taken = first.map(({ payment }) => ground.store.advance(payment.id, paid(), webhook("ahead")));
  await locks[0]?.waiters(ahead);
  const query = vi.spyOn(ground.database.webhookPool, "query");
  onTestFinished(() => query.mockRestore());
  const asked = told.map(({ paymentId, outcome = paid(), body = "{}" }) =>
    ground.store.advance(paymentId, outcome, webhook(body)),
  );
  // Whoever fails is heard later.
  for (const one of asked) one.catch(() => undefined);
  await Promise.all(locks.map((lock) => lock.release()));
  await Promise.all(taken);
  return { asked, statements: () => query.mock.calls.map(([config]) => (config as unknown as { name: string }).name) };
}

async function tellTogether(told: readonly Told[]) {
  const { asked, statements } = await tell(told);
  return { results: await Promise.allSettled(asked), statements: statements() };
}

const resultsOf = (results: PromiseSettledResult<Advanced>[]): unknown[] =>
  results.map((one) => (one.status === "fulfilled" ? one.value.result : "failed"));

const open = (count: number) => Promise.all(Array.from({ length: count }, () => ground.open()));

const keptOf = async (body: string): Promise<string[]> => {
  const { rows } = await ground.database.pool.query<{ result: string }>(
    "select result from webhook where body = $1 order by id",
    [Buffer.from(body)],
  );
  return rows.map(({ result }) => result);
};

describe("webhooks that come at once", () => {
  it("are written in one statement, each to its own order, and each event is told once", async () => {
    const orders = await open(20);
    const told = orders.map(({ payment }, index) => ({
      paymentId: payment.id,
      outcome: index % 2 === 0 ? paid({ receipt: nextOrderId(), reference: `ws-${index}` }) : failed(),
      body: `of ${payment.id}`,
    }));
    const { results, statements } = await tellTogether(told);
    expect(statements).toEqual(["advance-group"]);
    expect(resultsOf(results)).toEqual(orders.map(() => "applied"));
    for (const [index, { event }] of orders.entries()) {
      const { order, events, payments } = await ground.view(event.orderId);
      expect(order).toMatchObject({ version: 2, status: index % 2 === 0 ? "succeeded" : "failed" });
      expect(payments[0]?.reference ?? null).toBe(index % 2 === 0 ? `ws-${index}` : null);
      expect(events.map(({ version }) => version)).toEqual([1, 2]);
      expect(ground.announced.filter(({ id }) => id === event.id)).toEqual([event, order]);
      expect(await keptOf(told[index]?.body ?? "")).toEqual(["applied"]);
    }
  });

  it("of one payment change it once, and all are kept", async () => {
    const other = await ground.open();
    const { event, payment } = await ground.open();
    const body = `thrice ${payment.id}`;
    const again = { paymentId: payment.id, outcome: paid({ receipt: nextOrderId() }), body };
    const { results } = await tellTogether([again, { paymentId: other.payment.id }, again, again]);
    expect(resultsOf(results).toSorted()).toEqual(["applied", "applied", "repeat", "repeat"]);
    expect((await ground.view(event.orderId)).order).toMatchObject({ version: 2, status: "succeeded" });
    expect((await keptOf(body)).toSorted()).toEqual(["applied", "repeat", "repeat"]);
  });

  it("of two attempts of one order are both seen, in versions without a gap", async () => {
    const one = await ground.open();
    await ground.store.advance(one.payment.id, failed());
    const two = await ground.open({ orderId: one.event.orderId });
    const { results } = await tellTogether(
      [one, two].map(({ payment }) => ({ paymentId: payment.id, outcome: paid({ receipt: nextOrderId() }) })),
    );
    expect(resultsOf(results)).toEqual(["applied", "applied"]);
    const { order, events } = await ground.view(one.event.orderId);
    expect(order).toMatchObject({ status: "succeeded", reason: "paid_twice", version: 5 });
    expect(order.alsoPaid).toHaveLength(1);
    expect(events.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5]);
  });

  it("with one receipt for two payments pay one, and send the other to review", async () => {
    const pair = await open(2);
    const receipt = nextOrderId();
    const { results } = await tellTogether(
      pair.map(({ payment }) => ({ paymentId: payment.id, outcome: paid({ receipt }) })),
    );
    expect(resultsOf(results)).toEqual(["applied", "applied"]);
    const orders = await Promise.all(pair.map(async ({ event }) => (await ground.view(event.orderId)).order));
    expect(orders.map(({ status }) => status).toSorted()).toEqual(["review", "succeeded"]);
  });

  it("do not wait for one whose payment is locked, and that one is not lost", async () => {
    const locked = await ground.open();
    const others = await open(3);
    const holder = await ground.database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query("begin");
    await holder.query("select from payment where id = $1 for update", [locked.payment.id]);
    const { asked, statements } = await tell([locked, ...others].map(({ payment }) => ({ paymentId: payment.id })));
    const [late, ...soon] = asked;
    expect(resultsOf(await Promise.allSettled(soon))).toEqual(["applied", "applied", "applied"]);
    await holder.query("commit");
    expect(await late).toMatchObject({ result: "applied", event: { version: 2, status: "succeeded" } });
    expect(statements()).toEqual(["advance-group", "advance-with-webhook"]);
  });

  it("are not spoilt by one that no column takes", async () => {
    const [bad, good] = [await ground.open(), await ground.open()];
    const { results } = await tellTogether([
      { paymentId: bad.payment.id, outcome: paid({ receipt: "nul\u0000" }) },
      { paymentId: good.payment.id },
    ]);
    expect(resultsOf(results)).toEqual(["failed", "applied"]);
  });

  it("keep one that is of no payment of ours among them", async () => {
    const { payment } = await ground.open();
    const body = `stranger ${nextOrderId()}`;
    const { results } = await tellTogether([
      { paymentId: "00000000-0000-7000-8000-000000000000", body },
      { paymentId: payment.id },
    ]);
    expect(resultsOf(results)).toEqual(["unmatched", "applied"]);
    expect(await keptOf(body)).toEqual(["unmatched"]);
  });
});
