/** What the reconciler does with each kind of answer, at and after the deadline; on a real store, with a provider told what to say. */
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
 * Opens a payment as it is so many seconds after it was asked for, and lets a reconciler ask about it once. With
 * `closes`, which lets the answer come, it is closed while it asks.
 */
async function askedAt(ageS: number, answer: Answer | (() => Promise<Answer>), closes?: () => void) {
  const { event, payment } = await ground.open({ live: true, deadlineS: 120 });
  await ground.database.pool.query(
    `update payment set check_at = clock_timestamp(), started_at = started_at - $2 * interval '1 second',
       expires_at = expires_at - $2 * interval '1 second' where id = $1`,
    [payment.id, ageS],
  );
  const traces: unknown[] = [];
  const asked = vi.fn<Provider["confirm"]>(async () => {
    traces.push(currentTrace());
    const given = typeof answer === "function" ? await answer() : answer;
    if (given instanceof Error) throw given;
    return given;
  });
  const provider = { name: "daraja", confirm: asked } as Partial<Provider> as Provider;
  const said: string[] = [];
  const say = (_: object, message: string): void => {
    said.push(message);
    traces.push(currentTrace());
  };
  const log = { info: say, warn: say };
  const reconciler = createReconciler({
    onReference: async () => undefined,
    providers: new Map([["daraja", provider]]),
    allowance: () => scheduleOf({}, false),
    store: ground.store,
    log,
  });
  onTestFinished(reconciler.close);
  if (closes) {
    await vi.waitUntil(() => asked.mock.calls.length > 0, 5_000);
    const closed = reconciler.close();
    closes();
    await closed;
    expect(said).toContain("confirmed");
  }
  await vi.waitUntil(() => said.includes("confirmed"), 5_000);
  expect(asked.mock.calls.map(([{ id }]) => id)).toEqual([payment.id]);
  await reconciler.close();
  // The question and what the log says of it belong to one trace.
  expect(traces).toEqual(traces.map(() => ({ traceId: expect.stringMatching(/^[0-9a-f]{32}$/), flags: "00" })));
  expect(new Set(traces).size).toBe(1);
  return (await ground.view(event.orderId)).order;
}

const processing: Outcome = { status: "processing", source: "query" };
const cancelled: Outcome = { status: "failed", reason: "cancelled", source: "query" };
const unreachable = new Error("ECONNREFUSED");

describe("before its deadline", () => {
  it.each<[string, Answer, string]>([
    ["still open", processing, "processing"],
    ["nothing to say", undefined, "pending"],
    ["silence", unreachable, "pending"],
    ["a success", { status: "succeeded", source: "query" }, "succeeded"],
    ["a failure, told once", cancelled, "pending"],
  ])("a payment answered with %s is %s", async (_what, answer, status) => {
    expect((await askedAt(30, answer)).status).toBe(status);
  });
});

describe("past its deadline", () => {
  it.each<[string, Answer, string]>([
    ["still open", processing, "expired"],
    ["nothing to say", undefined, "expired"],
    ["silence", unreachable, "pending"],
    ["a success", { status: "succeeded", source: "query" }, "succeeded"],
    ["another amount", paid({ amountMinor: 1n, source: "query" }), "review"],
    ["a failure, told once", cancelled, "pending"],
  ])("a payment answered with %s is %s", async (_what, answer, status) => {
    const order = await askedAt(130, answer);
    expect(order.status).toBe(status);
    if (status === "expired") expect(order.reason).toBe("deadline");
  });
});

describe("past twice its time", () => {
  it.each<[string, Answer]>([
    ["silence", unreachable],
    ["a failure, told once", cancelled],
  ])("a payment answered with %s is over", async (_what, answer) => {
    expect(await askedAt(250, answer)).toMatchObject({ status: "expired", reason: "deadline" });
  });
});

describe("a webhook that comes while the provider is being asked", () => {
  it("is not undone by our clock", async () => {
    const order = await askedAt(130, async () => {
      await ground.store.advance(ground.announced.at(-1)?.payment.id ?? "", paid());
      return undefined;
    });
    expect(order).toMatchObject({ status: "succeeded", version: 2 });
  });
});

describe("an answer that comes while the node stops", () => {
  it("is stored", async () => {
    const held = Promise.withResolvers<Answer>();
    const order = await askedAt(
      30,
      () => held.promise,
      () => held.resolve({ status: "succeeded", source: "query" }),
    );
    expect(order.status).toBe("succeeded");
  });
});

describe("many payments that are due at once", () => {
  const confirmed = { status: "processing", source: "query" } as const;

  /** So many due payments of one provider, and a reconciler that looks for them only when it has a reason to. */
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

  it("are asked about as fast as the answers come: the next ones are taken as soon as half are answered", async () => {
    const held: (() => void)[] = [];
    const asked = new Set<string>();
    const provider = providerOf("fast", async ({ id }) => {
      asked.add(id);
      await new Promise<void>((resolve) => held.push(resolve));
      return confirmed;
    });
    const { ids, reconciler } = await startMany(260, new Map([["fast", provider]]), "fast");
    void reconciler.ask(ids[0] ?? "");
    await vi.waitUntil(() => asked.size === 100);
    for (const answer of held.splice(0, 49)) answer();
    // With more than half of them open nobody looks for more: 51 are.
    expect(asked.size).toBe(100);
    const answering = setInterval(() => held.shift()?.(), 1);
    onTestFinished(() => clearInterval(answering));
    await vi.waitUntil(() => asked.size === 260);
    // While the answers go on, for it waits for them.
    await reconciler.close();
  });

  it("of a provider that does not answer keep nobody else's waiting", async () => {
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
    void reconciler.ask(ids[0] ?? "");
    await vi.waitUntil(() => never.length === 100);
    const { payment } = await ground.open({ provider: "quick", live: true });
    await ground.store.checkNow(payment.id);
    await reconciler.ask(payment.id);
    expect(answered).toBe(1);
    for (const answer of never) answer();
  });

  it("are left alone when the provider says that it is asked too often, and stay due", async () => {
    const throttled = providerOf("throttled", async () => {
      throw new Throttled("throttled", { status: 429, body: undefined, retryAfterS: 60 });
    });
    const { ids, reconciler } = await startMany(1, new Map([["throttled", throttled]]), "throttled");
    const [id = ""] = ids;
    await reconciler.ask(id);
    const { rows } = await ground.database.pool.query(
      `select p.check_at <= clock_timestamp() as due, q.halvings, q.next_at > clock_timestamp() + interval '50 seconds' as rests
       from payment p join query_pace q using (provider) where p.id = $1`,
      [id],
    );
    expect(rows).toEqual([{ due: true, halvings: 1, rests: true }]);
    // Nobody is asked now, and whoever waits for that is told so.
    await reconciler.ask(id);
  });
});

describe("a payment that somebody waits for", () => {
  it("is not waited for when it is not due here, nor when the node stops", async () => {
    const reconciler = createReconciler({
      onReference: async () => undefined,
      providers: new Map(),
      allowance: () => scheduleOf({}, false),
      store: ground.store,
      log: { info: () => undefined, warn: () => undefined },
    });
    await reconciler.ask("00000000-0000-7000-8000-000000000000");
    await reconciler.close();
    await reconciler.ask("00000000-0000-7000-8000-000000000000");
  });
});
