/** Recording evidence: batches of webhooks, single decisions, and the order of their locks. */
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

/** Batches in flight at once: `batchConcurrency` of server/order/advance.ts. */
const concurrency = 2;

const webhook = (body: string): InboxRow => ({
  provider: "daraja",
  proof: "secret",
  headers: {},
  body: Buffer.from(body),
});

interface SentWebhook {
  paymentId: string;
  outcome?: Outcome;
  body?: string;
}

/** Locks a receipt in another session, as the decision on another payment with this receipt does. */
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

/** The connections whose statement waits for a lock of one of these connections. */
const waitersOf = async (pids: readonly number[]): Promise<number[]> => {
  const { rows } = await ground.database.pool.query<{ pid: number }>(
    "select pid from pg_stat_activity where pg_blocking_pids(pid) && $1::int[]",
    [pids],
  );
  return rows.map(({ pid }) => pid);
};

/**
 * Sends the webhooks while every batch is in flight, so that they join one batch, and returns when that batch has begun.
 * `meanwhile` runs before it begins, and gets the connections of the batches in flight.
 */
async function sendInOneBatch(
  webhooks: readonly SentWebhook[],
  meanwhile: (waiting: readonly number[]) => Promise<unknown> = async () => undefined,
): Promise<{ decisions: Promise<Advanced>[]; statements: () => string[] }> {
  const first = await Promise.all(Array.from({ length: concurrency }, () => ground.open()));
  const held = first.map(({ payment }) => ({ payment, receipt: nextOrderId() }));
  const locks = await Promise.all(held.map(({ payment, receipt }) => holdReceipt(payment.id, receipt)));
  const pids = locks.map(({ pid }) => pid);
  const inFlight: Promise<Advanced>[] = [];
  for (const { payment, receipt } of held) {
    inFlight.push(ground.store.advance(payment.id, paid({ receipt }), webhook("ahead")));
    await vi.waitUntil(async () => (await waitersOf(pids)).length === inFlight.length, { interval: 5 });
  }
  const query = vi.spyOn(ground.database.webhookPool, "query");
  onTestFinished(() => query.mockRestore());
  const decisions = webhooks.map(({ paymentId, outcome = paid(), body = "{}" }) =>
    ground.store.advance(paymentId, outcome, webhook(body)),
  );
  // The caller handles a failure later.
  for (const decision of decisions) decision.catch(() => undefined);
  await meanwhile(await waitersOf(pids));
  await Promise.all(locks.map((lock) => lock.release()));
  await Promise.all(inFlight);
  return {
    decisions,
    statements: () => query.mock.calls.map(([config]) => (config as unknown as { name: string }).name),
  };
}

async function decideInOneBatch(webhooks: readonly SentWebhook[]) {
  const { decisions, statements } = await sendInOneBatch(webhooks);
  return { results: await Promise.allSettled(decisions), statements: statements() };
}

const resultsOf = (results: PromiseSettledResult<Advanced>[]): unknown[] =>
  results.map((one) => (one.status === "fulfilled" ? one.value.result : "failed"));

const open = (count: number) => Promise.all(Array.from({ length: count }, () => ground.open()));

/** The results of the stored webhooks with these bytes. */
const storedResultsOf = async (body: string): Promise<string[]> => {
  const { rows } = await ground.database.pool.query<{ result: string }>(
    "select result from webhook where body = $1 order by id",
    [Buffer.from(body)],
  );
  return rows.map(({ result }) => result);
};

/** Opens a payment that its provider has accepted under a reference. */
async function openAccepted(): Promise<Required<Opened> & { reference: string }> {
  const opened = await ground.open();
  const reference = `ws-${opened.payment.id}`;
  await ground.store.advance(opened.payment.id, { status: "processing", reference, source: "reply" });
  return { ...opened, reference };
}

