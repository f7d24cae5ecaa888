/** Payments reach the right status although webhooks are lost, late or early and providers do not answer. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { watch } from "../support/watch.ts";

/** Starts a node with its own database, because its in-memory sandbox must answer the queries of all payments in it. */
async function startAlone(env: Record<string, string> = {}): Promise<TestNode> {
  const database = await createDatabase();
  onTestFinished(database.drop);
  return startNode({ databaseUrl: database.url, env });
}

describe("the test numbers that need a query", () => {
  const numbers = {
    "00": [["pending"], ["processing"], ["expired", "deadline"]],
    "06": [["pending"], ["processing"], ["succeeded"]],
    "09": [["pending"], ["processing"], ["expired", "deadline"], ["succeeded", "late"]],
    "11": [["pending"], ["succeeded"]],
    "12": [["pending"], ["expired", "deadline"]],
  };

  it(`${Object.keys(numbers).join(", ")} end in the documented states (G9)`, async () => {
    // The deadline of 09, 11 and 12, for 00 too, because nobody waits a minute.
    const node = await startAlone({ DARAJA_DEADLINE_S: "10" });
    const journeys = Object.entries(numbers).map(async ([digits, states]) => {
      const { order, watchToken: token } = await pay(node, { phone: `+2547000003${digits}` });
      const watching = watch("Socket.IO", { node, orderId: order.orderId, token });
      await watching.until(({ version }) => version === states.length);
      const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
      return [digits, body.events.map(({ status, reason }) => [status, ...(reason ? [reason] : [])])];
    });
    expect(Object.fromEntries(await Promise.all(journeys))).toEqual(numbers);
    const confirmed = node.log
      .map((line) => JSON.parse(line))
      .filter(({ event }) => event === "payment.check.answered");
    expect(confirmed.length).toBeGreaterThan(0);
    for (const line of confirmed) expect(line).toMatchObject({ orderId: expect.stringMatching(/^ORD-/) });
  });
});

describe("a person's decision on a payment in review", () => {
  const review = async () => {
    const node = await startAlone();
    const { order } = await pay(node, { phone: "+254700000310" });
    const { orderId } = order;
    await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order?.status === "review",
      5_000,
    );
    const resolve = (decision: object) =>
      asMerchant(node, `/v1/orders/${orderId}/resolve`, {
        paymentId: order.payment.id,
        note: "seen on the statement",
        ...decision,
      });
    return { node, orderId, paymentId: order.payment.id, resolve };
  };

  it("pays the order once, with the note in its history, when it is `succeeded` (G8)", async () => {
    const { node, orderId, resolve } = await review();
    expect(await resolve({ as: "succeeded" })).toMatchObject({
      status: 200,
      body: { order: { status: "succeeded", version: 4 } },
    });
    expect(await resolve({ as: "failed" })).toMatchObject({
      status: 409,
      body: { code: "not_in_review", order: { status: "succeeded" } },
    });
    const { body } = await asMerchant(node, `/v1/orders/${orderId}`);
    expect(body.events.at(-1)).toMatchObject({ status: "succeeded", note: "seen on the statement" });
    expect(body.order).not.toHaveProperty("note");
    // The paid amount stays visible, because a backend must not confuse it with the agreed amount.
    expect(body.order).toMatchObject({ reason: "amount_mismatch", payment: { amountPaidMinor: 15_100 } });
  });

  it("rejects the payment and allows another attempt when it is `failed`", async () => {
    const { node, orderId, resolve } = await review();
    expect(await resolve({ as: "failed" })).toMatchObject({
      status: 200,
      body: { order: { status: "failed", reason: "rejected", version: 4 } },
    });
    const { order } = await pay(node, { orderId, phone: "+254700000301" });
    expect(order).toMatchObject({ version: 5, payment: { attempt: 2 } });
  });

  it("requires a payment of the order, a status and a note", async () => {
    const { node, resolve } = await review();
    expect(await resolve({ as: "failed", paymentId: crypto.randomUUID() })).toMatchObject({
      status: 404,
      body: { code: "payment_unknown" },
    });
    for (const [field, value] of [
      ["as", "paid"],
      ["note", ""],
      ["paymentId", "x"],
    ] as const) {
      expect(await resolve({ as: "failed", [field]: value })).toMatchObject({
        status: 400,
        body: { errors: [{ path: field }] },
      });
    }
    expect(
      await asMerchant(node, "/v1/orders/ORD-nowhere/resolve", {
        paymentId: crypto.randomUUID(),
        as: "failed",
        note: "x",
      }),
    ).toMatchObject({ status: 404, body: { code: "order_unknown" } });
  });
});
