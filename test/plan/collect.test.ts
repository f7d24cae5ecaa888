/** Prompts of plans, with the clock of the sandbox: once a day, by day, until the instalment is paid, whatever node dies. */
import { DateTime } from "luxon";
import pg from "pg";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { readNow } from "../../server/plan/clock.ts";
import type { Plan } from "../../server/plan/row.ts";
import { useDatabase } from "../support/database.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { changePlan, createPlan, readPlan } from "../support/plan.ts";
import { startProcess } from "../support/process.ts";
import { nextOrderId } from "../support/store.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

const file = useDatabase();
const zone = "Africa/Nairobi";
let node: TestNode;
beforeEach(async () => {
  // Nothing of an earlier test is due.
  await file.database.pool.query(`update payment set status = 'expired' where is_open(status);
    update plan set status = 'cancelled', collects_at = null, grows_at = null, past_due_at = null;
    update plan_clock set ahead_ms = 0`);
  await moveTo("12:00", 1);
  node = await startNode({ databaseUrl: file.url });
});

/** Moves the clock of plans to a local time so many days later. */
async function moveTo(time: string, days = 0): Promise<void> {
  const now = await readNow(file.database.pool);
  const day = DateTime.fromJSDate(now, { zone }).plus({ days }).toISODate();
  const target = DateTime.fromISO(`${day}T${time}:01`, { zone }).toMillis();
  expect(target).toBeGreaterThan(now.getTime());
  await file.database.pool.query("update plan_clock set ahead_ms = ahead_ms + $1", [target - now.getTime()]);
}

/** Due at noon, so many days from the day of the clock. */
async function dueIn(days: number): Promise<string> {
  const now = DateTime.fromJSDate(await readNow(file.database.pool), { zone });
  return now.plus({ days }).set({ hour: 12, minute: 0, second: 0, millisecond: 0 }).toUTC().toISO() ?? "";
}

let phones = 0;

/** A plan whose customer's phone has this ending in the sandbox. The first instalment is due in `firstIn` days. */
async function planWith(
  ending: string,
  { firstIn = 2, ...fields }: { firstIn?: number } & Record<string, unknown> = {},
): Promise<Plan> {
  phones += 1;
  const customer = { id: nextOrderId(), phone: `+2547${String(400_000 + phones)}${ending}` };
  const schedule = { amountMinor: 10_000, every: { months: 1 }, count: 3, firstDueAt: await dueIn(firstIn) };
  return createPlan(node, { customer, provider: "daraja", timeZone: zone, schedule, ...fields });
}

/** The days on which the plan was prompted. */
async function promptsOf({ id }: Plan): Promise<string[]> {
  const text = "select key from idempotency where key like $1 order by key";
  const { rows } = await file.database.pool.query<{ key: string }>(text, [`plan:${id}:%`]);
  return rows.map(({ key }) => key.slice(-10));
}

/** The payments of a plan, oldest first. */
async function paymentsOf({ planId }: Plan): Promise<string[]> {
  const text = `select o.order_id, p.status from payment p join "order" o on o.id = p.order_uuid
    where o.order_id like $1 order by p.started_at`;
  const { rows } = await file.database.pool.query<{ order_id: string; status: string }>(text, [`${planId}-%`]);
  return rows.map(({ order_id, status }) => `${order_id.slice(planId.length + 1)} ${status}`);
}

/**
 * Waits until a node has looked at every plan that is due, and has opened the order of each prompt of today. `isOwn`: false if today's
 * prompt is not the node's own, or was lost.
 */
const looked = ({ isOwn = true } = {}) =>
  expect
    .poll(
      async () => {
        const text = `select from plan p where status in ('active', 'past_due') and (collects_at <= plan_now()
          or ($1 and prompted_on = (plan_now() at time zone time_zone)::date and customer ? 'phone'
            and not exists (select from idempotency where key = 'plan:' || p.id || ':' || prompted_on)))`;
        return (await file.database.pool.query(text, [isOwn])).rowCount;
      },
      { timeout: 30_000 },
    )
    .toBe(0);

const days = async (count: number, time = "10:00"): Promise<void> => {
  for (let day = 0; day < count; day += 1) {
    await moveTo(time, 1);
    await looked();
    await expect.poll(openPayments, { timeout: 30_000 }).toBe(0);
  }
};

