/** The page for a payer who returns from bKash and whose payment has no `returnUrl`, in a real browser with a real node. */
import pg from "pg";
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { openDatabase } from "../../server/database/pool.ts";
import { erase } from "../../server/order/retention.ts";
import { returnPage } from "../../server/route/return-page.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { asMerchant, call, pay, startNode, type TestNode, testSecret } from "../support/node.ts";
import { seeHeading } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

/** A payment whose payer is on bKash's page, and the URL to which they return. */
async function payOnPage(node: TestNode, fields: Record<string, unknown> = {}) {
  const { order } = await pay(node, { provider: "bkash", currency: "BDT", phone: undefined, ...fields });
  const action = await vi.waitUntil(
    async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.payment.action,
  );
  const secret = createUrlSecrets([testSecret], "return").seal("bkash", order.payment.id);
  const bkashUrl = action.type === "redirect" ? action.url : expect.unreachable("no page");
  return { orderId: order.orderId, bkashUrl, returnUrl: `${node.url}/return/${secret}` };
}

async function approve(page: Page): Promise<void> {
  for (const typed of ["01770618575", "123456", "12121"]) {
    await page.getByRole("textbox").fill(typed);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  }
}

/** Moves every time of an order and its payments into the past, as if it had been opened earlier. */
async function age(orderId: string, hours: number): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  await client.query(
    `with aged as (
       update "order" set changed_at = changed_at - make_interval(hours => $2::int),
         payment = payment || jsonb_build_object('expiresAt', iso((payment ->> 'expiresAt')::timestamptz - make_interval(hours => $2::int)))
       where order_id = $1 returning id
     )
     update payment set started_at = started_at - make_interval(hours => $2::int) from aged where order_uuid = aged.id`,
    [orderId, hours],
  );
  await client.end();
}

const cancelAt = async (returnUrl: string): Promise<string> => (await fetch(`${returnUrl}?status=cancel`)).text();

describe("bKash's page in the sandbox", () => {
  it("shows the order, its description and a grouped amount", async () => {
    const node = await startNode({ databaseUrl });
    const { bkashUrl, orderId } = await payOnPage(node, { amountMinor: 150_000, description: "2 <tickets>" });
    const html = await (await fetch(bkashUrl)).text();
    expect(html).toContain('<p class="amount">BDT 1,500.00</p>');
    expect(html).toContain(`Order ${orderId}`);
    expect(html).toContain("2 &#60;tickets&#62;");
  });
});

