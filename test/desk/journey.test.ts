/** What people do at the desk, in a real browser: sign in, see a payment arrive, find it, decide, and sign out. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { openReview, untilStatus, visitDesk } from "../support/desk.ts";
import { createKey } from "../support/key.ts";
import { apiKey, asMerchant, pay, send, startNode } from "../support/node.ts";
import { startRedis } from "../support/redis.ts";
import { seeHeading } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

describe("signing in", () => {
  it("refuses a wrong key, opens the wanted screen with a right one, and lasts until the person signs out", async () => {
    const node = await startNode({ databaseUrl });
    const { order } = await pay(node, { phone: "0712345601" });
    const { page } = await openPage(browser);
    await page.goto(`${node.url}/desk/orders/${order.orderId}`);
    await seeHeading(page, "Sign in to the desk");
    await page.getByLabel("API key").fill("no such key");
    await page.keyboard.press("Enter");
    await page.getByText("This API key is not valid.").waitFor();
    await page.getByLabel("API key").fill(apiKey);
    await page.keyboard.press("Enter");
    await seeHeading(page, order.orderId);
    await page.reload();
    await seeHeading(page, order.orderId);
    expect(await page.evaluate("document.cookie")).toBe("");
    expect(await page.evaluate("JSON.stringify([localStorage, sessionStorage])")).not.toContain(apiKey);
    await page.getByRole("button", { name: "Sign out" }).first().click();
    await seeHeading(page, "Sign in to the desk");
    expect(await page.textContent("body")).not.toContain(order.orderId);
    expect(await page.evaluate("JSON.stringify([localStorage, sessionStorage])")).toBe("[{},{}]");
    await page.reload();
    await seeHeading(page, "Sign in to the desk");
  });

  it("is asked for again as soon as the key is revoked", async () => {
    const node = await startNode({ databaseUrl });
    const { key, secret } = await createKey(node, ["read"]);
    const { page } = await visitDesk(browser, node, { key: secret });
    expect((await send(node, "DELETE", `/v1/keys/${key.id}`)).status).toBe(204);
    await seeHeading(page, "Sign in to the desk");
  });
});

describe("the desk", () => {
  it("shows a payment of another node from its start to its end, without a reload", async () => {
    const redis = await startRedis();
    const options = { databaseUrl, redisUrl: redis.url };
    const [node, other] = [await startNode(options), await startNode(options)];
    const { page, complaints } = await visitDesk(browser, node, { path: "/orders" });
    await page.getByText("Live", { exact: true }).waitFor();
    const { order } = await pay(other, { phone: "0712345601" });
    const row = page.getByRole("row").filter({ hasText: order.orderId });
    await row.getByText("Paid", { exact: true }).waitFor({ timeout: 15_000 });
    await row.getByRole("link").click();
    await seeHeading(page, order.orderId);
    await page.getByText(/^The payer paid Ksh|^The payer paid KES/).waitFor();
    expect(complaints).toEqual([]);
    await node.close();
    await other.close();
    await redis.stop();
  });

  it("keeps the filters of a list in the address, and finds an order by what a customer knows", async () => {
    const node = await startNode({ databaseUrl });
    const { order: paid } = await pay(node, { phone: "0712345601", customer: { id: "C-417" } });
    const { order: failed } = await pay(node, { phone: "0712345602" });
    await untilStatus(node, paid.orderId, "succeeded");
    await untilStatus(node, failed.orderId, "failed");
    const { page } = await visitDesk(browser, node, { path: "/orders" });
    const link = (orderId: string) => page.getByRole("link", { name: orderId, exact: true });
    await link(paid.orderId).waitFor();
    await page.getByLabel("Reason").selectOption({ label: "Payer cancelled" });
    await link(failed.orderId).waitFor();
    await expect.poll(() => link(paid.orderId).count()).toBe(0);
    expect(new URL(page.url()).search).toBe("?reason=cancelled");
    await page.reload();
    await link(failed.orderId).waitFor();
    expect(await page.getByLabel("Reason").inputValue()).toBe("cancelled");
    const { receipt = "" } = (await asMerchant(node, `/v1/orders/${paid.orderId}`)).body.order.payment;
    for (const text of [paid.orderId, receipt.toLowerCase(), "C-417"]) {
      await page.getByLabel("Find").fill(text);
      await page.keyboard.press("Enter");
      await expect.poll(() => new URL(page.url()).searchParams.get("find")).toBe(text);
      await link(paid.orderId).waitFor();
    }
    await page.getByLabel("Find").fill("nothing such");
    await page.keyboard.press("Enter");
    await page.getByText("Nothing is found for “nothing such”").waitFor();
  });

  it("asks once before a decision, states the amounts, and sends it once", async () => {
    const node = await startNode({ databaseUrl });
    const orderId = await openReview(node);
    const { page, open, complaints } = await visitDesk(browser, node);
    let decisions = 0;
    page.on("request", (request) => {
      if (request.url().endsWith("/resolve")) decisions += 1;
    });
    await open(`/orders/${orderId}`);
    await page.getByRole("button", { name: "Accept", exact: true }).click();
    const dialog = page.getByRole("dialog");
    expect(await dialog.textContent()).toMatch(
      /Accept the payment of \D+151\.00\?.*asks for \D+150\.00: \D+1\.00 less/,
    );
    const accept = dialog.getByRole("button", { name: /^Accept/ });
    // Without a reason nothing can be sent.
    expect(await accept.isDisabled()).toBe(true);
    await dialog.getByRole("textbox").fill("The payer added a tip");
    await expect.poll(() => accept.isEnabled()).toBe(true);
    // Two presses before the page can change.
    await accept.evaluate((button: unknown) => {
      const { click } = button as { click: () => void };
      click.call(button);
      click.call(button);
    });
    await page.getByText(/A person accepted the payment of \D+151\.00: “The payer added a tip”/).waitFor();
    expect(await dialog.count()).toBe(0);
    expect(decisions).toBe(1);
    expect((await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status).toBe("succeeded");
    expect(complaints).toEqual([]);
  });

  it("shows the problem of a decision that somebody else has taken, in words", async () => {
    const node = await startNode({ databaseUrl });
    const orderId = await openReview(node);
    const { page, open } = await visitDesk(browser, node);
    // Without the stream the page does not know yet what happened.
    await page.route("**/v1/events", (route) => route.abort());
    await open(`/orders/${orderId}`);
    await page.getByRole("button", { name: "Reject", exact: true }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("textbox").fill("Sent back");
    const { order } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    const decision = { paymentId: order.payment.id, as: "succeeded", note: "At another desk" };
    expect((await asMerchant(node, `/v1/orders/${orderId}/resolve`, decision)).status).toBe(200);
    await dialog.getByRole("button", { name: "Reject the payment" }).click();
    await dialog.getByRole("alert").getByText("The payment does not wait for a decision").waitFor();
  });

  it("lists what needs a person, and has no buttons for a key that may only read", async () => {
    const node = await startNode({ databaseUrl });
    const orderId = await openReview(node);
    await asMerchant(node, "/v1/endpoints", { url: "http://localhost:9/hooks" });
    for (const [scopes, buttons] of [
      [["read"], 0],
      [["read", "manage"], 3],
    ] as const) {
      const { page, open } = await visitDesk(browser, node, { key: (await createKey(node, scopes)).secret });
      await open("/needs-you");
      await page.getByRole("link", { name: new RegExp(orderId) }).click();
      await seeHeading(page, orderId);
      await page.getByText("http://localhost:9/hooks").first().waitFor();
      const actions = page.locator("main").getByRole("button", { name: /^(Accept|Reject|Send again to http)/ });
      await expect.poll(() => actions.count()).toBe(buttons);
    }
  });
});