describe("fast path of webhooks", () => {
  const nameOf = ([config]: unknown[]): string => (config as { name: string }).name;

  it("records the first webhooks at once, and those that wait in one batch", async () => {
    const orders = await Promise.all(Array.from({ length: 8 }, openAccepted));
    const query = vi.spyOn(ground.database.webhookPool, "query");
    onTestFinished(() => query.mockRestore());
    const decisions = orders.map(({ payment, reference }) =>
      ground.store.advance(payment.id, paid({ reference, receipt: nextOrderId() }), webhook("{}")),
    );
    expect(resultsOf(await Promise.allSettled(decisions))).toEqual(orders.map(() => "applied"));
    // One webhook in each of two batches, then the other six in one batch.
    expect(query.mock.calls.map(nameOf)).toEqual(["pay-batch", "pay-batch", "pay-batch"]);
  });

  it("leaves a webhook whose receipt is locked to a decision of its own, so that no other webhook waits", async () => {
    const { payment, reference } = await openAccepted();
    const other = await openAccepted();
    const receipt = nextOrderId();
    const lock = await holdReceipt(other.payment.id, receipt);
    const query = vi.spyOn(ground.database.webhookPool, "query");
    onTestFinished(() => query.mockRestore());
    const decision = ground.store.advance(payment.id, paid({ reference, receipt }), webhook("{}"));
    await vi.waitUntil(() => query.mock.calls.map(nameOf).includes("advance-with-webhook"));
    await lock.release();
    expect(await decision).toMatchObject({ result: "applied", event: { status: "succeeded" } });
    expect(query.mock.calls.map(nameOf)).toEqual(["pay-batch", "advance-with-webhook"]);
  });
});