describe("return page", () => {
  it("follows the order live, under a strict policy", async () => {
    const node = await startNode({ databaseUrl });
    const { bkashUrl, returnUrl, orderId } = await payOnPage(node);
    const { page, complaints } = await openPage(browser);
    await page.goto(returnUrl);
    await page.getByText(orderId).locator("visible=true").waitFor();
    const { page: bkash } = await openPage(browser);
    await bkash.goto(bkashUrl);
    await approve(bkash);
    for (const one of [page, bkash]) {
      await seeHeading(one, "Paid");
      expect(await one.isVisible(".text")).toBe(false);
    }
    expect(complaints).toEqual([]);
    const { status, headers } = await fetch(returnUrl);
    expect([status, headers.get("cache-control"), headers.get("referrer-policy")]).toEqual([
      200,
      "no-store",
      "no-referrer",
    ]);
    const policy = headers.get("content-security-policy") ?? "";
    expect(policy).toMatch(/^default-src 'none'; script-src 'self'; style-src 'sha256-/);
    expect(policy).not.toMatch(/unsafe|\*/);
  });

  it("has a token of its own order only (G11)", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, orderId } = await payOnPage(node);
    const other = await payOnPage(node);
    const token = / token="([^"]+)"/.exec(await (await fetch(returnUrl)).text())?.[1];
    const read = (id: string) => call(`${node.url}/v1/orders/${id}`, { headers: { authorization: `Bearer ${token}` } });
    expect((await read(orderId)).body).toMatchObject({ orderId });
    expect((await read(other.orderId)).status).toBe(401);
  });

  it("has no token later than a day after the payment, but states what is true (G11)", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, orderId } = await payOnPage(node);
    expect(await cancelAt(returnUrl)).toContain(' token="');
    await age(orderId, 23);
    expect(await (await fetch(returnUrl)).text()).toContain(' token="');
    await age(orderId, 2);
    const answer = await fetch(returnUrl);
    expect(answer.headers.get("content-security-policy")).not.toContain("script-src");
    const html = await answer.text();
    expect(html).not.toMatch(/token|<script|order-status url/);
    expect(html).toContain("<h1>Not paid</h1>");
    // Results that the merchant adds later change the order, but open no page.
    const client = new pg.Client(databaseUrl);
    await client.connect();
    await client.query(`update "order" set changed_at = clock_timestamp() where order_id = $1`, [orderId]);
    await client.end();
    expect(await (await fetch(returnUrl)).text()).not.toContain("token");
  });

  it("has no token of an earlier attempt, whose address the provider has known for longer (G11)", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, orderId } = await payOnPage(node);
    await cancelAt(returnUrl);
    const second = await payOnPage(node, { orderId });
    const html = await (await fetch(returnUrl)).text();
    expect(html).not.toContain("token");
    expect(html).toContain("<h1>You may close this page</h1>");
    expect(html).toContain('http-equiv="refresh"');
    expect(await (await fetch(second.returnUrl)).text()).toContain(' token="');
  });

  it("has no token once the payment's returnUrl is erased (G11)", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, orderId } = await payOnPage(node, { returnUrl: "https://shop.example/done" });
    const cancelled = await fetch(`${returnUrl}?status=cancel`, { redirect: "manual" });
    expect(cancelled.headers.get("location")).toBe(`https://shop.example/done?orderId=${orderId}`);
    await age(orderId, 24 * 91);
    const database = openDatabase(databaseUrl, () => undefined);
    await erase(database);
    await database.close();
    const answer = await fetch(returnUrl, { redirect: "manual" });
    expect(answer.status).toBe(200);
    expect(await answer.text()).not.toMatch(/token|<script/);
  });

  it("states what is true without scripts, and reloads until the order is settled", async () => {
    const node = await startNode({ databaseUrl });
    const { bkashUrl, returnUrl, orderId } = await payOnPage(node);
    const { page } = await openPage(browser, { javaScriptEnabled: false });
    await page.goto(returnUrl);
    await seeHeading(page, "You may close this page");
    expect(await page.textContent(".order")).toBe(orderId);
    const { page: bkash } = await openPage(browser);
    await bkash.goto(bkashUrl);
    await approve(bkash);
    // By itself.
    await seeHeading(page, "Paid");
    expect(await page.content()).not.toContain('http-equiv="refresh"');
  });

  it("works with a slash at the end of its address", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, bkashUrl } = await payOnPage(node);
    const { page, complaints } = await openPage(browser);
    await page.goto(bkashUrl);
    await approve(page);
    await page.goto(`${returnUrl}/`);
    await seeHeading(page, "Paid");
    expect(complaints).toEqual([]);
  });

  it.each([
    ["sw-KE,en;q=0.5", "sw", "Hakuna kitu hapa", "Imelipwa"],
    ["bn-BD", "bn", "এখানে কিছু নেই", "পেমেন্ট হয়েছে"],
  ])("speaks the payer's language %s", async (accepted, lang, nothing, paid) => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, bkashUrl } = await payOnPage(node);
    const { page } = await openPage(browser, { extraHTTPHeaders: { "accept-language": accepted } });
    await page.goto(`${node.url}/return/nothing`);
    await seeHeading(page, nothing);
    expect(await page.getAttribute("html", "lang")).toBe(lang);
    await page.goto(bkashUrl);
    await approve(page);
    await page.goto(returnUrl);
    await seeHeading(page, paid);
  });

  it("speaks the order's own language before the browser's", async () => {
    const node = await startNode({ databaseUrl });
    const { returnUrl, bkashUrl } = await payOnPage(node, { lang: "sw" });
    const { page } = await openPage(browser, { extraHTTPHeaders: { "accept-language": "bn-BD" } });
    await page.goto(bkashUrl);
    await approve(page);
    await page.goto(returnUrl);
    await seeHeading(page, "Imelipwa");
    expect(await page.getAttribute("html", "lang")).toBe("sw");
  });

  it("links to the shop's page, with the order's id, while the payment cannot be completed", () => {
    const onward = new URL("https://shop.example/done?a=1&orderId=ORD-1");
    const view = { language: "en", root: "..", nonce: "n" } as const;
    const html = returnPage({ name: "wait", onward }, view);
    expect(html).toContain('<a href="https://shop.example/done?a=1&#38;orderId=ORD-1">Back to the shop</a>');
    expect(html).toContain('http-equiv="refresh"');
  });
});
