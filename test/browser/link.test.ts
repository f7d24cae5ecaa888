/**
 * The shop in a real browser while the network, or a payer who uses another app, disturbs its link to the node. The
 * switches on the page are tested in test/demo-shop/browser.test.ts.
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

/** Waits until the order is paid, whether or not a page has received the event. */
const untilPaid = (node: TestNode, orderId: string): Promise<boolean> =>
  vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === "succeeded", {
    timeout: 10_000,
  });

const linkText = (page: Page): Promise<string | null> => page.textContent("#link-text");

/** Fires the event of a hidden or visible page, because a headless browser never hides one. The dead connection is real. */
const setVisible = (page: Page, isVisible: boolean): Promise<unknown> =>
  page.evaluate(`
    Object.defineProperty(document, "visibilityState", { value: "${isVisible ? "visible" : "hidden"}", configurable: true });
    Object.defineProperty(document, "hidden", { value: ${!isVisible}, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  `);

describe("page", () => {
  it("receives a payment over the long poll behind a proxy that passes no WebSocket", async () => {
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

  it("receives a payment as soon as it is visible again, after its connection died while it was hidden", async () => {
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
    // Less than any timeout that detects a silent connection.
    expect(performance.now() - shownAtMs).toBeLessThan(8_000);
  });

  it("receives a payment when the payer returns to it from another page after the webhook", async () => {
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

  it("receives a payment once it is online again", async () => {
    const node = await startNode({ databaseUrl });
    const network = await startNetwork(node.url);
    const { page } = await visitShop(browser, network.url);
    const phone = await buy(page);
    await expect.poll(() => linkText(page)).toBe("Live over Socket.IO");
    await seeHeading(page, "Check your phone");
    await page.context().setOffline(true);
    // At once, though offline Chromium keeps open sockets open, unlike a phone without a network.
    await seeHeading(page, "You are offline");
    network.refuse(true);
    network.cut();
    await page.getByText("Reconnecting…").first().waitFor();
    await answerPrompt(node, phone, "approve");
    await untilPaid(node, orderIdOf(page));
    await seeHeading(page, "You are offline");
    network.refuse(false);
    await page.context().setOffline(false);
    await seeHeading(page, "Paid");
  });

  it("receives a payment in two tabs at once", async () => {
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

describe("payer on bKash's page", () => {
  it("cancels, returns to the shop and tries again on a new page", async () => {
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

  it("is redirected in another attempt though the event arrives before the shop's answer", async () => {
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

  it("goes back to the shop, is not redirected again and finds the link", async () => {
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
