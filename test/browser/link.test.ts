/**
 * The shop in a real browser while its link to the node is disturbed from outside, by the network and by the payer, who
 * is in another app when the news comes. The switches on the page itself are in test/demo-shop/browser.test.ts.
 */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { openBrowserAndDatabase } from "../support/browser.ts";
import { startNetwork } from "../support/network.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { startProxy } from "../support/proxy.ts";
import { buy, seeHeading, visitShop } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const orderIdOf = (page: Page): string => new URL(page.url()).searchParams.get("orderId") ?? "";

/** The webhook has come, whether or not any page knows. */
const untilPaid = (node: TestNode, orderId: string): Promise<boolean> =>
  vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === "succeeded", {
    timeout: 10_000,
  });

const linkText = (page: Page): Promise<string | null> => page.textContent("#link-text");

/**
 * A headless browser never hides a page, so the page is told what a browser would tell it. That its connection is dead
 * by then is real.
 */
const setVisible = (page: Page, isVisible: boolean): Promise<unknown> =>
  page.evaluate(`
    Object.defineProperty(document, "visibilityState", { value: "${isVisible ? "visible" : "hidden"}", configurable: true });
    Object.defineProperty(document, "hidden", { value: ${!isVisible}, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  `);

describe("a payment reaches the page", () => {
  it("over the long poll, where a proxy lets no socket pass", async () => {
    const node = await startNode({ databaseUrl });
    const proxy = await startProxy(node, "192.0.2.1", { hasSockets: false });
    const { page } = await visitShop(browser, proxy.url);
    const phone = await buy(page);
    await seeHeading(page, "Check your phone");
    await expect.poll(() => linkText(page)).toBe("Live over the long poll");
    await answerPrompt(node, phone, "approve");
    await seeHeading(page, "Paid");
    expect(await linkText(page)).toBe("Live over the long poll");
  });

  it("that was hidden while it was paid, and its connection dead, as soon as it is shown again", async () => {
    const node = await startNode({ databaseUrl });
    const network = await startNetwork(node.url);
    const { page } = await visitShop(browser, network.url);
    const phone = await buy(page);
    await expect.poll(() => linkText(page)).toBe("Live over Socket.IO");
    await seeHeading(page, "Check your phone");
    await setVisible(page, false);
    network.freeze();
    await answerPrompt(node, phone, "approve");
    await untilPaid(node, orderIdOf(page));
    await seeHeading(page, "Check your phone");
    const shownAtMs = performance.now();
    await setVisible(page, true);
    await seeHeading(page, "Paid");
    // No silence had to be noticed first.
    expect(performance.now() - shownAtMs).toBeLessThan(8_000);
  });

  it("that was left for another one and is come back to after the webhook", async () => {
    const node = await startNode({ databaseUrl });
    const { page, complaints } = await visitShop(browser, node.url);
    const phone = await buy(page);
    await seeHeading(page, "Check your phone");
    const orderId = orderIdOf(page);
    await page.goto(`${node.url}/docs`);
    await vi.waitUntil(() => node.watchedOrders() === 0);
    await answerPrompt(node, phone, "approve");
    await untilPaid(node, orderId);
    await page.goBack();
    await seeHeading(page, "Paid");
    expect(complaints).toEqual([]);
  });

  it("that was offline, once it is online again", async () => {
    const node = await startNode({ databaseUrl });
    const network = await startNetwork(node.url);
    const { page } = await visitShop(browser, network.url);
    const phone = await buy(page);
    await expect.poll(() => linkText(page)).toBe("Live over Socket.IO");
    await seeHeading(page, "Check your phone");
    await page.context().setOffline(true);
    // Chromium leaves open sockets open then; a phone without network does not.
    network.refuse(true);
    network.cut();
    await page.getByText("Reconnecting…").first().waitFor();
    await answerPrompt(node, phone, "approve");
    await untilPaid(node, orderIdOf(page));
    await seeHeading(page, "Check your phone");
    network.refuse(false);
    await page.context().setOffline(false);
    await seeHeading(page, "Paid");
  });

  it("in both of two tabs at once", async () => {
    const node = await startNode({ databaseUrl });
    const { page, complaints } = await visitShop(browser, node.url);
    const phone = await buy(page);
    await seeHeading(page, "Check your phone");
    const [second] = await Promise.all([page.context().waitForEvent("page"), page.click("#second")]);
    await seeHeading(second, "Check your phone");
    await answerPrompt(node, phone, "approve");
    await Promise.all([seeHeading(page, "Paid"), seeHeading(second, "Paid")]);
    const receipts = await Promise.all([page, second].map((tab) => tab.locator("dd").first().innerText()));
    expect(receipts[0]).toBe(receipts[1]);
    expect(complaints).toEqual([]);
  });
});

describe("a payer on bKash's page", () => {
  it("who cancels there comes back to a shop that says so and offers another try, which is another page", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitShop(browser, node.url);
    await page.check('input[value="bkash"]');
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
    const first = page.url();
    await page.getByRole("button", { name: "Cancel" }).click();
    await seeHeading(page, "Payment cancelled");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
    expect(page.url()).not.toBe(first);
  });

  it("who tries again and whose news is quicker than the shop's answer is still sent to the other page", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitShop(browser, node.url);
    await page.check('input[value="bkash"]');
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
    await page.getByRole("button", { name: "Cancel" }).click();
    await seeHeading(page, "Payment cancelled");
    await page.route(/\/shop\/payments$/, async (route) => {
      const response = await route.fetch();
      await vi.waitUntil(async () => (await page.title()).startsWith("Waiting for you"));
      await route.fulfill({ response });
    });
    await page.getByRole("button", { name: "Try again" }).click();
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
  });

  it("who goes back to the shop by hand is not sent away again, and finds the way", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitShop(browser, node.url);
    await page.check('input[value="bkash"]');
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
    await page.goBack();
    await seeHeading(page, "Finish with bKash");
    await page.getByRole("link", { name: "Continue to bKash" }).click();
    await page.waitForURL(/\/sandbox\/bkash\//);
  });
});