describe("texts of others", () => {
  it("are shown as text, wherever they come from", async () => {
    const node = await startNode({ databaseUrl });
    const evil = `<img src=x onerror="document.title='run'">`;
    const { order } = await pay(node, {
      phone: "0712345601",
      description: evil,
      customer: { name: evil, id: evil },
      metadata: { [evil]: evil },
      items: [{ name: evil, quantity: 1, unitAmountMinor: 15_000, sku: evil }],
    });
    await untilStatus(node, order.orderId, "succeeded");
    await asMerchant(node, `/v1/orders/${order.orderId}/results`, { id: "r", kind: "text", title: evil, text: evil });
    await asMerchant(node, "/v1/endpoints", { url: "http://localhost:9/%3Cimg%3E", description: evil });
    const { page, open, complaints } = await visitDesk(browser, node);
    await open(`/orders/${order.orderId}`);
    await page.getByText("The payer received").first().waitFor();
    await expect.poll(async () => (await page.textContent("main"))?.split(evil).length).toBeGreaterThan(9);
    expect(await page.locator("main img").count()).toBe(0);
    await open(`/orders?find=${encodeURIComponent(evil)}`);
    expect(await page.locator("main img").count()).toBe(0);
    expect(await page.title()).not.toBe("run");
    // The browser logs the lookup of an order with an id that none can have.
    expect(complaints.filter((text) => !/status of 40[04]/.test(text))).toEqual([]);
  });
});