const openPayments = async () => (await file.database.pool.query("select from payment where is_open(status)")).rowCount;

describe("a plan's prompts", () => {
  it("begin on the due day at promptAt, and are repeated on the next day after a failure, until it is paid", async () => {
    const plan = await planWith("02");
    await moveTo("20:30", 1);
    await looked();
    expect(await paymentsOf(plan)).toEqual([]);
    await moveTo("08:59", 1);
    await looked();
    expect(await paymentsOf(plan)).toEqual([]);
    await moveTo("09:00");
    await expect.poll(() => paymentsOf(plan), { timeout: 30_000 }).toEqual(["1 failed"]);
    await moveTo("19:00");
    await looked();
    expect(await paymentsOf(plan)).toEqual(["1 failed"]);
    await moveTo("21:00");
    await looked();
    await days(1, "09:00");
    expect(await paymentsOf(plan)).toEqual(["1 failed", "1 failed"]);
    await file.database.pool.query(
      "update plan set customer = jsonb_set(customer, '{phone}', '\"+254799000001\"') where id = $1",
      [plan.id],
    );
    await file.database.pool.query(
      "update payment_link set customer = jsonb_set(customer, '{phone}', '\"+254799000001\"') where plan_uuid = $1",
      [plan.id],
    );
    await days(1);
    expect(await readPlan(node, plan.planId)).toMatchObject({ paidMinor: 10_000, startedAt: expect.any(String) });
    await days(3);
    expect(await promptsOf(plan)).toHaveLength(3);
  });

  it("are one a day from two nodes, and one after days without a node", async () => {
    await startNode({ databaseUrl: file.url });
    const plan = await planWith("02", { firstIn: 1 });
    await days(4);
    expect(await promptsOf(plan)).toHaveLength(4);
    expect(new Set(await promptsOf(plan)).size).toBe(4);
    await moveTo("10:00", 5);
    await looked();
    expect(await promptsOf(plan)).toHaveLength(5);
    expect(await paymentsOf(plan)).toHaveLength(5);
  });

  it("stop after 14 days, and begin again with the next instalment", async () => {
    const plan = await planWith("02", { firstIn: 1, graceDays: 0 });
    await moveTo("10:00", 14);
    await looked();
    expect(await promptsOf(plan)).toHaveLength(1);
    await moveTo("10:00", 1);
    await looked();
    expect(await promptsOf(plan)).toHaveLength(1);
    expect((await readPlan(node, plan.planId)).status).toBe("past_due");
    // The phone is busy until the payment has ended.
    await expect.poll(openPayments, { timeout: 30_000 }).toBe(0);
    await moveTo("10:00", 18);
    await looked();
    await expect.poll(() => paymentsOf(plan), { timeout: 30_000 }).toEqual(["1 failed", "1 failed"]);
  });

  it("are not made for a plan that is paused, cancelled, or has no phone", async () => {
    const paused = await planWith("02", { firstIn: 1 });
    await changePlan(node, paused.planId, "pause");
    const cancelled = await planWith("02", { firstIn: 1 });
    await changePlan(node, cancelled.planId, "cancel");
    const noPhone = await planWith("02", { firstIn: 1, customer: { id: "C-1" } });
    await days(3);
    for (const plan of [paused, cancelled, noPhone]) expect(await paymentsOf(plan)).toEqual([]);
    await changePlan(node, paused.planId, "resume");
    await days(1);
    expect(await paymentsOf(paused)).toEqual(["1 failed"]);
  });

  it("are left out on a day on which the merchant has prompted", async () => {
    const plan = await planWith("02", { firstIn: 1 });
    await moveTo("08:30", 1);
    await asMerchant(node, `/v1/plans/${plan.planId}/pay`, {});
    await moveTo("10:00");
    await looked({ isOwn: false });
    expect(await promptsOf(plan)).toEqual([]);
    await days(1);
    expect(await promptsOf(plan)).toHaveLength(1);
  });

  it("are put off within the day by a limit", async () => {
    await node.close();
    node = await startNode({ databaseUrl: file.url, env: { LIMIT_PAGE_PROVIDER: "1" } });
    const plans = [await planWith("02", { firstIn: 1 }), await planWith("02", { firstIn: 1 })];
    await moveTo("10:00", 1);
    await looked();
    const counts = await Promise.all(plans.map(async (plan) => (await promptsOf(plan)).length));
    expect(counts.toSorted()).toEqual([0, 1]);
    const { rows } = await file.database.pool.query(
      "select extract(epoch from collects_at - plan_now())::float8 as s from plan where id = any ($1::uuid[]) and prompted_on is null",
      [plans.map(({ id }) => id)],
    );
    expect(rows).toHaveLength(1);
    expect(rows[0].s).toBeLessThan(61);
  });

  it("make a past_due plan active, and complete it", async () => {
    const plan = await planWith("01", { firstIn: 1, graceDays: 0, provider: "daraja" });
    await moveTo("21:00", 2);
    await expect.poll(async () => (await readPlan(node, plan.planId)).status).toBe("past_due");
    await days(1);
    expect(await readPlan(node, plan.planId)).toMatchObject({ status: "active", paidMinor: 10_000 });
    for (let month = 0; month < 3; month += 1) {
      await moveTo("10:00", 30);
      await looked();
      await expect.poll(openPayments, { timeout: 30_000 }).toBe(0);
    }
    expect(await readPlan(node, plan.planId)).toMatchObject({
      status: "completed",
      paidMinor: 30_000,
      remainingMinor: 0,
    });
    expect(await promptsOf(plan)).toHaveLength(3);
  });

  it("let a plan be cancelled while one is out: the money counts, and no other follows", async () => {
    const plan = await planWith("00", { firstIn: 1 });
    await moveTo("10:00", 1);
    await expect.poll(() => paymentsOf(plan), { timeout: 30_000 }).toEqual(["1 processing"]);
    await changePlan(node, plan.planId, "cancel");
    const phone = String(
      (await file.database.pool.query("select customer ->> 'phone' as phone from plan where id = $1", [plan.id]))
        .rows[0].phone,
    );
    const { prompts } = (await (await fetch(`${node.url}/sandbox/phone/${phone.slice(1)}/prompts`)).json()) as {
      prompts: { id: string }[];
    };
    await fetch(`${node.url}/sandbox/phone/prompts/${prompts[0]?.id}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ answer: "approve" }),
    });
    await expect.poll(async () => (await readPlan(node, plan.planId)).paidMinor, { timeout: 30_000 }).toBe(10_000);
    expect((await readPlan(node, plan.planId)).status).toBe("cancelled");
    await days(3);
    expect(await paymentsOf(plan)).toEqual(["1 succeeded"]);
  });
});

describe("a process that is killed between the claim of a prompt and its payment", () => {
  it("leaves that day out, and another node prompts on the next day", async () => {
    const plan = await planWith("02", { firstIn: 1 });
    await node.close();
    const doomed = await startProcess({
      DATABASE_URL: file.url,
      LIMIT_PHONE: "1000",
      LIMIT_ORDER: "1000",
      SPOOL: "off",
    });
    onTestFinished(doomed.close);
    const holder = new pg.Client(file.url);
    await holder.connect();
    onTestFinished(() => holder.end());
    await holder.query("select pg_advisory_lock(hashtextextended($1::text, 3))", [plan.id]);
    await moveTo("10:00", 1);
    // The statement that opens the order waits for the plan's lock, after the claim was committed.
    const waiting = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await vi.waitUntil(async () => (await holder.query(waiting)).rowCount === 1, { timeout: 60_000, interval: 20 });
    const { rows } = await holder.query("select prompted_on is not null as claimed from plan where id = $1", [plan.id]);
    expect(rows).toEqual([{ claimed: true }]);
    await doomed.end("SIGKILL");
    await holder.query(`select pg_terminate_backend(pid) from (${waiting}) waiting`);
    await holder.query("select pg_advisory_unlock_all()");
    node = await startNode({ databaseUrl: file.url });
    await moveTo("14:00");
    await looked({ isOwn: false });
    expect(await paymentsOf(plan)).toEqual([]);
    await days(1);
    expect(await paymentsOf(plan)).toEqual(["1 failed"]);
  });
});
