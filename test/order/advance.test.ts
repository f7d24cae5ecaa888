import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Advanced } from "../../server/order/advance.ts";
import { advanceBatchStatement } from "../../server/order/decide.ts";
import { type InboxRow, toEvidence } from "../../server/order/evidence.ts";
import { payBatchStatement } from "../../server/order/fast-path.ts";
import type { Outcome } from "../../server/order/order.ts";
import type { Opened } from "../../server/order/store.ts";
import { failed, lockOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** As many groups as are written at once. */
const lanes = 2;

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

/** Holds a receipt from outside, as a payment would that is being paid with it. */
async function holdReceipt(paymentId: string, receipt: string): Promise<{ pid: number; release(): Promise<unknown> }> {
  const client = await ground.database.pool.connect();
  onTestFinished(() => client.release());
  await client.query("begin");
  await client.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
    receipt,
    paymentId,
  ]);
  const { rows } = await client.query<{ pid: number }>("select pg_backend_pid() as pid");
  return { pid: rows[0]?.pid ?? 0, release: () => client.query("rollback") };
}

/** The connections on which somebody waits for these. */
const waitersOf = async (pids: readonly number[]): Promise<number[]> => {
  const { rows } = await ground.database.pool.query<{ pid: number }>(
    "select pid from pg_stat_activity where pg_blocking_pids(pid) && $1::int[]",
    [pids],
  );
  return rows.map(({ pid }) => pid);
};

