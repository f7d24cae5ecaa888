/** Paying ahead, and POST /v1/plans/:planId/pay: one order for several instalments, and never two payments for one. */
import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { createSealer } from "../../server/auth/keys.ts";
import { createOrderStore } from "../../server/order/store.ts";
import type { LinkRow } from "../../server/payment-link/row.ts";
import { linkUpTo } from "../../server/plan/cover.ts";
import type { Plan } from "../../server/plan/row.ts";
import { settleDuePlans } from "../../server/plan/settle.ts";
import { useDatabase } from "../support/database.ts";
import { type Answer, asMerchant, startNode, type TestNode, testSecret } from "../support/node.ts";
import { cancelLink, readLink } from "../support/payment-link.ts";
import { advance, changePlan, createPlan, inDays, readPlan } from "../support/plan.ts";
import { draftOf, failed, nextOrderId, paid } from "../support/store.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
});

const store = () => createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: [] });

const upTo = (planId: string, n?: number): Promise<LinkRow> =>
  linkUpTo(
    { pool: file.database.pool, sealer: createSealer([testSecret]), providers: new Map([["daraja", daraja]]) },
    planId,
    n,
  );

/** A provider that takes every amount of the tests. */
const daraja = {
  name: "daraja",
  currencies: ["KES"],
  limits: { stepMinor: 100n, minMinor: 100n, maxMinor: 25_000_000n },
} as never;

let phones = 0;

/** Opens the order of a link. Returns the payment's id. */
async function open(link: LinkRow): Promise<string> {
  phones += 1;
  const { payment } = await store().open(
    draftOf({
      orderId: link.order_id,
      amountMinor: BigInt(link.amount_minor ?? 0),
      phone: `+2547${String(20_000_000 + phones)}`,
      link: { id: link.id, isReusable: false },
    }),
  );
  return payment?.id ?? "";
}

const succeed = (paymentId: string, { amount_minor }: LinkRow) =>
  store().advance(paymentId, paid({ amountMinor: BigInt(amount_minor ?? 0) }));

const statusesOf = ({ instalments }: Plan): string[] => instalments.map(({ status }) => status);

const statusOf = async ({ id }: LinkRow): Promise<string> => (await readLink(node, id)).status;

/** A phone of the sandbox with this ending. */
const customer = (ending: string) => {
  phones += 1;
  return { id: nextOrderId(), phone: `+2547${String(300_000 + phones)}${ending}` };
};

const prompt = (planId: string, body: object = {}, headers: Record<string, string> = {}): Promise<Answer> =>
  asMerchant(node, `/v1/plans/${planId}/pay`, body, headers);

const settled = async (orderId: string): Promise<StatusEvent> =>
  (await asMerchant(node, `/v1/orders/${orderId}/wait?timeout=20`)).body as unknown as StatusEvent;

/** What a plan owes and has received, whatever happened. */
const expectSum = (plan: Plan, totalMinor: number): void =>
  expect(plan.paidMinor + (plan.remainingMinor ?? 0)).toBe(totalMinor);

