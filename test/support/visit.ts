/** A visitor of the demo shop in a real browser. */
import type { Browser, BrowserContextOptions, FrameLocator, Page } from "playwright-core";
import { openPage } from "./browser.ts";
import { type Body, call, type TestNode } from "./node.ts";

export interface Visit {
  page: Page;
  complaints: string[];
}

/** Opens the demo shop at `url`, which may be a proxy's. */
export async function visitShop(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const opened = await openPage(browser, { viewport: { width: 390, height: 844 }, ...options });
  await opened.page.goto(url);
  await opened.page.locator("#ways label").first().waitFor();
  return opened;
}

/** Waits until the page has this heading. */
export const seeHeading = (page: Page | FrameLocator, title: string): Promise<void> =>
  page.getByRole("heading", { name: title, exact: true }).waitFor({ timeout: 30_000 });

/** Buys with the phone number that has this ending, and returns the number. */
export async function buy(page: Page, ending = "00"): Promise<string> {
  await page.selectOption("#payer", ending);
  const phone = await page.inputValue("#phone");
  await page.click("#pay");
  return phone;
}

/** Starts a payment with the request that the demo shop's page sends. Repeats a 503, up to 10 attempts, like `pay`. */
export async function buyByApi(node: TestNode, wish: { provider: string; phone?: string }): Promise<Body> {
  for (let tries = 1; ; tries += 1) {
    const { status, body } = await call(`${node.url}/shop/payments`, {
      method: "POST",
      headers: { "content-type": "application/json", "sec-fetch-site": "same-origin", origin: node.url },
      body: JSON.stringify({ item: "tea", ...wish }),
    });
    if (status === 202) return body;
    if (status !== 503 || tries === 10) throw new Error(`the payment was refused: ${status} ${JSON.stringify(body)}`);
  }
}