/** Tells of all of them while every group is under way, so that they are written together: by now they are being written. */
async function tell(
  told: readonly Told[],
  meanwhile: (waiting: readonly number[]) => Promise<unknown> = async () => undefined,
): Promise<{ asked: Promise<Advanced>[]; statements: () => string[] }> {
  const first = await Promise.all(Array.from({ length: lanes }, () => ground.open()));
  const held = first.map(({ payment }) => ({ payment, receipt: nextOrderId() }));
  const locks = await Promise.all(held.map(({ payment, receipt }) => holdReceipt(payment.id, receipt)));
  const pids = locks.map(({ pid }) => pid);
  const taken: Promise<Advanced>[] = [];
  for (const { payment, receipt } of held) {
    taken.push(ground.store.advance(payment.id, paid({ receipt }), webhook("ahead")));
    await vi.waitUntil(async () => (await waitersOf(pids)).length === taken.length, { interval: 5 });
  }
  const query = vi.spyOn(ground.database.webhookPool, "query");
  onTestFinished(() => query.mockRestore());
  const asked = told.map(({ paymentId, outcome = paid(), body = "{}" }) =>
    ground.store.advance(paymentId, outcome, webhook(body)),
  );
  // Whoever fails is heard later.
  for (const one of asked) one.catch(() => undefined);
  await meanwhile(await waitersOf(pids));
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

/** Its provider has taken it, and given it a reference. */
async function openTaken(): Promise<Required<Opened> & { reference: string }> {
  const opened = await ground.open();
  const reference = `ws-${opened.payment.id}`;
  await ground.store.advance(opened.payment.id, { status: "processing", reference, source: "reply" });
  return { ...opened, reference };
}

describe("webhooks that say no more than that all is paid", () => {
  const nameOf = ([config]: unknown[]): string => (config as { name: string }).name;

  it("are written by the cheaper statement, and those after them together", async () => {
    const orders = await Promise.all(Array.from({ length: 8 }, openTaken));
    const query = vi.spyOn(ground.database.webhookPool, "query");
    onTestFinished(() => query.mockRestore());
    const asked = orders.map(({ payment, reference }) =>
      ground.store.advance(payment.id, paid({ reference, receipt: nextOrderId() }), webhook("{}")),
    );
    expect(resultsOf(await Promise.allSettled(asked))).toEqual(orders.map(() => "applied"));
    // One in each lane, and then the others.
    expect(query.mock.calls.map(nameOf)).toEqual(["pay-batch", "pay-batch", "pay-batch"]);
  });

  it("are done alone when a receipt is held by another transaction, and keep nobody else", async () => {
    const { payment, reference } = await openTaken();
    const other = await openTaken();
    const receipt = nextOrderId();
    const lock = await holdReceipt(other.payment.id, receipt);
    const query = vi.spyOn(ground.database.webhookPool, "query");
    onTestFinished(() => query.mockRestore());
    const asked = ground.store.advance(payment.id, paid({ reference, receipt }), webhook("{}"));
    await vi.waitUntil(() => query.mock.calls.map(nameOf).includes("advance-with-webhook"));
    await lock.release();
    expect(await asked).toMatchObject({ result: "applied", event: { status: "succeeded" } });
    expect(query.mock.calls.map(nameOf)).toEqual(["pay-batch", "advance-with-webhook"]);
  });
});

describe("webhooks that come at once", () => {
  it("are written in one statement, each to its own order, and each event is told once", async () => {
    const orders = await open(20);
    const told = orders.map(({ payment }, index) => ({
      paymentId: payment.id,
      outcome: index % 2 === 0 ? paid({ reference: `ws-${index}` }) : failed(),
      body: `of ${payment.id}`,
    }));
    const { results, statements } = await tellTogether(told);
    expect(statements).toEqual(["advance-batch"]);
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
    expect(statements()).toEqual(["advance-batch", "advance-with-webhook"]);
  });

  it("do not wait for one whose order is locked either", async () => {
    const locked = await ground.open();
    const others = await open(3);
    const lock = await lockOrder(ground.database, locked.event.orderId);
    const { asked, statements } = await tell([locked, ...others].map(({ payment }) => ({ paymentId: payment.id })));
    const [late, ...soon] = asked;
    expect(resultsOf(await Promise.allSettled(soon))).toEqual(["applied", "applied", "applied"]);
    await lock.release();
    expect(await late).toMatchObject({ result: "applied", event: { version: 2, status: "succeeded" } });
    expect(statements()).toEqual(["advance-batch", "advance-with-webhook"]);
  });

  it("outlive the connection they are told over, and so do those who wait behind them", async () => {
    const orders = await open(40);
    const { asked } = await tell(
      orders.map(({ payment }) => ({ paymentId: payment.id })),
      async (waiting) => {
        expect(waiting).toHaveLength(lanes);
        await ground.database.pool.query("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", [waiting]);
      },
    );
    expect(resultsOf(await Promise.allSettled(asked))).toEqual(orders.map(() => "applied"));
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

it.each([
  ["webhook", webhook("{}")],
  ["query", undefined],
] as const)(
  "a %s locks payment, order and then receipt, so that it cannot deadlock with a group",
  async (source, row) => {
    const { event, payment, reference } = await openTaken();
    const receipt = nextOrderId();
    // As a group does, it has the order first and then wants the receipt; and it never gives way.
    const group = await ground.database.pool.connect();
    onTestFinished(() => group.release());
    await group.query("begin; set local deadlock_timeout = '1h'; set local lock_timeout = '500ms'");
    await group.query('select from "order" where id = $1 for no key update', [event.id]);
    const { rows } = await group.query<{ pid: number }>("select pg_backend_pid() as pid");
    const asked = ground.store.advance(payment.id, paid({ reference, receipt, source }), row);
    await vi.waitUntil(async () => (await waitersOf([rows[0]?.pid ?? 0])).length === 1, { interval: 5 });
    // Would wait, and fail, if the other had the receipt already.
    await group.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
      receipt,
      payment.id,
    ]);
    await group.query("rollback");
    expect(await asked).toMatchObject({ result: "applied", event: { status: "succeeded" } });
  },
);

it("an answer that deadlocks with another program is recorded by a second try", async () => {
  const { event, payment, reference } = await openTaken();
  const other = await openTaken();
  const receipt = nextOrderId();
  // It has the receipt first and then wants the order, and it never gives way.
  const program = await ground.database.pool.connect();
  onTestFinished(() => program.release());
  await program.query("begin; set local deadlock_timeout = '1h'");
  await program.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
    receipt,
    other.payment.id,
  ]);
  const { rows } = await program.query<{ pid: number }>("select pg_backend_pid() as pid");
  const asked = ground.store.advance(payment.id, paid({ reference, receipt, source: "query" }));
  await vi.waitUntil(async () => (await waitersOf([rows[0]?.pid ?? 0])).length === 1, { interval: 5 });
  await program.query('select from "order" where id = $1 for no key update', [event.id]);
  await program.query("rollback");
  expect(await asked).toMatchObject({ result: "applied", event: { status: "succeeded" } });
});

it.each([
  ["paid", payBatchStatement],
  ["decided", advanceBatchStatement],
] as const)(
  "a group of webhooks that are %s takes receipts in their order, so that no two groups deadlock",
  async (_what, statement) => {
    const [one, two, holder] = [await openTaken(), await openTaken(), await openTaken()];
    const [first, second] = [`A-${nextOrderId()}`, `B-${nextOrderId()}`];
    const held = await holdReceipt(holder.payment.id, first);
    const told = [
      [one, second],
      [two, first],
    ] as const;
    const json = JSON.stringify(
      told.map(([{ payment, reference }, receipt], nth) => ({
        nth,
        ...toEvidence(payment.id, paid({ reference, receipt }), webhook("{}")),
      })),
    );
    const values = statement === payBatchStatement ? [json] : [json, ["daraja"], []];
    const writing = ground.database.pool.query({ ...statement, values }).catch(() => undefined);
    await vi.waitUntil(async () => (await waitersOf([held.pid])).length === 1, { interval: 5 });
    // It waits for the first receipt, and does not hold the second one yet.
    const client = await ground.database.pool.connect();
    await client.query("begin; set local lock_timeout = '500ms'");
    await client.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
      second,
      holder.payment.id,
    ]);
    await client.query("rollback");
    client.release();
    await held.release();
    await writing;
  },
);

it.each(["reply", "query"] as const)(
  "that a payment is accepted is told in the history by whom: a %s",
  async (source) => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, { status: "processing", reference: nextOrderId(), source });
    const { events } = await ground.view(event.orderId);
    expect(events.map((one) => one.source)).toEqual([undefined, source]);
  },
);
