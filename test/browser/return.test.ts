/** The page for a payer who returns from bKash and whose payment has no `returnUrl`, in a real browser with a real node. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
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

  it("links to the shop's page, with the order's id, while the payment cannot be completed", () => {
    const onward = new URL("https://shop.example/done?a=1&orderId=ORD-1");
    const view = { language: "en", root: "..", nonce: "n" } as const;
    const html = returnPage({ name: "wait", onward }, view);
    expect(html).toContain('<a href="https://shop.example/done?a=1&#38;orderId=ORD-1">Back to the shop</a>');
    expect(html).toContain('http-equiv="refresh"');
  });
});
