/** Starting a payment and reading its order over HTTP, with a Safaricom that answers when the test lets it. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { type Answer, apiKey, asMerchant, call, pay, paymentBody, startNode, type TestNode } from "../support/node.ts";
import { type HeldPush, type ScriptedDaraja, startScriptedDaraja } from "../support/scripted-daraja.ts";

const lockedSubscriber = JSON.stringify({
  requestId: "x",
  errorCode: "500.001.1001",
  errorMessage: "Unable to lock subscriber",
});

/** A node with a database of its own, because any node may check the due payments of a shared one. */
async function start(): Promise<{ daraja: ScriptedDaraja; node: TestNode }> {
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const daraja = await startScriptedDaraja();
  return { daraja, node: await startNode({ databaseUrl, env: daraja.env }) };
}

/** Requests a payment; the answer is in flight and the push is held. */
async function ask(headers: Record<string, string> = {}, fields: Record<string, unknown> = {}) {
  const { daraja, node } = await start();
  const body = paymentBody(fields);
  const answering = asMerchant(node, "/v1/payments", body, headers);
  const push = await daraja.nextPush();
  return { daraja, node, orderId: String(body.orderId), answering, push };
}

const stateOf = async (node: TestNode, orderId: string) => (await asMerchant(node, `/v1/orders/${orderId}`)).body;

const withToken = (node: TestNode, path: string, token: string): Promise<Answer> =>
  call(node.url + path, { headers: { authorization: `Bearer ${token}` } });

describe("Prefer: wait", () => {
  it("waits for the provider's answer, and returns the state after it", async () => {
    const { node, orderId, answering, push } = await ask({ prefer: "wait=15" });
    expect((await stateOf(node, orderId)).order).toMatchObject({ status: "pending", version: 1 });
    push.accept();
    const answer = await answering;
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBe("wait=15");
    expect(answer.body.order).toMatchObject({
      orderId,
      status: "processing",
      version: 2,
      payment: { action: { type: "prompt", phone: "+2547*****600" } },
    });
    expect(answer.body.order).toEqual((await stateOf(node, orderId)).order);
  });

  it("ends after its seconds with the pending state, and the provider's later answer still counts", async () => {
    const { node, orderId, answering, push } = await ask({ prefer: "wait=1" });
    const answer = await answering;
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBe("wait=1");
    expect(answer.body.order).toMatchObject({ orderId, status: "pending", version: 1 });
    push.accept();
    await vi.waitUntil(async () => (await stateOf(node, orderId)).order.status === "processing");
  });

  it.each([
    ["wait=999", "wait=15"],
    ["respond-async, wait=7", "wait=7"],
    ['Wait = "3"; foo=bar', "wait=3"],
    ["wait=0", null],
    ["wait=-1", null],
    ["wait=soon", null],
    ["nowait=5", null],
    ["handling=lenient", null],
  ])("%j is applied as %j", async (prefer, applied) => {
    const { answering, push } = await ask({ prefer });
    push.accept();
    const answer = await answering;
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBe(applied);
  });

  it("does not wait for a repeated request", async () => {
    const { node, orderId, answering, push } = await ask({ "idempotency-key": "the same" }, { description: "twice" });
    const first = await answering;
    const again = await asMerchant(node, "/v1/payments", paymentBody({ orderId, description: "twice" }), {
      "idempotency-key": "the same",
      prefer: "wait=15",
    });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(again.body.order).toEqual(first.body.order);
    push.accept();
  });
});

