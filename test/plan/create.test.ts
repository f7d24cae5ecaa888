/** POST /v1/plans: what it creates, refuses and repeats, over HTTP. */
import fc from "fast-check";
import { DateTime } from "luxon";
import { beforeEach, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { createLink, readLink } from "../support/payment-link.ts";
import { changePlan, createPlan, inDays, planBody, planOf, readPlan } from "../support/plan.ts";
import { nextOrderId } from "../support/store.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
});

const create = (fields: Record<string, unknown> = {}, headers = {}) =>
  asMerchant(node, "/v1/plans", planBody(fields), headers);

/** The number of links of a plan in the database. */
const countLinks = async (planId: string): Promise<number> =>
  (await file.database.pool.query("select from payment_link where order_id like $1", [`${planId}-%`])).rowCount ?? 0;

describe("POST /v1/plans", () => {
  it("creates a plan with a payment link for each instalment, and shows it again", async () => {
    const sent = planBody({
      description: "A phone",
      provider: "daraja",
      timeZone: "Asia/Dhaka",
      promptAt: "18:30",
      remindDaysBefore: [0, 7, 0],
      graceDays: 5,
      lang: "sw",
      metadata: { sku: "P-1" },
      customer: { id: "C-1", name: "Asha Njeri", email: "asha@example.com", phone: "0712 345 678" },
    });
    const answer = await asMerchant(node, "/v1/plans", sent);
    const plan = planOf(answer);
    expect(answer.status).toBe(201);
    expect(plan).toMatchObject({
      ...sent,
      version: 1,
      status: "active",
      paidMinor: 0,
      remainingMinor: 30_000,
      remindDaysBefore: [7, 0],
      customer: { id: "C-1", name: "Asha Njeri", email: "asha@example.com", phone: "+2547*****678" },
    });
    expect(plan.instalments.map(({ n, orderId, amountMinor, status }) => [n, orderId, amountMinor, status])).toEqual(
      [1, 2, 3].map((n) => [n, `${plan.planId}-${n}`, 10_000, "open"]),
    );
    expect(plan).not.toHaveProperty("startedAt");
    expect(await readPlan(node, plan.planId)).toEqual(plan);
  });

  it("gives each link what its page needs", async () => {
    const plan = await createPlan(node, { description: "A phone", provider: "daraja", lang: "sw", metadata: { a: 1 } });
    const { rows } = await file.database.pool.query<{ id: string }>("select id from payment_link where order_id = $1", [
      `${plan.planId}-2`,
    ]);
    const { n: _, ...second } = plan.instalments[1] ?? { n: 0 };
    expect(await readLink(node, rows[0]?.id ?? "")).toMatchObject({
      ...second,
      version: 1,
      currency: "KES",
      description: "A phone",
      providers: ["daraja"],
      lang: "sw",
      customer: plan.customer,
      metadata: { a: 1 },
    });
  });

  it("fills in what the merchant leaves out", async () => {
    const plan = await createPlan(node);
    expect(plan).toMatchObject({
      timeZone: "Africa/Nairobi",
      promptAt: "09:00",
      remindDaysBefore: [3, 0],
      graceDays: 3,
    });
    const [first, second] = plan.instalments.map(({ dueAt }) => DateTime.fromISO(dueAt, { zone: "Africa/Nairobi" }));
    expect(second?.toFormat("HH:mm")).toBe(first?.toFormat("HH:mm"));
    expect(plan.schedule).toMatchObject({ amountMinor: 10_000, every: { months: 1 }, count: 3 });
  });

  it("splits a total in steps that the providers take", async () => {
    const schedule = { totalMinor: 100_000, every: { weeks: 1 }, count: 3, firstDueAt: inDays(0) };
    const plan = await createPlan(node, { schedule });
    expect(plan.instalments.map(({ amountMinor }) => amountMinor)).toEqual([33_400, 33_300, 33_300]);
    expect(plan.remainingMinor).toBe(100_000);
  });

  it("takes instalments one by one", async () => {
    const instalments = [
      { dueAt: inDays(0), amountMinor: 50_000 },
      { dueAt: inDays(10), amountMinor: 20_000 },
    ];
    const plan = await createPlan(node, { schedule: { instalments } });
    expect(plan.instalments).toMatchObject(instalments);
    expect(plan).not.toHaveProperty("schedule");
  });

  it("begins an endless subscription with one instalment that is not due", async () => {
    const schedule = { amountMinor: 10_000, every: { days: 1 }, firstDueAt: inDays(-0.5) };
    const plan = await createPlan(node, { kind: "subscription", schedule });
    expect(plan.instalments.map(({ n }) => n)).toEqual([1, 2]);
    expect(plan).not.toHaveProperty("remainingMinor");
    const later = await createPlan(node, {
      kind: "subscription",
      schedule: { ...schedule, firstDueAt: inDays(5) },
    });
    expect(later.instalments).toHaveLength(1);
  });

  it("remains equal in sum for any total and count", async () => {
    const totals = fc.record({ steps: fc.integer({ min: 12, max: 100_000 }), count: fc.integer({ min: 1, max: 12 }) });
    await fc.assert(
      fc.asyncProperty(totals, async ({ steps, count }) => {
        const schedule = { totalMinor: steps * 100, every: { days: 1 }, count, firstDueAt: inDays(0) };
        const plan = await createPlan(node, { schedule });
        expect(plan.paidMinor + (plan.remainingMinor ?? 0)).toBe(steps * 100);
        expect(plan.instalments.reduce((sum, { amountMinor }) => sum + amountMinor, 0)).toBe(steps * 100);
        expect(plan.instalments).toHaveLength(count);
      }),
      { numRuns: 10 },
    );
  });

  const recurring = (fields: Record<string, unknown>) => ({
    schedule: { amountMinor: 10_000, every: { months: 1 }, count: 3, firstDueAt: inDays(1), ...fields },
  });
  const listed = (...instalments: object[]) => ({ schedule: { instalments } });
  const one = (days: number, amountMinor = 10_000) => ({ dueAt: inDays(days), amountMinor });

  it.each<[string, Record<string, unknown>, string, string]>([
    ["an id of 41 characters", { planId: "x".repeat(41) }, "body_invalid", "planId"],
    ["an id that no order can have", { planId: "a b" }, "body_invalid", "planId"],
    ["an unknown kind", { kind: "loan" }, "body_invalid", "kind"],
    ["no customer", { customer: undefined }, "body_invalid", "customer"],
    ["a customer without an id and a phone", { customer: { name: "Asha" } }, "body_invalid", "customer"],
    ["a phone that is none", { customer: { phone: "12" } }, "phone_invalid", "customer.phone"],
    ["an unknown provider", { provider: "paypal" }, "provider_unknown", "provider"],
    ["a currency that no provider takes", { currency: "JPY" }, "currency_invalid", "currency"],
    ["no schedule", { schedule: undefined }, "body_invalid", "schedule"],
    ["an empty schedule", { schedule: {} }, "body_invalid", "schedule.every"],
    ["two intervals", recurring({ every: { days: 1, weeks: 1 } }), "body_invalid", "schedule.every"],
    ["no interval", recurring({ every: {} }), "body_invalid", "schedule.every"],
    ["13 months", recurring({ every: { months: 13 } }), "body_invalid", "schedule.every.months"],
    ["no first date", recurring({ firstDueAt: undefined }), "body_invalid", "schedule.firstDueAt"],
    ["a first date of last week", recurring({ firstDueAt: inDays(-7) }), "body_invalid", "schedule.firstDueAt"],
    ["121 instalments", recurring({ count: 121 }), "body_invalid", "schedule.count"],
    ["no instalment", recurring({ count: 0 }), "body_invalid", "schedule.count"],
    ["endless instalments", recurring({ count: undefined }), "body_invalid", "schedule.count"],
    ["the year 10000", recurring({ firstDueAt: "9999-12-01T00:00:00Z" }), "body_invalid", "schedule.count"],
    ["no amount", recurring({ amountMinor: undefined }), "amount_invalid", "schedule.amountMinor"],
    ["two amounts", recurring({ totalMinor: 30_000 }), "amount_invalid", "schedule.totalMinor"],
    ["an amount that no provider takes", recurring({ amountMinor: 10_050 }), "amount_invalid", "schedule.amountMinor"],
    [
      "a total that cannot be split",
      recurring({ amountMinor: undefined, totalMinor: 200 }),
      "amount_invalid",
      "schedule.totalMinor",
    ],
    [
      "an endless total",
      { kind: "subscription", ...recurring({ amountMinor: undefined, totalMinor: 30_000, count: undefined }) },
      "body_invalid",
      "schedule.count",
    ],
    ["an empty list", listed(), "body_invalid", "schedule.instalments"],
    ["a list out of order", listed(one(2), one(1)), "body_invalid", "schedule.instalments.1.dueAt"],
    [
      "two at one time",
      listed(one(2), { ...one(2), dueAt: inDays(2) }),
      "body_invalid",
      "schedule.instalments.1.dueAt",
    ],
    ["a list that begins last week", listed(one(-7)), "body_invalid", "schedule.instalments.0.dueAt"],
    [
      "a wrong amount in a list",
      listed(one(1), one(2, 10_001)),
      "amount_invalid",
      "schedule.instalments.1.amountMinor",
    ],
    ["a list with a count", { schedule: { instalments: [one(1)], count: 1 } }, "body_invalid", "schedule.count"],
    ["a prompt at night", { promptAt: "07:59" }, "body_invalid", "promptAt"],
    ["a prompt after 20:00", { promptAt: "20:01" }, "body_invalid", "promptAt"],
    ["a time that is none", { promptAt: "9" }, "body_invalid", "promptAt"],
    ["an unknown time zone", { timeZone: "Africa/Atlantis" }, "body_invalid", "timeZone"],
    ["91 days of grace", { graceDays: 91 }, "body_invalid", "graceDays"],
    ["a reminder after the date", { remindDaysBefore: [-1] }, "body_invalid", "remindDaysBefore.0"],
    ["an unknown field", { trialDays: 3 }, "body_invalid", "trialDays"],
  ])("refuses %s, naming the field", async (_what, fields, code, path) => {
    const { planId = nextOrderId() } = fields;
    const answer = await create({ planId, ...fields });
    expect(answer).toMatchObject({
      status: code === "provider_unknown" ? 404 : 400,
      body: { code, errors: [{ path }] },
    });
    expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
    expect(await countLinks(String(planId))).toBe(0);
  });

  it("needs an API key", async () => {
    const init = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(planBody()) };
    expect((await call(`${node.url}/v1/plans`, init)).body.code).toBe("key_invalid");
  });

  it("refuses an id that another plan has", async () => {
    const { planId } = await createPlan(node);
    expect(await create({ planId })).toMatchObject({ status: 409, body: { code: "plan_exists" } });
  });

  it("creates one plan of requests with one id that race", async () => {
    const planId = nextOrderId();
    const answers = await Promise.all(Array.from({ length: 6 }, () => create({ planId })));
    expect(answers.map(({ status }) => status).toSorted()).toEqual([201, 409, 409, 409, 409, 409]);
    expect(await countLinks(planId)).toBe(3);
  });

  it("creates nothing if an order or a link has the id of an instalment", async () => {
    const [first, second] = [nextOrderId(), nextOrderId()];
    await createLink(node, { orderId: `${first}-3` });
    await pay(node, { orderId: `${second}-2`, phone: "+254712345602" });
    for (const planId of [first, second]) {
      expect(await create({ planId })).toMatchObject({ status: 409, body: { code: "order_mismatch" } });
      expect(await asMerchant(node, `/v1/plans/${planId}`)).toMatchObject({ body: { code: "plan_unknown" } });
    }
    expect(await countLinks(first)).toBe(1);
    expect(await countLinks(second)).toBe(0);
  });

  it("keeps the order ids of instalments for their links", async () => {
    const { planId } = await createPlan(node);
    const other = await asMerchant(node, "/v1/payment-links", {
      orderId: `${planId}-1`,
      amountMinor: 10_000,
      currency: "KES",
    });
    expect(other.body.code).toBe("order_mismatch");
  });

  it("answers a repeated idempotency key with the same plan, also while the first request is in flight", async () => {
    const body = planBody();
    const headers = { "idempotency-key": nextOrderId() };
    const answers = await Promise.all([1, 2, 3].map(() => asMerchant(node, "/v1/plans", body, headers)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map((answer) => planOf(answer).id)).size).toBe(1);
    expect(answers.filter(({ headers: sent }) => sent.has("idempotency-replayed"))).toHaveLength(2);
    const other = await asMerchant(node, "/v1/plans", { ...body, graceDays: 9 }, headers);
    expect(other).toMatchObject({ status: 422, body: { code: "idempotency_mismatch" } });
  });

  it("takes a key again after 72 hours", async () => {
    const headers = { "idempotency-key": nextOrderId() };
    await create({}, headers);
    await file.database.pool.query("update plan_key set created_at = created_at - interval '73 hours' where key = $1", [
      headers["idempotency-key"],
    ]);
    const again = await create({}, headers);
    expect(again.status).toBe(201);
    expect(again.headers.has("idempotency-replayed")).toBe(false);
  });
});

