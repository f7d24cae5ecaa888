/** The route of a plan's page: what it shows to everyone who has its address, and what strangers can do. */
import { beforeEach, describe, expect, it } from "vitest";
import { createOrderStore } from "../../server/order/store.ts";
import type { Plan } from "../../server/plan/row.ts";
import { useDatabase } from "../support/database.ts";
import { call, startNode, type TestNode } from "../support/node.ts";
import { changePlan, createPlan, inDays, readPlan } from "../support/plan.ts";
import { draftOf, paid } from "../support/store.ts";

const file = useDatabase();
let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl: file.url });
});

interface Opened {
  status: number;
  headers: Headers;
  html: string;
}

async function open(plan: { url?: string }, search = "", headers: Record<string, string> = {}): Promise<Opened> {
  const { pathname } = new URL(plan.url ?? "");
  const answer = await fetch(node.url + pathname + search, { headers: { accept: "text/html", ...headers } });
  return { status: answer.status, headers: answer.headers, html: await answer.text() };
}

let phones = 0;

/** Opens the order of an instalment, as its page does. Returns the payment's id. */
async function openInstalment(plan: Plan, n: number): Promise<string> {
  phones += 1;
  const orderId = `${plan.planId}-${n}`;
  const text = "select id from payment_link where order_id = $1";
  const { rows } = await file.database.pool.query<{ id: string }>(text, [orderId]);
  const link = { id: rows[0]?.id ?? "", isReusable: false, payer: "ab".repeat(32), phoneMax: 3 };
  const phone = `+2547${String(20_000_000 + phones)}`;
  const { payment } = await store().open(draftOf({ orderId, amountMinor: 10_000n, phone, link }));
  return payment?.id ?? "";
}

const store = () => createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: [] });

/** Lets so many days pass for a plan, by moving its times back. */
const pass = (plan: Plan, days: number): Promise<unknown> =>
  file.database.pool.query(
    `with moved as (
       update payment_link set due_at = due_at - interval '${days} days', overdue_at = overdue_at - interval '${days} days' where plan_uuid = $1
     )
     update plan set past_due_at = past_due_at - interval '${days} days' where id = $1`,
    [plan.id],
  );

/** The texts of the page's headings. */
const headingsOf = (html: string): string[] => [...html.matchAll(/<h[12][^>]*>([^<]*)</g)].map(([, text = ""]) => text);

