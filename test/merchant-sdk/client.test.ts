/** The client with a real node. */
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type ClientOptions, createTukio, type Tukio, TukioError } from "../../merchant-sdk/index.ts";
import { startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { apiKey, startNode, type TestNode } from "../support/node.ts";
import { nextOrderId } from "../support/store.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

async function start(options: Partial<ClientOptions> = {}): Promise<{ node: TestNode; tukio: Tukio }> {
  const node = await startNode({ databaseUrl });
  return { node, tukio: createTukio({ url: node.url, apiKey, ...options }) };
}

const paymentOf = (fields: { orderId?: string; phone?: string; amountMinor?: number } = {}) => ({
  orderId: nextOrderId(),
  amountMinor: 15_000,
  currency: "KES",
  provider: "daraja",
  phone: "+254712345601",
  ...fields,
});

/** Starts a payment that succeeds, and waits for it. */
async function paid(tukio: Tukio): Promise<string> {
  const { order } = await tukio.payments.start(paymentOf());
  expect((await tukio.orders.wait(order.orderId)).status).toBe("succeeded");
  return order.orderId;
}

async function errorOf(call: Promise<unknown>): Promise<TukioError> {
  const error = await call.catch((reason: unknown) => reason);
  if (!(error instanceof TukioError)) throw new Error("the call did not fail as it should", { cause: error });
  return error;
}

describe("orders", () => {
  it("are paid, watched, read and given results", async () => {
    const { tukio } = await start();
    const { order, watchToken } = await tukio.payments.start(
      { ...paymentOf(), description: "2 tickets", items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500 }] },
      { waitS: 5 },
    );
    expect(order.status).toBe("processing");
    expect(Object.keys(await tukio.orders.issueWatchToken(order.orderId))).toEqual([
      "watchToken",
      "watchTokenExpiresAt",
    ]);
    expect(watchToken.split(".")).toHaveLength(3);
    const next = await tukio.orders.wait(order.orderId, { after: `${order.epoch}.${order.version}`, timeoutS: 10 });
    expect(next).toMatchObject({ status: "succeeded", version: order.version + 1 });

    const result = { id: "T-1", kind: "ticket", title: "Ticket", code: "ABC" } as const;
    expect((await tukio.orders.putResult(order.orderId, result)).results).toEqual([result]);
    const read = await tukio.orders.read(order.orderId);
    expect(read).toMatchObject({ description: "2 tickets", items: [{ quantity: 2 }], order: { results: [result] } });
    expect(read.events.map(({ version }) => version)).toEqual([1, 2, 3, 4]);
    expect((await tukio.orders.removeResult(order.orderId, "T-1")).results).toBeUndefined();
  });

  it("are decided on when they wait for a review", async () => {
    const { tukio } = await start();
    const { order } = await tukio.payments.start(paymentOf({ phone: "+254712345610" }));
    const { status, payment } = await tukio.orders.wait(order.orderId);
    expect(status).toBe("review");
    const decision = { paymentId: payment.id, as: "succeeded", note: "seen on the statement" } as const;
    expect((await tukio.orders.resolve(order.orderId, decision)).status).toBe("succeeded");
    expect(await errorOf(tukio.orders.resolve(order.orderId, decision))).toMatchObject({ code: "not_in_review" });
  });

  it("are iterated over page by page, to the end", async () => {
    const { tukio } = await start();
    const from = new Date(Date.now() - 1).toISOString();
    const started: string[] = [];
    for (let nth = 0; nth < 5; nth += 1) started.push((await tukio.payments.start(paymentOf())).order.orderId);
    const list = tukio.orders.list({ from, limit: 2 });
    for (const _time of ["once", "again"]) {
      const seen: string[] = [];
      for await (const { orderId } of list) seen.push(orderId);
      expect(seen).toEqual(started.toReversed());
    }
    const sizes: number[] = [];
    for await (const { data } of list.pages()) sizes.push(data.length);
    expect(sizes).toEqual([2, 2, 1]);
    const { data, nextCursor } = await list.page();
    expect(data).toHaveLength(2);
    const rest = await tukio.orders.list({ from, limit: 2, cursor: nextCursor ?? "" }).page();
    expect(rest.data[0]?.orderId).toBe(started[2]);
  });
});

