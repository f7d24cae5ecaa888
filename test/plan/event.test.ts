/** Messages about plans to the merchant's backend. */
import { beforeEach, describe, expect, it, vi } from "vitest";
import { addEndpoint, type Backend, startBackend } from "../support/backend.ts";
import { useDatabase } from "../support/database.ts";
import { startNode, type TestNode } from "../support/node.ts";
import { createPayBrowser, payOnPage, settledOrder } from "../support/pay-page.ts";
import { changePlan, createPlan, inDays, readPlan } from "../support/plan.ts";

const file = useDatabase();

let node: TestNode;
let backend: Backend;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
  backend = await startBackend();
});

/** The messages about one plan so far. */
const aboutPlan = ({ id }: { id: string }) => backend.received.filter((one) => one.id.startsWith(`${id}.`));

const typesAbout = (plan: { id: string }) => aboutPlan(plan).map(({ type }) => type);

let phones = 0;

/** Pays on the page of an instalment, in the sandbox. */
async function payPage(plan: { planId: string }, n: number): Promise<void> {
  phones += 1;
  const { instalments } = await readPlan(node, plan.planId);
  const instalment = instalments.find((one) => one.n === n);
  const phone = `+25471${String(phones).padStart(5, "0")}01`;
  await payOnPage(createPayBrowser(node, instalment?.url ?? ""), { provider: "daraja", phone });
  await settledOrder(node, `${plan.planId}-${n}`);
}

const two = { schedule: { totalMinor: 20_000, every: { weeks: 1 }, count: 2, firstDueAt: inDays(0) } };

describe("messages about a plan", () => {
  it("say that it was created, started and completed, with the whole plan", async () => {
    await addEndpoint(node, backend);
    const plan = await createPlan(node, two);
    await vi.waitUntil(() => typesAbout(plan).length === 1);
    await payPage(plan, 1);
    await vi.waitUntil(() => typesAbout(plan).length === 2);
    await payPage(plan, 2);
    await vi.waitUntil(() => typesAbout(plan).length === 3);
    const [created, , completed] = aboutPlan(plan);
    expect(typesAbout(plan)).toEqual(["plan.active", "plan.started", "plan.completed"]);
    expect(created).toMatchObject({
      id: `${plan.id}.0.1`,
      isVerified: true,
      body: { timestamp: plan.createdAt, data: { plan } },
    });
    expect(completed).toMatchObject({
      id: `${plan.id}.0.3`,
      body: { data: { plan: await readPlan(node, plan.planId) } },
    });
    expect(backend.received.some(({ text }) => text.includes("712345678"))).toBe(false);
    // The orders have messages of their own, and the payment links of instalments have none.
    expect(backend.received.filter(({ type }) => type === "order.succeeded")).toHaveLength(2);
    expect(backend.received.filter(({ type }) => type.startsWith("paymentLink."))).toEqual([]);
  });

  it("say that it is paused, goes on and is cancelled", async () => {
    await addEndpoint(node, backend);
    const plan = await createPlan(node);
    await vi.waitUntil(() => typesAbout(plan).length === 1);
    for (const [index, change] of (["pause", "resume", "cancel"] as const).entries()) {
      await changePlan(node, plan.planId, change);
      await vi.waitUntil(() => typesAbout(plan).length === index + 2);
    }
    expect(typesAbout(plan)).toEqual(["plan.active", "plan.paused", "plan.active", "plan.cancelled"]);
  });

  it("say that it is past_due, and that it goes on once it is paid", async () => {
    await addEndpoint(node, backend, { events: ["plan.past_due", "plan.active"] });
    const plan = await createPlan(node, two);
    await vi.waitUntil(() => typesAbout(plan).length === 1);
    await file.database.pool.query(
      "with over as (update payment_link set overdue_at = now() where order_id = $1) update plan set past_due_at = now() where plan_id = $2",
      [`${plan.planId}-1`, plan.planId],
    );
    await vi.waitUntil(() => typesAbout(plan).length === 2);
    await payPage(plan, 1);
    await vi.waitUntil(() => typesAbout(plan).length === 3);
    expect(typesAbout(plan)).toEqual(["plan.active", "plan.past_due", "plan.active"]);
  });

  it("reach a subscriber of plan.started alone, also if more has happened before the first attempt", async () => {
    backend.answer = (response) => response.writeHead(503).end();
    await addEndpoint(node, backend, { events: ["plan.started"] });
    const plan = await createPlan(node, two);
    await payPage(plan, 1);
    await vi.waitUntil(() => typesAbout(plan).length === 1);
    backend.answer = (response) => response.end();
    await payPage(plan, 2);
    await vi.waitUntil(() => typesAbout(plan).length === 2);
    expect(typesAbout(plan)).toEqual(["plan.started", "plan.started"]);
    expect(aboutPlan(plan)[1]?.body.data.plan).toMatchObject({ status: "completed", version: 3 });
  });

  it("are plan.updated for a change beside those of before the endpoint existed", async () => {
    const plan = await createPlan(node);
    await payPage(plan, 1);
    await vi.waitUntil(async () => (await readPlan(node, plan.planId)).startedAt !== undefined);
    // Earlier, because the database's times have milliseconds.
    const earlier = "update plan set status_at = status_at - interval '1 s', started_at = started_at - interval '1 s'";
    await file.database.pool.query(earlier);
    await addEndpoint(node, backend);
    await payPage(plan, 2);
    await vi.waitUntil(() => typesAbout(plan).length === 1);
    expect(typesAbout(plan)).toEqual(["plan.updated"]);
  });
});
