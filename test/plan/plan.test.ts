/** The life of a plan: its instalments are paid, the clock passes, the merchant pauses, resumes and cancels it. */
import { beforeEach, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { settleDue } from "../../server/payment-link/settle.ts";
import { growDuePlans } from "../../server/plan/grow.ts";
import type { Plan } from "../../server/plan/row.ts";
import { settleDuePlans, settlePlan } from "../../server/plan/settle.ts";
import { useDatabase } from "../support/database.ts";
import { asMerchant, startNode, type TestNode, testSecret } from "../support/node.ts";
import { cancelLink } from "../support/payment-link.ts";
import { changePlan, createPlan, inDays, planOf, readPlan } from "../support/plan.ts";
import { draftOf, paid } from "../support/store.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
});

const store = () => createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: [] });

/** The id of an instalment's link. */
async function linkOf(plan: Plan, n: number): Promise<string> {
  const text = "select id from payment_link where order_id = $1";
  return (await file.database.pool.query<{ id: string }>(text, [`${plan.planId}-${n}`])).rows[0]?.id ?? "";
}

let phones = 0;

/** Opens the order of an instalment, as its page does. Returns the payment's id. */
async function openInstalment(plan: Plan, n: number): Promise<string> {
  phones += 1;
  const link = { id: await linkOf(plan, n), isReusable: false, payer: "ab".repeat(32), phoneMax: 3 };
  const phone = `+2547${String(10_000_000 + phones)}`;
  const { payment } = await store().open(
    draftOf({ orderId: `${plan.planId}-${n}`, amountMinor: 10_000n, phone, link }),
  );
  return payment?.id ?? "";
}

const payment = paid({ amountMinor: 10_000n });

async function payInstalment(plan: Plan, n: number): Promise<void> {
  await store().advance(await openInstalment(plan, n), payment);
}

/** Lets so many days pass for a plan, by moving all its times back. */
async function pass(plan: Plan, days: number): Promise<void> {
  const ago = `interval '${days} days'`;
  await file.database.pool.query(
    `with moved as (update payment_link set due_at = due_at - ${ago}, overdue_at = overdue_at - ${ago} where plan_uuid = $1)
     update plan set past_due_at = past_due_at - ${ago}, grows_at = grows_at - ${ago},
       schedule = jsonb_set(schedule, '{firstDueAt}', to_jsonb(iso((schedule ->> 'firstDueAt')::timestamptz - ${ago}))) where id = $1`,
    [plan.id],
  );
}

const statusesOf = ({ instalments }: Plan): string[] => instalments.map(({ status }) => status);

const daily = { kind: "subscription", schedule: { amountMinor: 10_000, every: { days: 1 }, firstDueAt: inDays(0.5) } };