describe("errors", () => {
  it("have the code, the status, the field and the order of the problem", async () => {
    const { node, tukio } = await start();
    const wrong = await errorOf(tukio.payments.start(paymentOf({ amountMinor: 15_001 })));
    expect(wrong).toMatchObject({ code: "amount_invalid", status: 400, field: "amountMinor", retryable: false });
    expect(wrong.message).toBe(wrong.detail);
    expect(wrong.errors).toHaveLength(1);
    const orderId = await paid(tukio);
    const twice = await errorOf(tukio.payments.start(paymentOf({ orderId })));
    expect(twice).toMatchObject({ code: "order_paid", status: 409, field: undefined, order: { status: "succeeded" } });
    const stranger = createTukio({ url: node.url, apiKey: "another-key-of-some-length" });
    // A watch token opens the first of these calls too.
    for (const call of [stranger.orders.read(orderId), stranger.orders.list().page()])
      expect(await errorOf(call)).toMatchObject({ code: "key_invalid", status: 401 });
  });
});

describe("a payment whose answer is lost", () => {
  it("is started once", async () => {
    const node = await startNode({ databaseUrl });
    const proxy = await startTcpProxy(node.url);
    const tukio = createTukio({ url: proxy.url, apiKey });
    proxy.stall("answers");
    const starting = tukio.payments.start(paymentOf());
    await vi.waitUntil(() => proxy.isHolding("202 Accepted"));
    proxy.drop();
    proxy.restore();
    const { order } = await starting;
    expect((await tukio.orders.read(order.orderId)).payments).toHaveLength(1);
  });
});

describe("payment links", () => {
  it("are created, listed, read and cancelled", async () => {
    const { tukio } = await start();
    const orderId = nextOrderId();
    const link = await tukio.paymentLinks.create({ orderId, amountMinor: 15_000, currency: "KES" });
    expect(link).toMatchObject({ orderId, status: "open", url: expect.stringContaining("/pay/") });
    expect((await tukio.paymentLinks.read(link.id)).orderId).toBe(orderId);
    expect((await tukio.paymentLinks.list({ status: "open", limit: 1 }).page()).data[0]?.id).toBe(link.id);
    expect((await tukio.paymentLinks.cancel(link.id)).status).toBe("cancelled");
  });
});

describe("plans", () => {
  it("are created, listed, read, paused, resumed and cancelled", async () => {
    const { tukio } = await start();
    const planId = nextOrderId();
    const plan = await tukio.plans.create({
      planId,
      kind: "subscription",
      currency: "KES",
      customer: { id: "C-1" },
      schedule: { amountMinor: 10_000, every: { months: 1 }, firstDueAt: new Date().toISOString() },
    });
    expect(plan).toMatchObject({ planId, status: "active", paidMinor: 0 });
    expect((await tukio.plans.read(planId)).id).toBe(plan.id);
    expect((await tukio.plans.list({ status: "active", limit: 1 }).page()).data[0]?.id).toBe(plan.id);
    expect((await tukio.plans.pause(planId)).status).toBe("paused");
    expect((await tukio.plans.resume(planId)).status).toBe("active");
    expect((await tukio.plans.cancel(planId)).status).toBe("cancelled");
  });
});

describe("endpoints", () => {
  it("are created, read, changed, tested, replayed and deleted", async () => {
    const { tukio } = await start();
    const backend = await startBackend();
    const { endpoint, secret } = await tukio.endpoints.create({ url: backend.url, events: ["order.succeeded"] });
    backend.secrets.push(secret);
    expect(await tukio.endpoints.read(endpoint.id)).toEqual(endpoint);
    expect((await tukio.endpoints.list()).map(({ id }) => id)).toContain(endpoint.id);
    expect(await tukio.endpoints.ping(endpoint.id)).toMatchObject({ delivered: true, httpStatus: 200 });
    const orderId = await paid(tukio);
    await vi.waitUntil(() => backend.received.length === 2);
    expect(await tukio.endpoints.replay(endpoint.id, { orderId })).toBe(1);
    await vi.waitUntil(() => backend.received.length === 3);
    const deliveries: string[] = [];
    await vi.waitUntil(async () => {
      deliveries.length = 0;
      for await (const { status } of tukio.endpoints.deliveries(endpoint.id, { limit: 1 })) deliveries.push(status);
      return deliveries.length === 2;
    });
    expect(deliveries).toEqual(["delivered", "delivered"]);
    const rotated = await tukio.endpoints.rotateSecret(endpoint.id);
    expect(rotated.secret).not.toBe(secret);
    expect(await tukio.endpoints.change(endpoint.id, { enabled: false })).toMatchObject({
      enabled: false,
      disabledBecause: "merchant",
    });
    expect(await tukio.endpoints.delete(endpoint.id)).toBeUndefined();
    expect(await errorOf(tukio.endpoints.read(endpoint.id))).toMatchObject({ code: "endpoint_unknown" });
  });
});