describe("batch of webhooks", () => {
  it("decides and stores webhooks of 20 orders in one statement, and announces each event once (G1)", async () => {
    const orders = await open(20);
    const webhooks = orders.map(({ payment }, index) => ({
      paymentId: payment.id,
      outcome: index % 2 === 0 ? paid({ reference: `ws-${index}` }) : failed(),
      body: `of ${payment.id}`,
    }));
    const { results, statements } = await decideInOneBatch(webhooks);
    expect(statements).toEqual(["advance-batch"]);
    expect(resultsOf(results)).toEqual(orders.map(() => "applied"));
    for (const [index, { event }] of orders.entries()) {
      const { order, events, payments } = await ground.view(event.orderId);
      expect(order).toMatchObject({ version: 2, status: index % 2 === 0 ? "succeeded" : "failed" });
      expect(payments[0]?.reference ?? null).toBe(index % 2 === 0 ? `ws-${index}` : null);
      expect(events.map(({ version }) => version)).toEqual([1, 2]);
      expect(ground.announced.filter(({ id }) => id === event.id)).toEqual([event, order]);
      expect(await storedResultsOf(webhooks[index]?.body ?? "")).toEqual(["applied"]);
    }
  });

  it("changes a payment once and stores every repeated webhook (G1, G6)", async () => {
    const other = await ground.open();
    const { event, payment } = await ground.open();
    const body = `repeated ${payment.id}`;
    const repeated = { paymentId: payment.id, outcome: paid({ receipt: nextOrderId() }), body };
    const { results } = await decideInOneBatch([repeated, { paymentId: other.payment.id }, repeated, repeated]);
    expect(resultsOf(results).toSorted()).toEqual(["applied", "applied", "repeat", "repeat"]);
    expect((await ground.view(event.orderId)).order).toMatchObject({ version: 2, status: "succeeded" });
    expect((await storedResultsOf(body)).toSorted()).toEqual(["applied", "repeat", "repeat"]);
  });

  it("records successes of two attempts of one order in versions without a gap (G3)", async () => {
    const one = await ground.open();
    await ground.store.advance(one.payment.id, failed());
    const two = await ground.open({ orderId: one.event.orderId });
    const { results } = await decideInOneBatch(
      [one, two].map(({ payment }) => ({ paymentId: payment.id, outcome: paid({ receipt: nextOrderId() }) })),
    );
    expect(resultsOf(results)).toEqual(["applied", "applied"]);
    const { order, events } = await ground.view(one.event.orderId);
    expect(order).toMatchObject({ status: "succeeded", reason: "paid_twice", version: 5 });
    expect(order.alsoPaid).toHaveLength(1);
    expect(events.map(({ version }) => version)).toEqual([1, 2, 3, 4, 5]);
  });

  it("pays one of two payments with the same receipt, and sends the other to review", async () => {
    const pair = await open(2);
    const receipt = nextOrderId();
    const { results } = await decideInOneBatch(
      pair.map(({ payment }) => ({ paymentId: payment.id, outcome: paid({ receipt }) })),
    );
    expect(resultsOf(results)).toEqual(["applied", "applied"]);
    const orders = await Promise.all(pair.map(async ({ event }) => (await ground.view(event.orderId)).order));
    expect(orders.map(({ status }) => status).toSorted()).toEqual(["review", "succeeded"]);
  });

  it("does not wait for a locked payment, whose webhook is applied after the lock", async () => {
    const locked = await ground.open();
    const others = await open(3);
    const holder = await ground.database.pool.connect();
    onTestFinished(() => holder.release());
    await holder.query("begin");
    await holder.query("select from payment where id = $1 for update", [locked.payment.id]);
    const { decisions, statements } = await sendInOneBatch(
      [locked, ...others].map(({ payment }) => ({ paymentId: payment.id })),
    );
    const [late, ...soon] = decisions;
    expect(resultsOf(await Promise.allSettled(soon))).toEqual(["applied", "applied", "applied"]);
    await holder.query("commit");
    expect(await late).toMatchObject({ result: "applied", event: { version: 2, status: "succeeded" } });
    expect(statements()).toEqual(["advance-batch", "advance-with-webhook"]);
  });

  it("does not wait for a locked order, whose webhook is applied after the lock", async () => {
    const locked = await ground.open();
    const others = await open(3);
    const lock = await lockOrder(ground.database, locked.event.orderId);
    const { decisions, statements } = await sendInOneBatch(
      [locked, ...others].map(({ payment }) => ({ paymentId: payment.id })),
    );
    const [late, ...soon] = decisions;
    expect(resultsOf(await Promise.allSettled(soon))).toEqual(["applied", "applied", "applied"]);
    await lock.release();
    expect(await late).toMatchObject({ result: "applied", event: { version: 2, status: "succeeded" } });
    expect(statements()).toEqual(["advance-batch", "advance-with-webhook"]);
  });

  it("applies every webhook, in flight or waiting, after both connections were lost (G1)", async () => {
    const orders = await open(40);
    const { decisions } = await sendInOneBatch(
      orders.map(({ payment }) => ({ paymentId: payment.id })),
      async (waiting) => {
        expect(waiting).toHaveLength(concurrency);
        await ground.database.pool.query("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", [waiting]);
      },
    );
    expect(resultsOf(await Promise.allSettled(decisions))).toEqual(orders.map(() => "applied"));
  });

  it("fails only the webhook whose receipt PostgreSQL cannot store", async () => {
    const [bad, good] = [await ground.open(), await ground.open()];
    const { results } = await decideInOneBatch([
      { paymentId: bad.payment.id, outcome: paid({ receipt: "nul\u0000" }) },
      { paymentId: good.payment.id },
    ]);
    expect(resultsOf(results)).toEqual(["failed", "applied"]);
  });

  it("stores a webhook of an unknown payment as unmatched (G1)", async () => {
    const { payment } = await ground.open();
    const body = `unknown ${nextOrderId()}`;
    const { results } = await decideInOneBatch([
      { paymentId: "00000000-0000-7000-8000-000000000000", body },
      { paymentId: payment.id },
    ]);
    expect(resultsOf(results)).toEqual(["unmatched", "applied"]);
    expect(await storedResultsOf(body)).toEqual(["unmatched"]);
  });
});

