/** What the checkout page costs a payer with a slow network: bytes, requests and time. */
import type { Browser, CDPSession, Page } from "playwright-core";
import { beforeAll, expect, it } from "vitest";
import { launchBrowser, openPage } from "../support/browser.ts";
import { startCheckout, states } from "../support/checkout.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

/** The bytes that a payer may have to load, from the form to the result, with scripts and without the shop's logo. */
const bytesMax = 60_000;

/** "Slow 3G" of Chrome's developer tools. */
const slow3g = { offline: false, latency: 2_000, downloadThroughput: 50_000, uploadThroughput: 50_000 };

interface Cost {
  bytes: number;
  requests: number;
}

/** Counts what the network transfers, headers included, without what the cache answers. */
async function countCost(page: Page): Promise<{ session: CDPSession; cost: Cost }> {
  const session = await page.context().newCDPSession(page);
  const cost = { bytes: 0, requests: 0 };
  await session.send("Network.enable");
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    if (encodedDataLength === 0) return;
    cost.bytes += encodedDataLength;
    cost.requests += 1;
  });
  return { session, cost };
}

it.each(["en", "sw", "bn"])(
  "the page is at most 60 kB from the form to a paid ticket, and usable under slow 3G: %s",
  async (lang) => {
    const server = await startCheckout();
    server.view = () => (server.sent.length > 0 ? states.prompt : states.providers);
    server.current = states.prompt?.order;
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    const { session, cost } = await countCost(page);
    await session.send("Network.emulateNetworkConditions", slow3g);
    const startedAt = performance.now();
    await page.goto(`${server.url}/pay/token?lang=${lang}`, { waitUntil: "commit" });
    await page.fill("#phone", "0712 345 678");
    const usable = performance.now() - startedAt;
    await page.waitForLoadState("load");
    const form = { ...cost };
    await page.click("button.primary");
    const sentAt = performance.now();
    await page.locator("main.is-live").waitFor();
    const live = performance.now() - sentAt;
    server.current = { ...states.paid?.order, version: 4 } as typeof server.current;
    await page.locator("order-status [part=qr] svg").waitFor();
    await expect.poll(() => server.sent.length).toBe(1);
    const [seconds, more] = [usable, live].map((ms) => (ms / 1_000).toFixed(1));
    console.info(
      `${lang}: form ${form.bytes} bytes in ${form.requests} requests, usable after ${seconds} s; to the paid ticket ${cost.bytes} bytes in ${cost.requests} requests, live ${more} s after the form`,
    );
    expect(cost.bytes).toBeLessThanOrEqual(bytesMax);
  },
  180_000,
);