describe("providers and the sandbox", () => {
  it("are listed, and the payer's phone is answered", async () => {
    const { tukio } = await start();
    const [daraja] = await tukio.providers.list();
    expect(daraja).toMatchObject({ name: "daraja", live: false, sandbox: true, currencies: ["KES"] });
    expect(await tukio.providers.fetchToken("daraja")).toEqual({ expiresAt: expect.any(String) });
    const phone = "+254712399900";
    const { order } = await tukio.payments.start(paymentOf({ phone }), { waitS: 5 });
    const [prompt] = await tukio.sandbox.prompts(phone);
    await tukio.sandbox.answer(prompt?.id ?? "", "cancel");
    expect(await tukio.orders.wait(order.orderId)).toMatchObject({ status: "failed", reason: "cancelled" });
  });
});

describe("the history of events", () => {
  it("is read on with the cursor of its end, as a backend polls", async () => {
    const { tukio } = await start();
    let cursor = "";
    for await (const page of tukio.events.list({ limit: 200 }).pages()) cursor = page.endCursor;
    const orderIds = [await paid(tukio), await paid(tukio)];
    const seen: string[] = [];
    for await (const page of tukio.events.list({ cursor, limit: 2 }).pages()) {
      seen.push(...page.data.map(({ type, data }) => `${data.order.orderId} ${type}`));
      cursor = page.endCursor;
    }
    const types = ["order.pending", "order.processing", "order.succeeded"];
    expect(seen).toEqual(orderIds.flatMap((orderId) => types.map((type) => `${orderId} ${type}`)));
    expect((await tukio.events.list({ cursor }).page()).data).toEqual([]);
  });
});

describe("following events", () => {
  it("continues after a cut connection, and loses and repeats no event", async () => {
    const node = await startNode({ databaseUrl });
    const direct = createTukio({ url: node.url, apiKey });
    const proxy = await startTcpProxy(node.url);
    const tukio = createTukio({ url: proxy.url, apiKey });
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    const seen: string[] = [];
    const states: string[] = [];
    const following = (async () => {
      const { signal } = stop;
      const onConnection = ({ state }: { state: string }): void => void states.push(state);
      for await (const { event } of tukio.events.follow({ signal, onConnection })) seen.push(event.id);
    })();
    await vi.waitUntil(() => states.includes("open"));
    const ids: string[] = [];
    const payOne = async (): Promise<void> => {
      const { order } = await direct.orders.read(await paid(direct));
      ids.push(...[1, 2, 3].map((version) => `${order.id}.${order.epoch}.${version}`));
    };
    await payOne();
    proxy.drop();
    await payOne();
    proxy.cut();
    await payOne();
    proxy.restore();
    await payOne();
    await vi.waitUntil(() => seen.length >= ids.length);
    expect(seen).toEqual(ids);
    expect(states.filter((state) => state === "open").length).toBeGreaterThan(1);
    stop.abort();
    await following;
  });

  it("yields an event again whose handler threw, from the cursor before it", async () => {
    const { tukio } = await start();
    const stop = new AbortController();
    onTestFinished(() => stop.abort());
    let cursor: string | undefined;
    const since = new Date().toISOString();
    const orderId = await paid(tukio);
    const handled: number[] = [];
    const take = ({ orderId: id, version }: { orderId: string; version: number }, failAt: number): void => {
      if (version === failAt) throw new Error("the handler failed");
      if (id === orderId) handled.push(version);
    };
    const handle = async (failAt: number): Promise<void> => {
      const place = cursor === undefined ? { since } : { cursor };
      for await (const { event, cursor: after } of tukio.events.follow({ ...place, signal: stop.signal })) {
        take(event.data.order, failAt);
        cursor = after;
        if (handled.includes(3)) return;
      }
    };
    await expect(handle(2)).rejects.toThrow("the handler failed");
    await handle(0);
    expect(handled).toEqual([1, 2, 3]);
  });

  it("ends with an error when the key is refused or the cursor is none", async () => {
    const { node, tukio } = await start();
    const first = async (client: Tukio, cursor?: string): Promise<void> => {
      for await (const _event of client.events.follow(cursor === undefined ? {} : { cursor })) return;
    };
    const stranger = createTukio({ url: node.url, apiKey: "another-key-of-some-length" });
    expect(await errorOf(first(stranger))).toMatchObject({ code: "key_invalid" });
    expect(await errorOf(first(tukio, "none"))).toMatchObject({ code: "body_invalid", field: "cursor" });
  });
});