describe("payment", () => {
  it("is committed and answered before the provider answers", async () => {
    const { node, orderId, answering, push } = await ask();
    const answer = await answering;
    expect(answer.status).toBe(202);
    expect(answer.headers.get("preference-applied")).toBeNull();
    expect(answer.body.order).toMatchObject({ orderId, status: "pending", version: 1, settled: false });
    expect((await stateOf(node, orderId)).order).toEqual(answer.body.order);
    push.accept();
    await vi.waitUntil(async () => (await stateOf(node, orderId)).order.status === "processing");
  });

  it("is refused while another one for the order is open, with the order's state (G10)", async () => {
    const { daraja, node, orderId, answering, push } = await ask();
    await answering;
    const again = (): Promise<Answer> =>
      asMerchant(node, "/v1/payments", paymentBody({ orderId }), { prefer: "wait=15" });
    for (const [status, version] of [
      ["pending", 1],
      ["processing", 2],
    ] as const) {
      const refused = await again();
      expect(refused).toMatchObject({
        status: 409,
        body: { code: "payment_in_progress", retryable: false, order: { orderId, status, version } },
      });
      expect(refused.headers.get("content-type")).toMatch(/^application\/problem\+json/);
      expect(refused.body).not.toHaveProperty("watchToken");
      if (status === "pending") {
        push.accept();
        await vi.waitUntil(async () => (await stateOf(node, orderId)).order.status === "processing");
      }
    }
    expect((await stateOf(node, orderId)).payments).toHaveLength(1);
    expect(await furtherPushes(node, daraja)).toBe(0);
  });

  it("is attempt 2 of the same order after a failure", async () => {
    const { daraja, node, orderId, answering, push } = await ask({ prefer: "wait=15" });
    push.accept();
    const first = (await answering).body;
    await push.webhook({ ResultCode: 1032 });
    const answering2 = asMerchant(node, "/v1/payments", paymentBody({ orderId, phone: "0712345601" }), {
      prefer: "wait=15",
    });
    const push2 = await daraja.nextPush();
    expect(push2.callbackUrl).not.toBe(push.callbackUrl);
    push2.accept();
    const second = await answering2;
    expect(second).toMatchObject({
      status: 202,
      body: { order: { id: first.order.id, status: "processing", version: 5, payment: { attempt: 2 } } },
    });
    expect(second.body.order).not.toHaveProperty("reason");
    expect((await stateOf(node, orderId)).payments).toMatchObject([
      { attempt: 1, status: "failed", reason: "cancelled", phone: "+2547*****600", reference: push.reference },
      { attempt: 2, status: "processing", phone: "+2547*****601", reference: push2.reference },
    ]);
  });

  it("fails when the provider declines it, and the order can be retried", async () => {
    const { daraja, node, orderId, answering, push } = await ask({ prefer: "wait=15" });
    push.answer(500, lockedSubscriber);
    const answer = await answering;
    expect(answer).toMatchObject({
      status: 202,
      body: { order: { orderId, status: "failed", settled: true, reason: "busy", version: 2 } },
    });
    expect(JSON.stringify(answer.body)).not.toContain("lock subscriber");
    const { order } = await pay(node, { orderId });
    expect(order).toMatchObject({ status: "pending", version: 3, payment: { attempt: 2 } });
    (await daraja.nextPush()).accept();
  });

  it.each<[string, (push: HeldPush) => void]>([
    ["503 and HTML", (push) => push.answer(503, "<html>Service Unavailable</html>")],
    ["503 and nothing", (push) => push.answer(503, "")],
    ["garbage", (push) => push.answer(200, "{]")],
    ["JSON without a known field", (push) => push.answer(200, '{"ok":true}')],
    ["null", (push) => push.answer(200, "null")],
    ["an acceptance without a reference", (push) => push.answer(200, '{"ResponseCode":"0"}')],
    ["a busy system", (push) => push.answer(500, '{"errorCode":"500.003.02","errorMessage":"busy"}')],
  ])("stays pending after %s, and the provider is not asked again (G10)", async (_what, answerWith) => {
    const { daraja, node, orderId, answering, push } = await ask({ prefer: "wait=15" });
    answerWith(push);
    const answer = await answering;
    expect(answer).toMatchObject({ status: 202, body: { order: { status: "pending", version: 1, settled: false } } });
    expect((await asMerchant(node, "/v1/payments", paymentBody({ orderId }))).body.code).toBe("payment_in_progress");
    // The payer may have been prompted, so the webhook counts.
    expect((await push.webhook()).status).toBe(200);
    expect((await stateOf(node, orderId)).order).toMatchObject({ status: "succeeded", version: 2 });
    expect(await furtherPushes(node, daraja)).toBe(0);
  });
});

/** Closes the node, and counts the pushes that came besides those that the test took. Queries do not count. */
async function furtherPushes(node: TestNode, daraja: ScriptedDaraja): Promise<number> {
  await node.close();
  for (let count = 0; ; ) {
    const push = await Promise.race([daraja.nextPush(), Promise.resolve(undefined)]);
    if (!push) return count;
    if (push.callbackUrl !== undefined) count += 1;
  }
}