describe("the link up to an instalment", () => {
  it("is that of the oldest open instalment, or of the only open one", async () => {
    const { planId } = await createPlan(node);
    expect((await upTo(planId)).order_id).toBe(`${planId}-1`);
    expect((await upTo(planId, 1)).order_id).toBe(`${planId}-1`);
    const first = await upTo(planId, 1);
    await succeed(await open(first), first);
    expect((await upTo(planId)).order_id).toBe(`${planId}-2`);
    expect((await upTo(planId, 2)).order_id).toBe(`${planId}-2`);
  });

  it("covers several with their sum, is the same for the same ones, and has a page", async () => {
    const { planId, id, description } = await createPlan(node, { description: "A phone", provider: "daraja" });
    const links = await Promise.all(Array.from({ length: 8 }, () => upTo(planId, 3)));
    expect(new Set(links.map((link) => link.id)).size).toBe(1);
    const shown = await readLink(node, links[0]?.id ?? "");
    expect(shown).toMatchObject({ orderId: `${planId}-1:3`, amountMinor: 30_000, status: "open", description });
    expect(shown).toMatchObject({ providers: ["daraja"], customer: { phone: "+2547*****678" } });
    expect((await fetch(shown.url ?? "")).status).toBe(200);
    expect((await upTo(planId, 2)).order_id).toBe(`${planId}-1:2`);
    expect(await readPlan(node, planId)).toMatchObject({ id, version: 1, remainingMinor: 30_000 });
  });

  it("makes all instalments paid in one version of the plan", async () => {
    const { planId } = await createPlan(node);
    const link = await upTo(planId, 2);
    await succeed(await open(link), link);
    const after = await readPlan(node, planId);
    expect(after).toMatchObject({ version: 2, paidMinor: 20_000, remainingMinor: 10_000, startedAt: after.changedAt });
    expect(statusesOf(after)).toEqual(["paid", "paid", "open"]);
    expect(after.instalments.map(({ orderId }) => orderId)).toEqual([`${planId}-1:2`, `${planId}-1:2`, `${planId}-3`]);
    await settleDuePlans(file.database.pool);
    expect((await readPlan(node, planId)).version).toBe(2);
  });

  it("completes the plan with its last instalments", async () => {
    const { planId } = await createPlan(node);
    const link = await upTo(planId, 3);
    await succeed(await open(link), link);
    expect(await readPlan(node, planId)).toMatchObject({
      status: "completed",
      version: 2,
      paidMinor: 30_000,
      remainingMinor: 0,
    });
  });

  it("is not counted as credit", async () => {
    const limited = await startNode({ databaseUrl: file.url, env: { PLAN_CREDIT_MAX_MINOR: "60000" } });
    const owner = customer("00");
    const { planId } = await createPlan(limited, { customer: owner });
    await upTo(planId, 3);
    await createPlan(limited, { customer: owner });
  });

  it("is refused without an open instalment, for an unknown one, and beyond what a provider takes", async () => {
    const { planId } = await createPlan(node, {
      schedule: { amountMinor: 15_000_000, every: { months: 1 }, count: 3, firstDueAt: inDays(0) },
    });
    await expect(upTo(planId, 4)).rejects.toMatchObject({ code: "body_invalid", details: { errors: [{ path: "n" }] } });
    await expect(upTo(planId, 2)).rejects.toMatchObject({
      code: "amount_invalid",
      details: { errors: [{ path: "n" }] },
    });
    const first = await upTo(planId, 1);
    await succeed(await open(first), first);
    await expect(upTo(planId, 1)).rejects.toMatchObject({ code: "payment_link_closed" });
    await changePlan(node, planId, "cancel");
    await expect(upTo(planId)).rejects.toMatchObject({ code: "plan_closed" });
    await expect(upTo("none")).rejects.toMatchObject({ code: "plan_unknown" });
  });

  it("has another id once links for the same instalments were cancelled, and skips ids that are taken", async () => {
    const { planId } = await createPlan(node);
    await asMerchant(node, "/v1/payment-links", { orderId: `${planId}-1:3:2`, amountMinor: 10_000, currency: "KES" });
    const covering = await upTo(planId, 3);
    const second = await upTo(planId, 2);
    await cancelLink(node, covering.id);
    expect((await upTo(planId, 3)).order_id).toBe(`${planId}-1:3:3`);
    expect((await readPlan(node, planId)).version).toBe(1);
    await cancelLink(node, second.id);
    expect((await upTo(planId, 2)).order_id).toBe(`${planId}-1:2:2`);
  });
});

describe("two links that pay the same instalment", () => {
  it("start one payment, whichever is first", async () => {
    for (const isCoveringFirst of [true, false]) {
      const { planId } = await createPlan(node);
      const links = [await upTo(planId, 2), await upTo(planId, 1)];
      const [first, second] = isCoveringFirst ? links : links.toReversed();
      if (!first || !second) throw new Error("no links");
      const payment = await open(first);
      await expect(open(second)).rejects.toMatchObject({ code: "payment_in_progress" });
      await store().advance(payment, failed());
      await expect(open(second)).resolves.toMatch(/-/);
    }
  });

  it("start one payment when both are asked at once", async () => {
    for (let times = 0; times < 10; times += 1) {
      const { planId } = await createPlan(node);
      const links = [await upTo(planId, 1), await upTo(planId, 2), await upTo(planId, 3)];
      const results = await Promise.allSettled(links.map(open));
      expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    }
  });

  it("start none after either has paid, also before the plan has taken it into account", async () => {
    for (const isCovering of [true, false]) {
      const { planId } = await createPlan(node);
      const [covering, single] = [await upTo(planId, 2), await upTo(planId, 1)];
      const [payer, other] = isCovering ? [covering, single] : [single, covering];
      await succeed(await open(payer), payer);
      await expect(open(other)).rejects.toMatchObject({ code: "payment_link_closed" });
      await readPlan(node, planId);
      await expect(open(other)).rejects.toMatchObject({ code: "payment_link_closed" });
      expect(await statusOf(covering)).toBe(isCovering ? "paid" : "cancelled");
    }
  });

  it("tell the payer on the page that a payment is in progress", async () => {
    const { planId } = await createPlan(node);
    const [covering, single] = [await upTo(planId, 2), await upTo(planId, 1)];
    await open(covering);
    const { url } = await readLink(node, single.id);
    const body = new URLSearchParams({ provider: "daraja", phone: "0712345601" });
    const answer = await fetch(url ?? "", { method: "POST", body, redirect: "manual" });
    expect(answer.status).toBe(409);
    expect(await answer.text()).toContain("in progress");
  });
});