describe("GET /plan/:token", () => {
  it("shows what is paid with its receipt, what is next and what remains", async () => {
    const plan = await createPlan(node, { description: "A phone" });
    await store().advance(await openInstalment(plan, 1), paid({ amountMinor: 10_000n, receipt: "SLK4H7R6T2" }));
    const { status, html } = await open(plan);
    expect(status).toBe(200);
    expect(html).toMatch(/class="part paid"[\s\S]*SLK4H7R6T2/);
    expect(html).toContain("Instalment 2 of 3");
    expect(html).toContain("KES 100.00 of KES 300.00 paid");
    expect(html).toContain("KES 200.00 left");
    const { instalments } = await readPlan(node, plan.planId);
    const token = instalments[1]?.url?.slice(-24);
    expect(html).toContain(`<a class="primary" href="../pay/${token}">`);
  });

  it("shows no personal data and no id: not of the customer, the payer, the plan or its orders", async () => {
    const plan = await createPlan(node, {
      customer: { id: "CUST-77", name: "Asha Njeri", phone: "0712345678", email: "asha@example.com" },
      metadata: { note: "prefers mornings" },
    });
    await store().advance(await openInstalment(plan, 1), paid({ amountMinor: 10_000n }));
    await openInstalment(plan, 2);
    const { html } = await open(plan);
    expect(html).toContain("Payment in progress");
    for (const secret of ["CUST-77", "Asha", "345678", "*****", "asha@", "mornings", plan.planId, plan.id]) {
      expect(html).not.toContain(secret);
    }
    expect(html).not.toMatch(/2547\d|07\d{8}/);
  });

  it("is private to those who have its address, and sets no cookie", async () => {
    const { headers } = await open(await createPlan(node));
    expect(Object.fromEntries(headers)).toMatchObject({
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-robots-tag": "noindex",
      "content-security-policy": expect.stringContaining("default-src 'none'; script-src 'self'; style-src 'nonce-"),
    });
    expect(headers.has("set-cookie")).toBe(false);
  });

  it("shows dates in the plan's time zone, in the language of the address, the plan or the browser", async () => {
    const dueAt = `${new Date().getUTCFullYear() + 1}-01-14T20:00:00Z`;
    const schedule = { instalments: [{ dueAt, amountMinor: 10_000 }] };
    const dhaka = { currency: "KES", timeZone: "Asia/Dhaka", schedule };
    const [plan, spoken] = [await createPlan(node, dhaka), await createPlan(node, { ...dhaka, lang: "sw" })];
    expect((await open(plan)).html).toContain("January 15,");
    expect((await open(plan, "", { "accept-language": "bn-BD" })).html).toContain("১৫ জানু");
    expect((await open(spoken, "", { "accept-language": "bn-BD" })).html).toContain("15 Januari");
    expect((await open(spoken, "?lang=en")).html).toContain("January 15,");
    expect((await open(spoken, "?lang=fr")).html).toContain("15 Januari");
  });

  it("says what is due today and what is overdue, from the day after", async () => {
    const plan = await createPlan(node, { graceDays: 2 });
    expect((await open(plan)).html).toContain("Due today");
    await pass(plan, 1);
    expect(headingsOf((await open(plan)).html)).toContain("Payment overdue");
    await pass(plan, 40);
    const { html } = await open(plan);
    expect(headingsOf(html)).toContain("Payments overdue");
    expect(html).toContain("2 payments are overdue, KES 200.00 in total");
    expect((await readPlan(node, plan.planId)).status).toBe("past_due");
  });

  it("shows an endless plan without a total, and its newest instalments", async () => {
    const schedule = { amountMinor: 10_000, every: { weeks: 1 }, firstDueAt: inDays(2) };
    const plan = await createPlan(node, { kind: "subscription", schedule });
    const { html } = await open(plan);
    expect(html).toContain("Payment 1<");
    expect(html).not.toContain("<progress");
  });

  it("says that a payment is being checked", async () => {
    const plan = await createPlan(node);
    await store().advance(await openInstalment(plan, 1), paid({ amountMinor: 9_000n }));
    const { html } = await open(plan);
    expect(headingsOf(html)).toContain("Being checked");
    expect(html).not.toContain('class="primary"');
  });

  it("says that it is a test unless a provider moves money", async () => {
    expect((await open(await createPlan(node))).html).toContain("Test payment");
  });

  it("works without the secret, apart from the way to pay", async () => {
    const plan = await createPlan(node);
    await node.close();
    node = await startNode({
      databaseUrl: file.url,
      env: { TUKIO_SECRET: "another secret of more than thirty-two characters" },
    });
    const { status, html } = await open(plan);
    expect(status).toBe(200);
    expect(html).toContain("Instalment 1 of 3");
    expect(html).not.toContain("../pay/");
  });

  it("changes nothing", async () => {
    const plan = await createPlan(node);
    const stateOf = async () =>
      (
        await file.database.pool.query(
          `select p.*, (select jsonb_agg(to_jsonb(l) order by plan_n) from payment_link l where plan_uuid = p.id) from plan p where id = $1`,
          [plan.id],
        )
      ).rows;
    const before = await stateOf();
    await Promise.all(Array.from({ length: 20 }, () => open(plan)));
    expect(await stateOf()).toEqual(before);
  });
});

