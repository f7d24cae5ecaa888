/** Completion: which return of a payer begins it, and what cannot end the payment while it is in flight. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lockOrder, nextOrderId, openTestStore, paid } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

/** Opens a payment that its provider has accepted, as bKash does before the payer opens its page. */
async function openProcessing(orderId = nextOrderId()) {
  const opened = await ground.open({ orderId });
  await ground.store.advance(opened.payment.id, { status: "processing", reference: nextOrderId(), source: "reply" });
  return opened;
}

const cancelled = { status: "failed", reason: "cancelled", source: "payer" } as const;

describe("recordReturn", () => {
  it("begins the completion for one of five concurrent returns, and never again (G10)", async () => {
    const { event, payment } = await openProcessing();
    const order = await lockOrder(ground.database, event.orderId);
    const returns = Promise.all(Array.from({ length: 5 }, () => ground.store.recordReturn(payment.id, true)));
    await order.waiters(5);
    await order.release();
    const results = [...(await returns), await ground.store.recordReturn(payment.id, true)];
    expect(results.filter((result) => result?.completes)).toHaveLength(1);
    await ground.store.clearCompletionLock(payment.id);
    expect(await ground.store.recordReturn(payment.id, true)).toMatchObject({ completes: false });
  });

  it("begins the completion when it waited for the transaction that accepts the payment", async () => {
    const { event, payment } = await ground.open();
    const order = await lockOrder(ground.database, event.orderId);
    const accepted = ground.store.advance(payment.id, {
      status: "processing",
      reference: nextOrderId(),
      source: "reply",
    });
    await order.waiters(1);
    const returned = ground.store.recordReturn(payment.id, true);
    await order.waiters(2);
    await order.release();
    await accepted;
    expect(await returned).toMatchObject({ status: "processing", completes: true });
  });

  it("begins no completion without approval, before acceptance, or of an unknown payment (G10)", async () => {
    const { payment } = await openProcessing();
    expect(await ground.store.recordReturn(payment.id, false)).toMatchObject({ completes: false });
    expect(await ground.store.recordReturn(payment.id, true)).toMatchObject({ completes: true });
    const pending = await ground.open();
    expect(await ground.store.recordReturn(pending.payment.id, true)).toMatchObject({ completes: false });
    expect(await ground.store.recordReturn("00000000-0000-7000-8000-000000000000", true)).toBeUndefined();
  });

  it("begins no completion of an order that another attempt has paid (G10)", async () => {
    const first = await openProcessing();
    await ground.store.advance(first.payment.id, { status: "expired", reason: "deadline", source: "clock" });
    const second = await openProcessing(first.event.orderId);
    await ground.store.advance(first.payment.id, paid({ receipt: nextOrderId() }));
    expect(await ground.store.recordReturn(second.payment.id, true)).toMatchObject({ completes: false });
  });
});

describe("completion in flight", () => {
  it("keeps the payment open for clock and payer until its lock is cleared", async () => {
    const { event, payment } = await openProcessing();
    await ground.store.recordReturn(payment.id, true);
    await ground.store.advance(payment.id, cancelled);
    expect((await ground.view(event.orderId)).order.status).toBe("processing");
    await ground.store.clearCompletionLock(payment.id);
    await ground.store.advance(payment.id, cancelled);
    expect((await ground.view(event.orderId)).order.status).toBe("failed");
  });
});