describe("a plan whose instalments are paid", () => {
  it("counts them, starts with the first and is completed by the last", async () => {
    const plan = await createPlan(node);
    await payInstalment(plan, 1);
    const started = await readPlan(node, plan.planId);
    expect(started).toMatchObject({ status: "active", version: 2, paidMinor: 10_000, remainingMinor: 20_000 });
    expect(started.startedAt).toBe(started.changedAt);
    await payInstalment(plan, 3);
    expect(await readPlan(node, plan.planId)).toMatchObject({ version: 3, startedAt: started.startedAt });
    await payInstalment(plan, 2);
    const completed = await readPlan(node, plan.planId);
    expect(completed).toMatchObject({ status: "completed", version: 4, paidMinor: 30_000, remainingMinor: 0 });
    expect(statusesOf(completed)).toEqual(["paid", "paid", "paid"]);
    // Nothing is left that could change it.
    await settleDuePlans(file.database.pool);
    expect((await readPlan(node, plan.planId)).version).toBe(4);
  });

  it("is settled by any node, without being read", async () => {
    const plan = await createPlan(node);
    await payInstalment(plan, 1);
    const versionOf = async () =>
      (await file.database.pool.query("select version from plan where id = $1", [plan.id])).rows[0].version;
    await expect.poll(versionOf).toBe(2);
  });

  it("does not count an instalment that the merchant has cancelled by itself", async () => {
    const plan = await createPlan(node);
    await cancelLink(node, await linkOf(plan, 2));
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "active", version: 2, remainingMinor: 20_000 });
    await payInstalment(plan, 1);
    await payInstalment(plan, 3);
    expect(await readPlan(node, plan.planId)).toMatchObject({
      status: "completed",
      paidMinor: 20_000,
      remainingMinor: 0,
    });
  });

  it("is cancelled when the merchant has cancelled all instalments", async () => {
    const plan = await createPlan(node);
    for (const n of [1, 2, 3]) await cancelLink(node, await linkOf(plan, n));
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "cancelled", remainingMinor: 0 });
  });

  it("takes every payment into account when statements race", async () => {
    const plan = await createPlan(node);
    const payments = [await openInstalment(plan, 1), await openInstalment(plan, 2), await openInstalment(plan, 3)];
    await Promise.all([
      ...payments.map((id) => store().advance(id, payment)),
      ...Array.from({ length: 10 }, () => readPlan(node, plan.planId)),
      ...Array.from({ length: 10 }, () => settleDuePlans(file.database.pool)),
    ]);
    const after = await readPlan(node, plan.planId);
    expect(after).toMatchObject({ status: "completed", paidMinor: 30_000, remainingMinor: 0 });
    const { rows } = await file.database.pool.query(
      "select from payment_link where plan_uuid = $1 and seen_version <> version",
      [plan.id],
    );
    expect(rows).toEqual([]);
  });

  it("is not changed by a statement that read its instalments before another change", async () => {
    const plan = await createPlan(node);
    await node.close();
    await payInstalment(plan, 1);
    await settleDue(file.database.pool);
    const client = await file.database.pool.connect();
    await client.query("begin");
    await client.query("update payment_link set status = 'paid', version = 2, seen_version = 2 where id = $1", [
      await linkOf(plan, 2),
    ]);
    await client.query("update plan set version = 2 where id = $1", [plan.id]);
    const settling = settlePlan(file.database.pool, plan.id);
    const waiting = "select from pg_locks where not granted and pid <> pg_backend_pid()";
    while ((await client.query(waiting)).rowCount === 0);
    await client.query("commit");
    client.release();
    await settling;
    const { rows } = await file.database.pool.query("select version, started_version from plan where id = $1", [
      plan.id,
    ]);
    expect(rows).toEqual([{ version: 2, started_version: null }]);
    node = await startNode({ databaseUrl: file.url });
    expect(await readPlan(node, plan.planId)).toMatchObject({ version: 3, paidMinor: 20_000 });
  });
});

describe("a plan with an unpaid instalment", () => {
  it("is past_due after the days of grace, and active again once it is paid", async () => {
    const plan = await createPlan(node);
    await pass(plan, 2.9);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "active", version: 1 });
    await pass(plan, 0.2);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "past_due", version: 2 });
    await payInstalment(plan, 1);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "active", version: 3 });
    await pass(plan, 31);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "past_due", version: 4 });
  });

  it("is past_due by any node, without being read, and found by its status", async () => {
    const plan = await createPlan(node, { graceDays: 0 });
    await pass(plan, 1);
    const listed = async () =>
      ((await asMerchant(node, "/v1/plans?status=past_due")).body as unknown as { data: Plan[] }).data.map(
        ({ id }) => id,
      );
    await expect.poll(listed).toContain(plan.id);
    const active = (await asMerchant(node, "/v1/plans?status=active&limit=100")).body.data as unknown as Plan[];
    expect(active.map(({ id }) => id)).not.toContain(plan.id);
  });
});