describe("decision on one payment", () => {
  it.each([
    ["webhook", webhook("{}")],
    ["query", undefined],
  ] as const)(
    "locks payment, order and then receipt for a %s, so that it cannot deadlock with a batch",
    async (source, row) => {
      const { event, payment, reference } = await openAccepted();
      const receipt = nextOrderId();
      // This session locks as a batch does, the order and then the receipt, and PostgreSQL never cancels it as a deadlock.
      const batch = await ground.database.pool.connect();
      onTestFinished(() => batch.release());
      await batch.query("begin; set local deadlock_timeout = '1h'; set local lock_timeout = '500ms'");
      await batch.query('select from "order" where id = $1 for no key update', [event.id]);
      const { rows } = await batch.query<{ pid: number }>("select pg_backend_pid() as pid");
      const decision = ground.store.advance(payment.id, paid({ reference, receipt, source }), row);
      await vi.waitUntil(async () => (await waitersOf([rows[0]?.pid ?? 0])).length === 1, { interval: 5 });
      // This insert would wait and fail if the decision had locked the receipt before the order.
      await batch.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
        receipt,
        payment.id,
      ]);
      await batch.query("rollback");
      expect(await decision).toMatchObject({ result: "applied", event: { status: "succeeded" } });
    },
  );

  it("retries after a deadlock with another program", async () => {
    const { event, payment, reference } = await openAccepted();
    const other = await openAccepted();
    const receipt = nextOrderId();
    // This session locks the receipt and then the order, and PostgreSQL never cancels it as a deadlock.
    const program = await ground.database.pool.connect();
    onTestFinished(() => program.release());
    await program.query("begin; set local deadlock_timeout = '1h'");
    await program.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
      receipt,
      other.payment.id,
    ]);
    const { rows } = await program.query<{ pid: number }>("select pg_backend_pid() as pid");
    const decision = ground.store.advance(payment.id, paid({ reference, receipt, source: "query" }));
    await vi.waitUntil(async () => (await waitersOf([rows[0]?.pid ?? 0])).length === 1, { interval: 5 });
    await program.query('select from "order" where id = $1 for no key update', [event.id]);
    await program.query("rollback");
    expect(await decision).toMatchObject({ result: "applied", event: { status: "succeeded" } });
  });
});

describe("batch statement", () => {
  it.each([
    ["fast path", payBatchStatement],
    ["full decision", advanceBatchStatement],
  ] as const)(
    "locks receipts in the order of their text, so that two batches cannot deadlock: %s",
    async (_path, statement) => {
      const [one, two, holder] = [await openAccepted(), await openAccepted(), await openAccepted()];
      const [first, second] = [`A-${nextOrderId()}`, `B-${nextOrderId()}`];
      const held = await holdReceipt(holder.payment.id, first);
      const webhooks = [
        [one, second],
        [two, first],
      ] as const;
      const json = JSON.stringify(
        webhooks.map(([{ payment, reference }, receipt], nth) => ({
          nth,
          ...toEvidence(payment.id, paid({ reference, receipt }), webhook("{}")),
        })),
      );
      const values = statement === payBatchStatement ? [json] : [json, ["daraja"], []];
      const running = ground.database.pool.query({ ...statement, values }).catch(() => undefined);
      await vi.waitUntil(async () => (await waitersOf([held.pid])).length === 1, { interval: 5 });
      // The batch waits for the first receipt and has not locked the second one.
      const client = await ground.database.pool.connect();
      await client.query("begin; set local lock_timeout = '500ms'");
      await client.query("insert into receipt (provider, receipt, payment_id) values ('daraja', $1, $2)", [
        second,
        holder.payment.id,
      ]);
      await client.query("rollback");
      client.release();
      await held.release();
      await running;
    },
  );
});

describe("history", () => {
  it.each(["reply", "query"] as const)("names a %s as the source of an acceptance", async (source) => {
    const { event, payment } = await ground.open();
    await ground.store.advance(payment.id, { status: "processing", reference: nextOrderId(), source });
    const { events } = await ground.view(event.orderId);
    expect(events.map((one) => one.source)).toEqual([undefined, source]);
  });
});
