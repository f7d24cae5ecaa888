/** One payment from the request to watchers on every transport, on two nodes over real HTTP, PostgreSQL and Redis. */
import { Redis } from "ioredis";
import { io } from "socket.io-client";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode } from "../support/node.ts";
import { redisUrl, startRedis } from "../support/redis.ts";
import { startSandbox } from "../support/sandbox.ts";
import { darajaEnv, startScriptedDaraja } from "../support/scripted-daraja.ts";
import { transportNames, watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** Starts two nodes: A initiates, B gets the webhooks. */
async function twoNodes() {
  const { url, phone: payers } = await startSandbox("daraja");
  const b = await startNode({ databaseUrl, redisUrl: redisUrl(), env: darajaEnv(url) });
  const a = await startNode({ databaseUrl, redisUrl: redisUrl(), env: { ...darajaEnv(url), PUBLIC_URL: b.url } });
  const isReady = async (node: typeof a) => (await call(`${node.url}/readyz`)).body as unknown as { bus: string };
  await vi.waitUntil(async () => (await isReady(a)).bus === "up" && (await isReady(b)).bus === "up");
  return { a, b, payers };
}

describe("a payment initiated on node A with its webhook on node B", () => {
  it("reaches the watchers of every transport on both nodes, state by state", async () => {
    const { a, b, payers } = await twoNodes();
    const phone = "+254712345600";
    const { order, watchToken: token } = await pay(a, { phone });
    const { orderId } = order;
    const watches = [a, b].flatMap((node) => transportNames.map((name) => watch(name, { node, orderId, token })));
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    for (const { id } of payers.prompts(phone)) payers.answer(id, "approve");
    const ends = await Promise.all(watches.map((one) => one.until(({ settled }) => settled)));
    for (const end of ends) {
      expect(end).toEqual(ends[0]);
      expect(end).toMatchObject({
        id: order.id,
        orderId,
        version: 3,
        status: "succeeded",
        amountMinor: 15_000,
        currency: "KES",
        live: true,
        payment: { attempt: 1, amountPaidMinor: 15_000, receipt: expect.stringMatching(/^[A-Z0-9]{10}$/) },
      });
    }
    for (const { seen } of watches) {
      const versions = seen.map(({ version }) => version);
      expect(versions).toEqual([...new Set(versions)].toSorted((one, other) => one - other));
    }
    expect((await asMerchant(a, `/v1/orders/${orderId}`)).body.events.map(({ status }) => status)).toEqual([
      "pending",
      "processing",
      "succeeded",
    ]);
  });

  it("is published from its second version on, because nobody can subscribe to an order before its first", async () => {
    const { a } = await twoNodes();
    const subscriber = new Redis(redisUrl());
    onTestFinished(() => subscriber.disconnect());
    const versions = new Map<string, number[]>();
    subscriber.on("pmessage", (_pattern, _channel, json: string) => {
      const { id, version } = JSON.parse(json) as { id: string; version: number };
      versions.set(id, [...(versions.get(id) ?? []), version]);
    });
    await subscriber.psubscribe("*");
    const { order } = await pay(a, { phone: "+254712345603" });
    const current = async () => (await asMerchant(a, `/v1/orders/${order.orderId}`)).body.order;
    await vi.waitUntil(async () => (await current()).status === "failed");
    const { order: again } = await pay(a, { orderId: order.orderId, phone: "+254712345601" });
    await vi.waitUntil(async () => (await current()).status === "succeeded");
    // A webhook that overtakes the provider's reply skips `processing` and its version.
    const { version: last } = await current();
    expect(last).toBeGreaterThan(again.version);
    await vi.waitUntil(() => versions.get(order.id)?.length === last - 1);
    expect(versions.get(order.id)?.toSorted((one, other) => one - other)).toEqual(
      Array.from({ length: last - 1 }, (_, index) => index + 2),
    );
  });

  it("contains the masked phone of the prompt while it is processing", async () => {
    const { a, b } = await twoNodes();
    const { order, watchToken: token } = await pay(a, { phone: "0712 345 600" });
    const watching = watch("WebSocket", { node: b, orderId: order.orderId, token });
    const processing = await watching.until(({ status }) => status === "processing");
    expect(processing.payment.action).toEqual({ type: "prompt", phone: "+2547*****600" });
    expect(processing.settled).toBe(false);
  });
});

describe("the test numbers", () => {
  it.each([
    ["01", "succeeded", undefined],
    ["02", "failed", "cancelled"],
    ["03", "failed", "insufficient_funds"],
    ["04", "failed", "wrong_pin"],
    ["05", "expired", "no_response"],
    ["07", "succeeded", undefined],
    ["08", "succeeded", undefined],
    ["10", "review", "amount_mismatch"],
  ])("ending in %s end as %s %s", async (digits, status, reason) => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken: token } = await pay(node, { phone: `+2547123456${digits}` });
    const end = await watch("long poll", { node, orderId: order.orderId, token }).until(({ settled }) => settled);
    expect(end.status).toBe(status);
    expect(end.reason).toBe(reason);
    expect(end.live).toBe(false);
    // The provider's reference is stored, however the webhooks raced with the reply.
    const webhooks = digits === "07" ? 3 : 1;
    await vi.waitUntil(
      () => node.log.filter((line) => line.includes('"event":"webhook.received"')).length === webhooks,
    );
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.payments[0]).toMatchObject({ reference: expect.stringMatching(/^ws_CO_/) });
    expect(body.events.filter((event) => event.status === status)).toHaveLength(1);
    expect(body.events.map(({ version }) => version)).toEqual(body.events.map((_, index) => index + 1));
  });

  it("ending in 00 wait for the phone, whose prompts the API lists and answers", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken: token } = await pay(node, { phone: "+254700000100" });
    const watching = watch("Socket.IO", { node, orderId: order.orderId, token });
    await watching.until(({ status }) => status === "processing");
    const { body } = await call(`${node.url}/sandbox/phone/254700000100/prompts`);
    expect(body.prompts).toEqual([
      expect.objectContaining({ phone: "+254700000100", provider: "daraja", amountMinor: 15_000, currency: "KES" }),
    ]);
    const answer = (given: string) =>
      call(`${node.url}/sandbox/phone/prompts/${body.prompts[0]?.id}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ answer: given }),
      });
    expect(await answer("maybe")).toMatchObject({
      status: 400,
      body: { code: "body_invalid", errors: [{ path: "answer" }] },
    });
    expect((await answer("approve")).status).toBe(200);
    expect((await watching.until(({ settled }) => settled)).status).toBe("succeeded");
    expect((await answer("approve")).status).toBe(404);
  });
});

describe("a node in a staged race", () => {
  it("pays the order and keeps the reference when the webhook overtakes the reply to initiate", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order, watchToken: token } = await pay(node);
    const push = await daraja.nextPush();
    const watching = watch("WebSocket", { node, orderId: order.orderId, token });
    expect((await push.webhook()).status).toBe(200);
    expect(await watching.until(({ settled }) => settled)).toMatchObject({ status: "succeeded", version: 2 });
    push.accept();
    await vi.waitUntil(() => node.log.some((line) => line.includes('"event":"provider.initiate.answered"')));
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.order).toMatchObject({ status: "succeeded", version: 2 });
    expect(body.payments[0]).toMatchObject({ reference: push.reference });
  });

  it("acknowledges all repeated webhooks and makes one event (G6)", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order, watchToken: token } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const watching = watch("WebSocket", { node, orderId: order.orderId, token });
    await watching.until(({ status }) => status === "processing");
    const callback = { ResultCode: 1037, ResultDesc: "No response from user." };
    const answers = await Promise.all(Array.from({ length: 20 }, () => push.webhook(callback)));
    for (const answer of answers) {
      expect(answer.status).toBe(200);
      expect(await answer.json()).toEqual({ ResultCode: 0, ResultDesc: "Accepted" });
    }
    await watching.until(({ settled }) => settled);
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.events.map(({ status }) => status)).toEqual(["pending", "processing", "expired"]);
    expect(watching.seen.filter(({ status }) => status === "expired")).toHaveLength(1);
  });

  it("delivers a late success and another attempt to the watchers of a settled order", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order, watchToken: token } = await pay(node);
    const first = await daraja.nextPush();
    first.accept();
    const watches = transportNames.map((name) => watch(name, { node, orderId: order.orderId, token }));
    await first.webhook({ ResultCode: 1032, ResultDesc: "Request cancelled by user" });
    await Promise.all(watches.map((one) => one.until(({ reason }) => reason === "cancelled")));
    await pay(node, { orderId: order.orderId });
    const second = await daraja.nextPush();
    second.accept();
    await Promise.all(
      watches.map((one) => one.until(({ payment, status }) => payment.attempt === 2 && status === "processing")),
    );
    await first.webhook();
    for (const one of watches) {
      const end = await one.until(({ status }) => status === "succeeded");
      expect(end).toMatchObject({ reason: "late", payment: { attempt: 1 } });
    }
    await second.webhook();
    for (const one of watches) {
      const end = await one.until(({ reason }) => reason === "paid_twice");
      expect(end).toMatchObject({ status: "succeeded", payment: { attempt: 1 }, alsoPaid: [expect.any(String)] });
    }
  });

  it("sends another amount to review until the agreed amount is proven (G8)", async () => {
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, env: daraja.env });
    const { order } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const callback = (amount: number) => ({
      ResultCode: 0,
      CallbackMetadata: { Item: [{ Name: "Amount", Value: amount }] },
    });
    await push.webhook(callback(149.5));
    expect((await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order).toMatchObject({
      status: "review",
      reason: "amount_mismatch",
      payment: { amountPaidMinor: 14_950 },
    });
    await push.webhook(callback(150));
    expect((await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order).toMatchObject({
      status: "succeeded",
      payment: { amountPaidMinor: 15_000 },
    });
  });
});

describe("a Socket.IO client", () => {
  it("upgrades to WebSocket with default options", async () => {
    const node = await startNode({ databaseUrl });
    const { watchToken: token } = await pay(node);
    const socket = io(node.url, { auth: { token }, forceNew: true });
    onTestFinished(() => void socket.disconnect());
    await vi.waitUntil(() => socket.connected);
    await vi.waitUntil(() => socket.io.engine.transport.name === "websocket");
  });

  it("connects when it is restricted to WebSocket", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken: token } = await pay(node);
    const socket = io(node.url, { auth: { token }, transports: ["websocket"], forceNew: true });
    onTestFinished(() => void socket.disconnect());
    const first = await new Promise((resolve) => socket.once("status", resolve));
    expect(first).toMatchObject({ id: order.id });
    expect(socket.io.engine.transport.name).toBe("websocket");
  });
});

describe("a node without Redis", () => {
  it("starts, reports the bus as down, takes webhooks and serves its watchers (G4)", async () => {
    const redis = await startRedis();
    await redis.stop();
    const daraja = await startScriptedDaraja();
    const node = await startNode({ databaseUrl, redisUrl: redis.url, env: daraja.env });
    expect(await call(`${node.url}/readyz`)).toMatchObject({ status: 200, body: { postgres: "up", bus: "down" } });
    const { order, watchToken: token } = await pay(node);
    const push = await daraja.nextPush();
    push.accept();
    const watches = transportNames.map((name) => watch(name, { node, orderId: order.orderId, token }));
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "processing")));
    expect((await push.webhook()).status).toBe(200);
    await Promise.all(watches.map((one) => one.until(({ status }) => status === "succeeded")));
  });

  it("delivers another node's changes by polling the database (G4)", async () => {
    const redis = await startRedis();
    await redis.stop();
    const daraja = await startScriptedDaraja();
    const [a, b] = await Promise.all(
      [1, 2].map(() => startNode({ databaseUrl, redisUrl: redis.url, env: daraja.env })),
    );
    if (!a || !b) throw new Error("two nodes were started");
    const { order, watchToken: token } = await pay(a);
    const push = await daraja.nextPush();
    push.accept();
    const watching = watch("WebSocket", { node: b, orderId: order.orderId, token });
    await push.webhook();
    await watching.until(({ status }) => status === "succeeded");
  });
});