describe("an endless plan", () => {
  /** Without a node, whose loop would create instalments meanwhile. */
  const grow = () => growDuePlans(file.database.pool, createSealer([testSecret]));

  const growAll = async (): Promise<void> => {
    while ((await grow()).isUnfinished);
  };

  it("gets the next instalment when one is due", async () => {
    const plan = await createPlan(node, daily);
    await pass(plan, 0.6);
    await growAll();
    const grown = await readPlan(node, plan.planId);
    expect(grown.instalments.map(({ n }) => n)).toEqual([1, 2]);
    expect(grown.version).toBe(2);
    expect(grown.instalments[1]?.url).toMatch(/\/pay\/[\w-]{24}$/);
    expect(Date.parse(grown.instalments[1]?.dueAt ?? "") - Date.parse(grown.instalments[0]?.dueAt ?? "")).toBe(
      86_400_000,
    );
  });

  it("misses no instalment after days without a node, and gets none twice from several", async () => {
    const plan = await createPlan(node, daily);
    await pass(plan, 9.6);
    await Promise.all([growAll(), growAll(), growAll(), growAll()]);
    await growAll();
    const { instalments } = await readPlan(node, plan.planId);
    expect(instalments.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    const gaps = instalments
      .slice(1)
      .map(({ dueAt }, index) => Date.parse(dueAt) - Date.parse(instalments[index]?.dueAt ?? ""));
    expect(new Set(gaps)).toEqual(new Set([86_400_000]));
  });

  it("skips a number whose order id is taken", async () => {
    const plan = await createPlan(node, daily);
    await asMerchant(node, "/v1/payment-links", { orderId: `${plan.planId}-2`, amountMinor: 10_000, currency: "KES" });
    await pass(plan, 0.6);
    await growAll();
    expect((await readPlan(node, plan.planId)).instalments.map(({ n }) => n)).toEqual([1, 3]);
  });

  it("is never completed", async () => {
    const plan = await createPlan(node, daily);
    await payInstalment(plan, 1);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "active", paidMinor: 10_000 });
  });

  it("is past_due by an instalment that was created later", async () => {
    const plan = await createPlan(node, { ...daily, graceDays: 0 });
    await payInstalment(plan, 1);
    await pass(plan, 1.6);
    await growAll();
    expect((await readPlan(node, plan.planId)).status).toBe("past_due");
  });

  it("skips the dates of a pause", async () => {
    const plan = await createPlan(node, daily);
    await changePlan(node, plan.planId, "pause");
    await pass(plan, 9.6);
    await growAll();
    expect((await readPlan(node, plan.planId)).instalments).toHaveLength(1);
    await changePlan(node, plan.planId, "resume");
    await growAll();
    const { instalments, status } = await readPlan(node, plan.planId);
    expect(status).toBe("active");
    expect(instalments).toHaveLength(2);
    const days = (Date.parse(instalments[1]?.dueAt ?? "") - Date.parse(instalments[0]?.dueAt ?? "")) / 86_400_000;
    expect(days).toBe(10);
  });

  it("gets no instalment after its cancellation", async () => {
    const plan = await createPlan(node, daily);
    await changePlan(node, plan.planId, "cancel");
    await pass(plan, 5);
    await growAll();
    expect((await readPlan(node, plan.planId)).instalments).toHaveLength(1);
  });
});