describe("the credit limit", () => {
  const limited = () => startNode({ databaseUrl: file.url, env: { PLAN_CREDIT_MAX_MINOR: "50000" } });

  it("counts a customer's unpaid instalments of one currency, and no subscription", async () => {
    node = await limited();
    const customer = { id: nextOrderId() };
    const first = await createPlan(node, { customer });
    expect(await create({ customer })).toMatchObject({ status: 409, body: { code: "credit_exceeded" } });
    await createPlan(node, { customer, kind: "subscription" });
    await createPlan(node, { customer: { id: nextOrderId() } });
    await changePlan(node, first.planId, "cancel");
    await createPlan(node, { customer });
  });

  it("recognises a customer by id or by phone", async () => {
    node = await limited();
    const [id, phone] = [nextOrderId(), "0712345999"];
    await createPlan(node, { customer: { id, phone } });
    for (const customer of [{ id }, { phone: "+254 712 345 999" }, { id: nextOrderId(), phone }]) {
      expect((await create({ customer })).body.code).toBe("credit_exceeded");
    }
  });

  it("holds for requests that race, on two nodes", async () => {
    const nodes = [await limited(), await limited()];
    const customer = { id: nextOrderId(), phone: "0712345888" };
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        asMerchant(nodes[index % 2] ?? node, "/v1/plans", planBody({ customer })),
      ),
    );
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(1);
    expect(answers.filter(({ body }) => body.code === "credit_exceeded")).toHaveLength(7);
  });
});
