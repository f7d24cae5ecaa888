/** The reconciler with each kind of answer, before and after the deadline: a real store and a scripted provider. */
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Outcome } from "../../server/order/order.ts";
import { scheduleOf } from "../../server/order/schedule.ts";
import { createReconciler } from "../../server/payment/reconcile.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { Throttled } from "../../server/provider/refusal.ts";
import { currentTrace } from "../../server/trace.ts";
import { openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

type Answer = Outcome | undefined | Error;

/**
 * Opens a payment that is `ageS` seconds old, and has a reconciler check it once. With `answerNow`, closes the reconciler
 * while the query is in flight, and then lets the answer come.
 */
async function orderAfter(ageS: number, answer: Answer | (() => Promise<Answer>), answerNow?: () => void) {
  const { event, payment } = await ground.open({ live: true, deadlineS: 120 });
  await ground.database.pool.query(
    `update payment set check_at = clock_timestamp(), started_at = started_at - $2 * interval '1 second',
       expires_at = expires_at - $2 * interval '1 second' where id = $1`,
    [payment.id, ageS],
  );
  const traces: unknown[] = [];
  const confirm = vi.fn<Provider["confirm"]>(async () => {
    traces.push(currentTrace());
    const given = typeof answer === "function" ? await answer() : answer;
    if (given instanceof Error) throw given;
    return given;
  });
  const provider = { name: "daraja", confirm } as Partial<Provider> as Provider;
  const events: unknown[] = [];
  const append = (details: object): void => {
    events.push("event" in details && details.event);
    traces.push(currentTrace());
  };
  const log = { info: append, warn: append };
  const isChecked = (): boolean => events.includes("payment.check.answered");
  const reconciler = createReconciler({
    onReference: async () => undefined,
    providers: new Map([["daraja", provider]]),
    allowance: () => scheduleOf({}, false),
    store: ground.store,
    log,
  });
  onTestFinished(reconciler.close);
  if (answerNow) {
    await vi.waitUntil(() => confirm.mock.calls.length > 0, 5_000);
    const closed = reconciler.close();
    answerNow();
    await closed;
    expect(isChecked()).toBe(true);
  }
  await vi.waitUntil(isChecked, 5_000);
  expect(confirm.mock.calls.map(([{ id }]) => id)).toEqual([payment.id]);
  await reconciler.close();
  // The query and its log lines belong to one trace.
  expect(traces).toEqual(traces.map(() => ({ traceId: expect.stringMatching(/^[0-9a-f]{32}$/), flags: "00" })));
  expect(new Set(traces).size).toBe(1);
  return (await ground.view(event.orderId)).order;
}

const processing: Outcome = { status: "processing", source: "query" };
const cancelled: Outcome = { status: "failed", reason: "cancelled", source: "query" };
const unreachable = new Error("ECONNREFUSED");

describe("payment before its deadline", () => {
  it.each<[string, string, Answer]>([
    ["still open", "processing", processing],
    ["no outcome", "pending", undefined],
    ["an error", "pending", unreachable],
    ["a success", "succeeded", { status: "succeeded", source: "query" }],
    ["an unconfirmed failure", "pending", cancelled],
  ])("answered with %s becomes %s (G9)", async (_what, status, answer) => {
    expect((await orderAfter(30, answer)).status).toBe(status);
  });
});

describe("payment past its deadline", () => {
  it.each<[string, string, Answer]>([
    ["still open", "expired", processing],
    ["no outcome", "expired", undefined],
    ["an error", "pending", unreachable],
    ["a success", "succeeded", { status: "succeeded", source: "query" }],
    ["another amount", "review", paid({ amountMinor: 1n, source: "query" })],
    ["an unconfirmed failure", "pending", cancelled],
  ])("answered with %s becomes %s (G9)", async (_what, status, answer) => {
    const order = await orderAfter(130, answer);
    expect(order.status).toBe(status);
    if (status === "expired") expect(order.reason).toBe("deadline");
  });
});

describe("payment past twice its time", () => {
  it.each<[string, Answer]>([
    ["an error", unreachable],
    ["an unconfirmed failure", cancelled],
  ])("expires after %s (G9)", async (_what, answer) => {
    expect(await orderAfter(250, answer)).toMatchObject({ status: "expired", reason: "deadline" });
  });
});

describe("webhook that comes during a query", () => {
  it("is not overwritten by the deadline (G2)", async () => {
    const order = await orderAfter(130, async () => {
      await ground.store.advance(ground.announced.at(-1)?.payment.id ?? "", paid());
      return undefined;
    });
    expect(order).toMatchObject({ status: "succeeded", version: 2 });
  });
});

describe("answer that comes during a shutdown", () => {
  it("is stored", async () => {
    const held = Promise.withResolvers<Answer>();
    const order = await orderAfter(
      30,
      () => held.promise,
      () => held.resolve({ status: "succeeded", source: "query" }),
    );
    expect(order.status).toBe("succeeded");
  });
});

describe("reconciler with many due payments", () => {
  const confirmed = { status: "processing", source: "query" } as const;

  /** Opens `count` due payments of one provider, and a reconciler that claims only on request. */
  async function startMany(count: number, providers: ReadonlyMap<string, Provider>, name: string) {
    const ids: string[] = [];
    while (ids.length < count)
      ids.push((await ground.open({ provider: name, live: true, deadlineS: 3_600 })).payment.id);
    await ground.database.pool.query("update payment set check_at = clock_timestamp() where id = any ($1)", [ids]);
    const log = { info: () => undefined, warn: () => undefined };
    const reconciler = createReconciler({
      onReference: async () => undefined,
      providers,
      allowance: () => scheduleOf({}, false),
      store: ground.store,
      log,
      intervalMs: 3_600_000,
      inFlightMax: 100,
    });
    onTestFinished(reconciler.close);
    return { ids, reconciler };
  }

  const providerOf = (name: string, confirm: Provider["confirm"]) =>
    ({ name, confirm }) as Partial<Provider> as Provider;

  it("claims the next payments as soon as half of the queries are answered", async () => {
    const held: (() => void)[] = [];
    const queried = new Set<string>();
    const provider = providerOf("fast", async ({ id }) => {
      queried.add(id);
      await new Promise<void>((resolve) => held.push(resolve));
      return confirmed;
    });
    const { ids, reconciler } = await startMany(260, new Map([["fast", provider]]), "fast");
    void reconciler.check(ids[0] ?? "");
    await vi.waitUntil(() => queried.size === 100);
    for (const answer of held.splice(0, 49)) answer();
    // More than half of the queries, 51, are still in flight, so the reconciler claims no more.
    expect(queried.size).toBe(100);
    const answering = setInterval(() => held.shift()?.(), 1);
    onTestFinished(() => clearInterval(answering));
    await vi.waitUntil(() => queried.size === 260);
    // The answers continue, because `close` waits for them.
    await reconciler.close();
  });

  it("checks a provider's payments while another provider does not answer", async () => {
    const never: (() => void)[] = [];
    const silent = providerOf("silent", async () => {
      await new Promise<void>((resolve) => never.push(resolve));
      return confirmed;
    });
    let answered = 0;
    const quick = providerOf("quick", async () => {
      answered += 1;
      return confirmed;
    });
    const providers = new Map([
      ["silent", silent],
      ["quick", quick],
    ]);
    const { ids, reconciler } = await startMany(120, providers, "silent");
    void reconciler.check(ids[0] ?? "");
    await vi.waitUntil(() => never.length === 100);
    const { payment } = await ground.open({ provider: "quick", live: true });
    await ground.store.checkNow(payment.id);
    await reconciler.check(payment.id);
    expect(answered).toBe(1);
    for (const answer of never) answer();
  });

  it("defers the payments of a provider that answers 429, and keeps them due", async () => {
    const throttled = providerOf("throttled", async () => {
      throw new Throttled("throttled", { status: 429, body: undefined, retryAfterS: 60 });
    });
    const { ids, reconciler } = await startMany(1, new Map([["throttled", throttled]]), "throttled");
    const [id = ""] = ids;
    await reconciler.check(id);
    const { rows } = await ground.database.pool.query(
      `select p.check_at <= clock_timestamp() as due, q.halvings, q.next_at > clock_timestamp() + interval '50 seconds' as rests
       from payment p join query_pace q using (provider) where p.id = $1`,
      [id],
    );
    expect(rows).toEqual([{ due: true, halvings: 1, rests: true }]);
    // The provider is not asked now, and the caller gets its answer at once.
    await reconciler.check(id);
  });
});

describe("check of a payment", () => {
  it("resolves when the payment is not due, and after a shutdown", async () => {
    const reconciler = createReconciler({
      onReference: async () => undefined,
      providers: new Map(),
      allowance: () => scheduleOf({}, false),
      store: ground.store,
      log: { info: () => undefined, warn: () => undefined },
    });
    await reconciler.check("00000000-0000-7000-8000-000000000000");
    await reconciler.close();
    await reconciler.check("00000000-0000-7000-8000-000000000000");
  });
});