describe("POST /v1/plans/:planId/pause and resume", () => {
  it("stop and continue the clock, with new days of grace", async () => {
    const plan = await createPlan(node);
    expect(planOf(await changePlan(node, plan.planId, "pause"))).toMatchObject({ status: "paused", version: 2 });
    expect(planOf(await changePlan(node, plan.planId, "pause"))).toMatchObject({ status: "paused", version: 2 });
    await pass(plan, 10);
    await settleDuePlans(file.database.pool);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "paused", version: 2 });
    expect(planOf(await changePlan(node, plan.planId, "resume"))).toMatchObject({ status: "active", version: 3 });
    expect(planOf(await changePlan(node, plan.planId, "resume"))).toMatchObject({ status: "active", version: 3 });
    await pass(plan, 2.9);
    expect((await readPlan(node, plan.planId)).status).toBe("active");
    await pass(plan, 0.2);
    expect((await readPlan(node, plan.planId)).status).toBe("past_due");
  });

  it("let a payer pay meanwhile, also the last instalment", async () => {
    const plan = await createPlan(node);
    await changePlan(node, plan.planId, "pause");
    await payInstalment(plan, 1);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "paused", paidMinor: 10_000 });
    await payInstalment(plan, 2);
    await payInstalment(plan, 3);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "completed", paidMinor: 30_000 });
    for (const change of ["pause", "resume", "cancel"] as const) {
      expect(await changePlan(node, plan.planId, change)).toMatchObject({ status: 409, body: { code: "plan_closed" } });
    }
  });
});

describe("POST /v1/plans/:planId/cancel", () => {
  it("cancels the open instalments, and repeats without a new version", async () => {
    const plan = await createPlan(node);
    await payInstalment(plan, 1);
    const cancelled = planOf(await changePlan(node, plan.planId, "cancel"));
    expect(cancelled).toMatchObject({ status: "cancelled", version: 3, paidMinor: 10_000, remainingMinor: 0 });
    expect(statusesOf(cancelled)).toEqual(["paid", "cancelled", "cancelled"]);
    expect(planOf(await changePlan(node, plan.planId, "cancel"))).toEqual(cancelled);
    await expect(openInstalment(plan, 2)).rejects.toMatchObject({ code: "payment_link_closed" });
  });

  it("lets a payment in progress go on: the money counts", async () => {
    const plan = await createPlan(node);
    const open = await openInstalment(plan, 1);
    await changePlan(node, plan.planId, "cancel");
    await store().advance(open, payment);
    const late = await readPlan(node, plan.planId);
    expect(late).toMatchObject({ status: "cancelled", version: 3, paidMinor: 10_000 });
    expect(statusesOf(late)).toEqual(["paid", "cancelled", "cancelled"]);
  });

  it("leaves no instalment open when one is created at the same moment", async () => {
    for (let times = 0; times < 5; times += 1) {
      const plan = await createPlan(node, daily);
      await pass(plan, 2.6);
      await Promise.all([
        changePlan(node, plan.planId, "cancel"),
        growDuePlans(file.database.pool, createSealer([testSecret])),
        growDuePlans(file.database.pool, createSealer([testSecret])),
      ]);
      const after = await readPlan(node, plan.planId);
      expect([after.status, ...new Set(statusesOf(after))]).toEqual(["cancelled", "cancelled"]);
    }
  });
});

describe("a plan that does not exist", () => {
  it("is refused by every call", async () => {
    const answers = [
      await asMerchant(node, "/v1/plans/none"),
      await asMerchant(node, "/v1/plans/%00"),
      await changePlan(node, "none", "pause"),
      await changePlan(node, "none", "resume"),
      await changePlan(node, "none", "cancel"),
    ];
    for (const answer of answers) expect(answer).toMatchObject({ status: 404, body: { code: "plan_unknown" } });
  });
});

describe("GET /v1/plans", () => {
  it("lists plans in pages, newest first", async () => {
    const plans = [await createPlan(node), await createPlan(node), await createPlan(node)].toReversed();
    const first = (await asMerchant(node, "/v1/plans?limit=2")).body;
    expect(first.data).toEqual(plans.slice(0, 2));
    const next = (await asMerchant(node, `/v1/plans?limit=2&cursor=${first.nextCursor}`)).body;
    expect(next.data[0]).toEqual(plans[2]);
  });

  it("refuses an unknown status, field and cursor", async () => {
    for (const search of ["status=open", "state=active", "cursor=x", "limit=0"]) {
      expect(await asMerchant(node, `/v1/plans?${search}`)).toMatchObject({
        status: 400,
        body: { code: "body_invalid", errors: [{ path: search.split("=")[0] }] },
      });
    }
  });
});