describe("order", () => {
  it("has its payments, events and the merchant's fields for the API key", async () => {
    const written = {
      description: "2 tickets",
      customer: { id: "C-1", name: "Asha", email: "asha@example.com" },
      metadata: { seats: ["A1", "A2"] },
      items: [{ name: "Ticket", quantity: 2, unitAmountMinor: 7_500, sku: "A" }],
      lang: "sw",
    };
    const { node, orderId, answering, push } = await ask({ prefer: "wait=15" }, written);
    push.accept();
    await answering;
    await push.webhook();
    const { status, body } = await asMerchant(node, `/v1/orders/${orderId}`);
    expect(status).toBe(200);
    expect(Object.keys(body).toSorted()).toEqual([
      "customer",
      "description",
      "events",
      "items",
      "lang",
      "metadata",
      "order",
      "payments",
    ]);
    expect(body).toMatchObject({
      ...written,
      order: { orderId, status: "succeeded", version: 3 },
      payments: [
        {
          id: body.order.payment.id,
          provider: "daraja",
          attempt: 1,
          live: true,
          status: "succeeded",
          phone: "+2547*****600",
          reference: push.reference,
          receipt: expect.any(String),
          amountPaidMinor: 15_000,
        },
      ],
    });
    expect(body.events.map(({ version, status }) => [version, status])).toEqual([
      [1, "pending"],
      [2, "processing"],
      [3, "succeeded"],
    ]);
    expect(body.events.at(-1)).toEqual({ ...body.order, source: "webhook" });
  });

  it("has only its state for a watch token (G11)", async () => {
    const written = {
      description: "2 tickets",
      customer: { name: "Asha", phone: "+254712345600" },
      metadata: { internal: "margin 12%" },
      items: [{ name: "2 tickets", quantity: 1, unitAmountMinor: 15_000 }],
      lang: "bn",
    };
    const { node, orderId, answering, push } = await ask({ prefer: "wait=15" }, written);
    push.accept();
    const { order, watchToken, watchTokenExpiresAt } = (await answering).body;
    expect(Date.parse(watchTokenExpiresAt)).toBeGreaterThan(Date.now());
    const read = await withToken(node, `/v1/orders/${orderId}`, watchToken);
    expect(read.status).toBe(200);
    expect(read.body).toEqual(order);
    for (const name of ["items", "lang", "customer"]) expect(read.body).not.toHaveProperty(name);
    const byUrl = await call(`${node.url}/v1/orders/${orderId}?token=${watchToken}`);
    expect(byUrl.body).toEqual(order);
    expect(JSON.stringify(read.body)).not.toMatch(/tickets|Asha|margin|712345600/);
  });

  it("is refused to the watch token of another order, to a broken one, and without one (G11)", async () => {
    const { daraja, node } = await start();
    const [one, other] = [await pay(node), await pay(node)];
    for (let count = 0; count < 2; count += 1) (await daraja.nextPush()).accept();
    const path = `/v1/orders/${one.order.orderId}`;
    for (const token of [other.watchToken, `${one.watchToken}x`, "nonsense"]) {
      expect(await withToken(node, path, token)).toMatchObject({ status: 401, body: { code: "token_invalid" } });
    }
    expect(await call(node.url + path)).toMatchObject({ status: 401, body: { code: "key_invalid" } });
  });
});

