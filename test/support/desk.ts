/** The desk in a real browser. */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { expect, vi } from "vitest";
import { openPage } from "./browser.ts";
import { apiKey, asMerchant, pay, type TestNode } from "./node.ts";

export interface DeskVisit {
  page: Page;
  /** Errors and warnings of the browser's console. */
  complaints: string[];
  /** Opens a path below `/desk`. */
  open(path: string): Promise<void>;
}

/** Opens the desk and signs in with a key on the page. */
export async function visitDesk(
  browser: Browser,
  node: Pick<TestNode, "url">,
  { key = apiKey, path = "", ...options }: BrowserContextOptions & { key?: string; path?: string } = {},
): Promise<DeskVisit> {
  const { page, complaints } = await openPage(browser, { viewport: { width: 1440, height: 900 }, ...options });
  await page.goto(`${node.url}/desk${path}`);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Desk" }).first().waitFor();
  // The browser logs the 401 that says that nobody is signed in.
  complaints.splice(0);
  const open = async (below: string): Promise<void> => {
    await page.goto(`${node.url}/desk${below}`);
    await page.locator("main h1").waitFor();
    await untilRead(page);
  };
  return { page, complaints, open };
}

/** Waits until nothing on the page is being read. */
export const untilRead = async (page: Page): Promise<void> => {
  await expect.poll(() => page.locator("main .loading").count()).toBe(0);
};

export const untilStatus = (node: TestNode, orderId: string, status: string): Promise<boolean> =>
  vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === status, {
    timeout: 30_000,
  });

/** An order that the payer paid with another amount: 151 in place of 150 shillings. */
export async function openReview(node: TestNode): Promise<string> {
  const { order } = await pay(node, { provider: "lipana", phone: "0712345610" });
  await untilStatus(node, order.orderId, "review");
  return order.orderId;
}