describe("a covering link", () => {
  it("is cancelled when one of its instalments is paid or cancelled in another way", async () => {
    for (const isPaid of [true, false]) {
      const { planId } = await createPlan(node);
      const [covering, single] = [await upTo(planId, 3), await upTo(planId, 1)];
      if (isPaid) await succeed(await open(single), single);
      else await cancelLink(node, single.id);
      await expect.poll(() => statusOf(covering)).toBe("cancelled");
      const after = await readPlan(node, planId);
      expect(after.version).toBe(2);
      expectSum(after, isPaid ? 30_000 : 20_000);
      expect((await upTo(planId, 3)).order_id).toBe(`${planId}-2:3`);
    }
  });

  it("is cancelled with its plan, and its late money counts", async () => {
    const { planId } = await createPlan(node);
    const covering = await upTo(planId, 2);
    const payment = await open(covering);
    await changePlan(node, planId, "cancel");
    expect(await statusOf(covering)).toBe("cancelled");
    await succeed(payment, covering);
    const after = await readPlan(node, planId);
    expect(after).toMatchObject({ status: "cancelled", paidMinor: 20_000, remainingMinor: 0 });
    expect(statusesOf(after)).toEqual(["paid", "paid", "cancelled"]);
  });

  it("that is paid late, after one of its instalments was, pays the others", async () => {
    const { planId } = await createPlan(node);
    const covering = await upTo(planId, 3);
    const late = await open(covering);
    await store().advance(late, failed());
    const single = await upTo(planId, 1);
    await succeed(await open(single), single);
    expectSum(await readPlan(node, planId), 30_000);
    await succeed(late, covering);
    const after = await readPlan(node, planId);
    expect(after).toMatchObject({ status: "completed", paidMinor: 30_000, remainingMinor: 0 });
    expect(after.instalments.map(({ orderId }) => orderId)).toEqual([`${planId}-1`, `${planId}-1:3`, `${planId}-1:3`]);
    expect(await settled(`${planId}-1:3`)).toMatchObject({ status: "succeeded", amountMinor: 30_000, reason: "late" });
  });

  it("leaves its instalments paid once when one of them is paid late", async () => {
    const { planId } = await createPlan(node);
    const single = await upTo(planId, 1);
    const late = await open(single);
    await store().advance(late, failed());
    const covering = await upTo(planId, 2);
    await succeed(await open(covering), covering);
    const before = await readPlan(node, planId);
    await succeed(late, single);
    const after = await readPlan(node, planId);
    expect(after).toMatchObject({ paidMinor: 20_000, remainingMinor: 10_000 });
    expect(statusesOf(after)).toEqual(statusesOf(before));
  });
});