describe("the merchant's fields of a payment", () => {
  const refused = async (fields: Record<string, unknown>): Promise<unknown[]> => {
    const { node } = await start();
    const { status, body } = await asMerchant(node, "/v1/payments", paymentBody(fields));
    return [status, body.code, body.errors?.map(({ path }) => path)];
  };

  const item = { name: "Ticket", quantity: 2, unitAmountMinor: 7_500 };

  it.each([
    ["another sum", [{ ...item, quantity: 3 }], "amount_invalid", "items"],
    ["no items", [], "amount_invalid", "items"],
    ["a quantity of 0", [{ ...item, quantity: 0 }], "body_invalid", "items.0.quantity"],
    ["a quantity of 1001", [{ ...item, quantity: 1_001 }], "body_invalid", "items.0.quantity"],
    ["half a ticket", [{ ...item, quantity: 1.5 }], "body_invalid", "items.0.quantity"],
    ["a negative amount", [{ ...item, unitAmountMinor: -1 }], "body_invalid", "items.0.unitAmountMinor"],
    ["no name", [item, { quantity: 1, unitAmountMinor: 0 }], "body_invalid", "items.1.name"],
    ["another field", [{ ...item, colour: "red" }], "body_invalid", "items.0.colour"],
    ["101 items", Array(101).fill({ ...item, unitAmountMinor: 0 }), "body_invalid", "items"],
  ])("are refused with items of %s", async (_what, items, code, field) => {
    expect(await refused({ items })).toEqual([400, code, [field]]);
  });

  it("are refused with items whose sum no JSON number can hold", async () => {
    const items = Array(100).fill({ name: "x", quantity: 1_000, unitAmountMinor: Number.MAX_SAFE_INTEGER });
    expect(await refused({ items })).toEqual([400, "amount_invalid", ["items"]]);
  });

  it.each([
    ["lang", { lang: "fr" }, "body_invalid"],
    ["customer.phone", { customer: { phone: "12" } }, "phone_invalid"],
    ["customer.phone", { customer: { phone: `+254${"7".repeat(40)}` } }, "phone_invalid"],
    ["customer.id", { customer: { id: "" } }, "body_invalid"],
  ])("are refused with a wrong %s", async (field, fields, code) => {
    expect(await refused(fields)).toEqual([400, code, [field]]);
  });

  it("accept items that cost nothing, and 100 of them", async () => {
    const items = [item, ...Array(99).fill({ name: "Bag", quantity: 1, unitAmountMinor: 0 })];
    const { daraja, node } = await start();
    const { order } = await pay(node, { items });
    (await daraja.nextPush()).accept();
    expect((await stateOf(node, order.orderId)).items).toEqual(items);
  });

  it.each(["0712 345 678", "+254712345678", "+254 712-345-678"])(
    "have the customer's phone %s masked in every answer, and stored as E.164",
    async (phone) => {
      const { node, orderId, answering, push } = await ask({}, { customer: { phone } });
      push.accept();
      expect(JSON.stringify((await answering).body)).not.toMatch(/712.?345.?678/);
      const view = await stateOf(node, orderId);
      expect(view.customer).toEqual({ phone: "+2547*****678" });
      expect(JSON.stringify(view)).not.toMatch(/712.?345.?678/);
      expect(node.log.join("")).not.toMatch(/712.?345.?678/);
    },
  );

  it("need not be a phone that the provider can prompt, and a local one is one of the provider's country", async () => {
    const { node, orderId, answering, push } = await ask({}, { customer: { phone: "+8801712345678" } });
    push.accept();
    expect((await answering).status).toBe(202);
    expect((await stateOf(node, orderId)).customer).toEqual({ phone: "+8801******678" });
  });

  it("are compared by an idempotency key as they are stored", async () => {
    const key = { "idempotency-key": "fields" };
    const fields = { customer: { phone: "0712345678", id: "C-1" }, items: [item], lang: "en" };
    const { node, orderId, answering, push } = await ask(key, fields);
    push.accept();
    expect((await answering).status).toBe(202);
    const repeat = (other: object): Promise<Answer> =>
      asMerchant(node, "/v1/payments", paymentBody({ orderId, ...fields, ...other }), key);
    expect((await repeat({ customer: { id: "C-1", phone: "+254712345678" } })).status).toBe(202);
    for (const other of [{ lang: "sw" }, { customer: { id: "C-2" } }, { items: undefined }]) {
      expect(await repeat(other)).toMatchObject({ status: 422, body: { code: "idempotency_mismatch" } });
    }
  });

  it("fix the items of the order for every further attempt", async () => {
    const { node, orderId, answering, push } = await ask({ prefer: "wait=15" }, { items: [item] });
    push.accept();
    await answering;
    await push.webhook({ ResultCode: 1032 });
    const other = await asMerchant(
      node,
      "/v1/payments",
      paymentBody({ orderId, items: [{ name: "Seat", quantity: 1, unitAmountMinor: 15_000 }] }),
    );
    expect(other).toMatchObject({ status: 409, body: { code: "order_mismatch", order: { status: "failed" } } });
    expect((await asMerchant(node, "/v1/payments", paymentBody({ orderId }))).status).toBe(202);
    expect((await stateOf(node, orderId)).items).toEqual([item]);
  });
});

describe("further watch token", () => {
  it("is issued for the API key, and opens its order", async () => {
    const { node, orderId, answering, push } = await ask();
    const first = (await answering).body;
    push.accept();
    await vi.waitUntil(async () => (await stateOf(node, orderId)).order.status === "processing");
    const { status, body } = await call(`${node.url}/v1/orders/${orderId}/watch-tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${apiKey}` },
    });
    expect(status).toBe(200);
    expect(Object.keys(body).toSorted()).toEqual(["watchToken", "watchTokenExpiresAt"]);
    expect(Date.parse(body.watchTokenExpiresAt)).toBeGreaterThan(Date.now());
    expect((await withToken(node, `/v1/orders/${orderId}`, body.watchToken)).body).toMatchObject({
      id: first.order.id,
      orderId,
      status: "processing",
    });
  });

  it("is not issued for a watch token, nor for an unknown order", async () => {
    const { daraja, node } = await start();
    const { order, watchToken } = await pay(node);
    (await daraja.nextPush()).accept();
    const refused = await call(`${node.url}/v1/orders/${order.orderId}/watch-tokens`, {
      method: "POST",
      headers: { authorization: `Bearer ${watchToken}` },
    });
    expect(refused).toMatchObject({ status: 401, body: { code: "key_invalid" } });
    expect(await asMerchant(node, "/v1/orders/ORD-unknown/watch-tokens", {})).toMatchObject({
      status: 404,
      body: { code: "order_unknown" },
    });
  });
});
