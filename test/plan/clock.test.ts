/** POST /sandbox/clock: the time of plans, on all nodes of a database. */
import { DateTime } from "luxon";
import { beforeEach, describe, expect, it } from "vitest";
import { readNow } from "../../server/plan/clock.ts";
import { useDatabase } from "../support/database.ts";
import { asMerchant, call, startNode, type TestNode } from "../support/node.ts";
import { advance, createPlan, planBody, readPlan } from "../support/plan.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  await file.database.pool.query("update plan_clock set ahead_ms = 0");
  node = await startNode({ databaseUrl: file.url });
});

const now = () => readNow(file.database.pool);

describe("POST /sandbox/clock", () => {
  it("moves the time of plans by a duration of the calendar, and answers the new time", async () => {
    const before = await now();
    const answered = await advance(node, "P1M");
    const expected = DateTime.fromJSDate(before, { zone: "utc" }).plus({ months: 1 }).toMillis();
    expect(answered.getTime() - expected).toBeGreaterThanOrEqual(0);
    expect(answered.getTime() - expected).toBeLessThan(60_000);
    expect((await now()).getTime() - answered.getTime()).toBeLessThan(60_000);
  });

  it("adds up concurrent advances", async () => {
    const before = await now();
    await Promise.all(Array.from({ length: 10 }, () => advance(node, "PT36H")));
    const movedMs = (await now()).getTime() - before.getTime();
    expect(Math.floor(movedMs / 3_600_000)).toBe(360);
  });

  it("refuses what is no duration, goes back, stands still, or exceeds ten years in total", async () => {
    for (const wrong of ["", "1M", "P", "P-1D", "-P1D", "P1M-1D", "PT0S", "P1Y".repeat(50), 5, null, undefined]) {
      expect(await asMerchant(node, "/sandbox/clock", { advance: wrong })).toMatchObject({
        status: 400,
        body: { code: "body_invalid", errors: [{ path: "advance" }] },
      });
    }
    for (const far of ["P11Y", "P999999999Y", "PT9007199254740991H"]) {
      expect(await asMerchant(node, "/sandbox/clock", { advance: far })).toMatchObject({
        status: 400,
        body: { errors: [{ path: "advance", message: "would move the time by more than ten years in total" }] },
      });
    }
    await advance(node, "P9Y");
    expect(await asMerchant(node, "/sandbox/clock", { advance: "P2Y" })).toMatchObject({ status: 400 });
    await advance(node, "P6M");
  });

  it("needs the API key, and exists only if every provider is a sandbox", async () => {
    const body = JSON.stringify({ advance: "P1M" });
    const init = { method: "POST", body, headers: { "content-type": "application/json" } };
    expect(await call(`${node.url}/sandbox/clock`, init)).toMatchObject({ status: 401, body: { code: "key_invalid" } });
    await node.close();
    const env = {
      SANDBOX: "daraja",
      LIPANA_SECRET_KEY: "lip_sk_live_0123456789",
      LIPANA_WEBHOOK_SECRET: "a webhook secret",
    };
    const live = await startNode({ databaseUrl: file.url, env });
    expect(await asMerchant(live, "/sandbox/clock", { advance: "P1M" })).toMatchObject({
      status: 404,
      body: { code: "route_unknown" },
    });
  });

  it("is set back by a node with a live provider", async () => {
    await advance(node, "P1M");
    await node.close();
    const env = { LIPANA_SECRET_KEY: "lip_sk_live_0123456789", LIPANA_WEBHOOK_SECRET: "a webhook secret" };
    await startNode({ databaseUrl: file.url, env });
    const aheadMs = async () => (await now()).getTime() - Date.now();
    await expect.poll(aheadMs).toBeLessThan(3_600_000);
  });
});

describe("a plan after an advance", () => {
  it("is past_due, and is read so at once from another node", async () => {
    const other = await startNode({ databaseUrl: file.url });
    const plan = await createPlan(node);
    await advance(node, "P2D");
    expect((await readPlan(other, plan.planId)).status).toBe("active");
    await advance(node, "P2D");
    expect((await readPlan(other, plan.planId)).status).toBe("past_due");
    expect(Date.parse((await readPlan(node, plan.planId)).changedAt)).toBeLessThan(Date.now() + 60_000);
  });

  it("has each instalment of the time that was skipped once", async () => {
    const firstDueAt = (await now()).toISOString();
    const schedule = { amountMinor: 10_000, every: { weeks: 1 }, firstDueAt };
    const { planId } = await createPlan(node, { kind: "subscription", schedule });
    await startNode({ databaseUrl: file.url });
    await advance(node, "P10W");
    const dueDays = async () =>
      (await readPlan(node, planId)).instalments.map(
        ({ dueAt }) => (Date.parse(dueAt) - Date.parse(firstDueAt)) / 86_400_000,
      );
    await expect.poll(dueDays).toEqual([0, 7, 14, 21, 28, 35, 42, 49, 56, 63, 70, 77]);
  });

  it("may begin in that time, and not before it", async () => {
    await advance(node, "P1Y");
    const due = (at: Date) => ({ amountMinor: 10_000, every: { months: 1 }, count: 3, firstDueAt: at.toISOString() });
    const refused = await asMerchant(node, "/v1/plans", planBody({ schedule: due(new Date()) }));
    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path: "schedule.firstDueAt" }] } });
    expect(await createPlan(node, { schedule: due(await now()) })).toMatchObject({ status: "active" });
  });
});