describe("POST /v1/plans/:planId/pay", () => {
  it("prompts the customer for the oldest open instalment", async () => {
    const { planId } = await createPlan(node, { provider: "daraja", customer: customer("01") });
    const answer = await prompt(planId);
    expect(answer).toMatchObject({ status: 202, body: { order: { orderId: `${planId}-1`, amountMinor: 10_000 } } });
    expect(answer.body.watchToken).toEqual(expect.any(String));
    expect(await settled(`${planId}-1`)).toMatchObject({ status: "succeeded" });
    expect(await readPlan(node, planId)).toMatchObject({ paidMinor: 10_000 });
    expect((await prompt(planId)).body.order.orderId).toBe(`${planId}-2`);
  });

  it("prompts for several at once", async () => {
    const { planId } = await createPlan(node, { customer: customer("01") });
    expect(await prompt(planId, { n: 3, provider: "daraja" })).toMatchObject({
      status: 202,
      body: { order: { orderId: `${planId}-1:3`, amountMinor: 30_000 } },
    });
    await settled(`${planId}-1:3`);
    expect(await readPlan(node, planId)).toMatchObject({ status: "completed" });
  });

  it("repeats the answer of a key, whatever became of the plan, and refuses another request with it", async () => {
    const { planId } = await createPlan(node, { provider: "daraja", customer: customer("01") });
    const key = { "idempotency-key": randomUUID() };
    const first = await prompt(planId, {}, key);
    await settled(`${planId}-1`);
    const again = await prompt(planId, {}, key);
    expect(again).toMatchObject({ status: 202, body: { order: { id: first.body.order.id, status: "succeeded" } } });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    expect(await prompt(planId, { n: 2 }, key)).toMatchObject({ status: 422, body: { code: "idempotency_mismatch" } });
    await changePlan(node, planId, "cancel");
    expect((await prompt(planId, {}, key)).status).toBe(202);
  });

  it("opens one payment for any number of requests with one key, and one without a key", async () => {
    for (const headers of [{ "idempotency-key": randomUUID() }, {}]) {
      const { planId } = await createPlan(node, { provider: "daraja", customer: customer("00") });
      const answers = await Promise.all(Array.from({ length: 6 }, () => prompt(planId, {}, headers)));
      const accepted = answers.filter(({ status }) => status === 202);
      expect(accepted).toHaveLength("idempotency-key" in headers ? 6 : 1);
      const { rows } = await file.database.pool.query(
        'select from payment p join "order" o on o.id = p.order_uuid where o.order_id = $1',
        [`${planId}-1`],
      );
      expect(rows).toHaveLength(1);
    }
  });

  it("names the field that is missing or wrong", async () => {
    const noPhone = await createPlan(node, { provider: "daraja", customer: { id: "C-1" } });
    const noProvider = await createPlan(node, { customer: customer("01") });
    const refusals: [string, object, string, string][] = [
      [noPhone.planId, {}, "phone_invalid", "customer.phone"],
      [noProvider.planId, { provider: "bkash" }, "body_invalid", "provider"],
      [noProvider.planId, { provider: "none" }, "provider_unknown", "provider"],
      [noPhone.planId, { provider: "lipana" }, "body_invalid", "provider"],
      [noProvider.planId, { n: 0 }, "body_invalid", "n"],
      [noProvider.planId, { n: 9 }, "body_invalid", "n"],
      [noProvider.planId, { m: 1 }, "body_invalid", "m"],
    ];
    for (const [planId, body, code, path] of refusals) {
      expect(await prompt(planId, body)).toMatchObject({ body: { code, errors: [{ path }] } });
    }
  });

  it("prompts with the first provider that can, if neither the plan nor the request names one", async () => {
    const { planId } = await createPlan(node, { customer: customer("01") });
    const { body } = await asMerchant(node, "/v1/providers");
    const [first] = body.data as unknown as { name: string }[];
    expect(await prompt(planId)).toMatchObject({
      status: 202,
      body: { order: { payment: { provider: first?.name } } },
    });
  });

  it("is refused for a plan that has ended, and while a payment is in progress", async () => {
    const { planId } = await createPlan(node, { provider: "daraja", customer: customer("00") });
    await prompt(planId);
    expect(await prompt(planId)).toMatchObject({ status: 409, body: { code: "payment_in_progress" } });
    expect(await prompt(planId, { n: 2 })).toMatchObject({ status: 409, body: { code: "payment_in_progress" } });
    await changePlan(node, planId, "cancel");
    expect(await prompt(planId)).toMatchObject({ status: 409, body: { code: "plan_closed" } });
    expect(await prompt("none")).toMatchObject({ status: 404, body: { code: "plan_unknown" } });
  });

  it("prompts for a paused plan and for one that is past_due", async () => {
    const { planId } = await createPlan(node, { provider: "daraja", customer: customer("01") });
    await changePlan(node, planId, "pause");
    expect((await prompt(planId)).status).toBe(202);
    const late = await createPlan(node, { provider: "daraja", customer: customer("01"), graceDays: 0 });
    await advance(node, "P1D");
    expect((await readPlan(node, late.planId)).status).toBe("past_due");
    await prompt(late.planId);
    await settled(`${late.planId}-1`);
    expect(await readPlan(node, late.planId)).toMatchObject({ status: "active", paidMinor: 10_000 });
  });
});