describe("POST /plan/:token", () => {
  /** Sends the form for several instalments. */
  async function choose(plan: { url?: string }, n: string, search = ""): Promise<Opened & { location: string | null }> {
    const body = new URLSearchParams({ n });
    const { pathname } = new URL(plan.url ?? "");
    const answer = await fetch(node.url + pathname + search, { method: "POST", body, redirect: "manual" });
    const { status, headers } = answer;
    return { status, headers, html: await answer.text(), location: headers.get("location") };
  }

  /** Opens the order of a link over several instalments. Returns the payment's id. */
  async function openCovering({ planId }: Plan, amountMinor: bigint): Promise<string> {
    const text = "select id, order_id from payment_link where order_id like $1 and plan_n is null";
    const { rows } = await file.database.pool.query<{ id: string; order_id: string }>(text, [`${planId}-%`]);
    const [link] = rows;
    phones += 1;
    const phone = `+2547${String(20_000_000 + phones)}`;
    const { payment } = await store().open(
      draftOf({ orderId: link?.order_id ?? "", amountMinor, phone, link: { id: link?.id ?? "", isReusable: false } }),
    );
    return payment?.id ?? "";
  }

  it("leads to the page of one link over all instalments up to the chosen one, and back", async () => {
    const plan = await createPlan(node);
    expect((await open(plan)).html).toMatch(/<option value="3">[^<]*3 payments, KES 300.00, up to/);
    const { status, location } = await choose(plan, "2", "?lang=sw");
    expect([status, location]).toEqual([303, expect.stringMatching(/^\.\.\/pay\/[\w-]{24}\?lang=sw$/)]);
    expect((await choose(plan, "2", "?lang=sw")).location).toBe(location);
    const { html } = await open({ url: `http://x/${location?.slice(3, 32)}` });
    expect(html).toContain("Instalments 1 to 2 of 3");
    expect(html).toContain("KES 200.00");
    expect(html).toContain(`href="../plan/${plan.url?.slice(-24)}"`);
  });

  it("makes the page show the payment of several instalments, and its receipt for each of them", async () => {
    const plan = await createPlan(node);
    const { location } = await choose(plan, "3");
    const payment = await openCovering(plan, 30_000n);
    const busy = (await open(plan)).html;
    expect(headingsOf(busy)).toContain("Payment in progress");
    expect(busy).toContain(`<a href="${location}">`);
    expect(busy).not.toContain("<form");
    await store().advance(payment, paid({ amountMinor: 30_000n, receipt: "SLM9Q2W8E1" }));
    const { html } = await open(plan);
    expect(headingsOf(html)).toContain("Everything is paid");
    expect(html.match(/SLM9Q2W8E1/g)).toHaveLength(3);
  });

  it("shows the plan for a number that cannot be paid, and says that an amount is too large", async () => {
    const plan = await createPlan(node);
    for (const n of ["0", "4", "-1", "x", "", "1e9", "99999999999"]) {
      expect([n, (await choose(plan, n)).location]).toEqual([n, plan.url?.slice(-24)]);
    }
    const schedule = { amountMinor: 20_000_000, every: { months: 1 }, count: 3, firstDueAt: inDays(0) };
    const { status, html } = await choose(await createPlan(node, { provider: "daraja", schedule }), "3");
    expect([status, html.includes("This amount cannot be paid at once.")]).toEqual([400, true]);
    await changePlan(node, plan.planId, "cancel");
    expect((await choose(plan, "3")).location).toBe(plan.url?.slice(-24));
    expect((await choose({ url: `http://x/plan/${"A".repeat(24)}` }, "2")).status).toBe(404);
  });
});

describe("the page of an instalment's link", () => {
  it("names the instalment and leads to the plan's page", async () => {
    const plan = await createPlan(node);
    const { html } = await open({ url: plan.instalments[1]?.url ?? "" });
    expect(html).toContain("Instalment 2 of 3");
    expect(html).toContain(`href="../plan/${plan.url?.slice(-24)}"`);
  });
});

describe("a stranger", () => {
  it("finds no plan by a guess, by the token of an instalment, or by part of a token", async () => {
    const plan = await createPlan(node);
    const token = plan.url?.slice(-24) ?? "";
    const guesses = [
      "A".repeat(24),
      plan.instalments[0]?.url?.slice(-24),
      token.slice(0, 23),
      `${token}A`,
      "%00",
      "x'--",
    ];
    for (const guess of guesses) {
      const { status, html } = await open({ url: `http://x/plan/${guess}` });
      expect([guess, status]).toEqual([guess, 404]);
      expect(html).toContain("There is no such plan");
    }
    expect((await open({ url: `http://x/pay/${token}` })).status).toBe(404);
  });

  it("can only read the page", async () => {
    const plan = await createPlan(node);
    const { pathname } = new URL(plan.url ?? "");
    for (const method of ["PUT", "PATCH", "DELETE"]) {
      expect([method, (await call(node.url + pathname, { method })).status]).toEqual([method, 405]);
    }
    expect((await readPlan(node, plan.planId)).version).toBe(1);
  });

  it("is limited by its address", async () => {
    const plan = await createPlan(node);
    const { pathname } = new URL(plan.url ?? "");
    await node.close();
    node = await startNode({ databaseUrl: file.url, env: { LIMIT_IP: "3" } });
    const statuses: number[] = [];
    for (let times = 0; times < 5; times += 1) statuses.push((await open({ url: `http://x${pathname}` })).status);
    expect(statuses).toEqual([200, 200, 200, 429, 429]);
  });

  it("reads no token in the log", async () => {
    const plan = await createPlan(node);
    await open(plan);
    const token = plan.url?.slice(-24) ?? "";
    await expect.poll(() => node.log.join("")).toContain("/plan/***");
    expect(node.log.join("")).not.toContain(token);
  });
});
