/**
 * Whoever cannot see well, or has no mouse: every page and state of ours without a complaint of axe, light and dark, and
 * the whole way from choosing to paid by keyboard alone. The element by itself is in test/client-sdk/element.test.ts.
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Frame, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { returnPage } from "../../server/route/return-page.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { buy, buyByApi, seeHeading, visitShop } from "../support/visit.ts";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

interface Violation {
  id: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe has to say about a page or a frame, in both schemes. */
async function complaintsOf(page: Page, frame: Frame = page.mainFrame()): Promise<string[]> {
  const found: string[] = [];
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    const violations = (await frame.evaluate(
      `${axe}; axe.run(document, { iframes: false, resultTypes: ["violations"] }).then((result) => result.violations)`,
    )) as Violation[];
    for (const { id, nodes } of violations) {
      found.push(...nodes.map(({ html, failureSummary }) => `${colorScheme}: ${id}: ${html}: ${failureSummary}`));
    }
  }
  return found;
}

/** Whether a page has to be scrolled sideways on the smallest screen. */
async function isTooWide(page: Page): Promise<unknown> {
  const size = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  const isWider = await page.evaluate("document.documentElement.scrollWidth > 320");
  if (size) await page.setViewportSize(size);
  return isWider;
}

const untilSettled = async (node: TestNode, orderId: string): Promise<unknown> =>
  (await asMerchant(node, `/v1/orders/${orderId}/wait?timeout=20`)).body.status;

describe("axe has no complaint", () => {
  it("about the shop, whatever its payment is", async () => {
    // The one that can only time out does so at once.
    const node = await startNode({ databaseUrl, env: { LIPANA_DEADLINE_S: "2" } });
    const states = {
      "Check your phone": { provider: "daraja", phone: "0712111100" },
      Paid: { provider: "daraja", phone: "0712111101" },
      "Payment cancelled": { provider: "daraja", phone: "0712111102" },
      "Not enough money": { provider: "daraja", phone: "0712111103" },
      // Here it tells the amount too who is asked, so that it does not matter whether the webhook is first.
      "Being checked": { provider: "zenopay", phone: "0621111110" },
      "Time is up": { provider: "lipana", phone: "0712111112" },
    };
    const orders = await Promise.all(Object.values(states).map((wish) => buyByApi(node, wish)));
    const settling = orders.slice(1).map(({ order }) => untilSettled(node, order.orderId));
    const { page, complaints } = await visitShop(browser, node.url, { viewport: { width: 1440, height: 900 } });
    const found: Record<string, string[]> = { choosing: await complaintsOf(page) };
    await page.fill("#phone", "12");
    await page.click("#pay");
    await page.getByText("is not a number").waitFor();
    found.complaining = await complaintsOf(page);
    expect(await Promise.all(settling)).toEqual(["succeeded", "failed", "failed", "review", "expired"]);
    for (const [index, title] of Object.keys(states).entries()) {
      await page.goto(`${node.url}/?orderId=${orders[index]?.order.orderId}`);
      await seeHeading(page, title);
      found[title] = await complaintsOf(page);
      if (await isTooWide(page)) found[title].push("wider than 320 px");
    }
    await page.goto(`${node.url}/?orderId=SHOP-AAAA-AAAA-AAAA`);
    await page.getByText("This shop does not know that order.").waitFor();
    found.unknown = await complaintsOf(page);
    expect(found).toEqual(Object.fromEntries(Object.keys(found).map((state) => [state, []])));
    // The refused phone and the order that is not there.
    expect(complaints.filter((text) => !/status of 40[04]/.test(text))).toEqual([]);
  }, 120_000);

  it("about the payer's phone: idle, ringing, and when it is done", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(`${node.url}/sandbox/phone?number=0712111100`);
    await seeHeading(page, "Nothing to pay");
    expect(await complaintsOf(page)).toEqual([]);
    await buyByApi(node, { provider: "daraja", phone: "0712111100" });
    await seeHeading(page, "Pay KES 150.00 to Demo Shop?");
    expect(await complaintsOf(page)).toEqual([]);
    await page.keyboard.type("1234");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Sent");
    expect(await complaintsOf(page)).toEqual([]);
  }, 60_000);

  it("about bKash's page: wallet, code, PIN, what is wrong, and when it is over", async () => {
    const node = await startNode({ databaseUrl });
    const { order } = await pay(node, { provider: "bkash", currency: "BDT", phone: undefined });
    const address = await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.payment.action,
    );
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(address.type === "redirect" ? address.url : expect.unreachable("no page"));
    const steps: [typed: string, title: string][] = [
      ["12", "Your bKash account number"],
      ["01770618575", "Enter the verification code"],
      ["123456", "Enter your PIN"],
    ];
    const before = page.url();
    expect(await complaintsOf(page)).toEqual([]);
    for (const [typed, title] of steps) {
      await page.getByRole("textbox").fill(typed);
      await page.keyboard.press("Enter");
      await seeHeading(page, title);
      expect(await complaintsOf(page)).toEqual([]);
    }
    await page.getByRole("textbox").fill("12121");
    await page.keyboard.press("Enter");
    // Nobody said where to go on to.
    await seeHeading(page, "You may close this page");
    expect(await complaintsOf(page)).toEqual([]);
    await page.goto(before);
    await seeHeading(page, "You are done here");
    expect(await complaintsOf(page)).toEqual([]);
    await page.goto(before.replace(/token=.*/, "token=none"));
    await seeHeading(page, "There is no such payment");
    expect(await complaintsOf(page)).toEqual([]);
  }, 60_000);

  it("about the other pages that a payer may come back to", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser);
    await page.goto(`${node.url}/return/nothing`);
    await seeHeading(page, "There is nothing here");
    expect(await complaintsOf(page)).toEqual([]);
    // Without the part that loads it again.
    await page.setContent(returnPage("wait").replace(/<meta http-equiv[^>]*>/, ""));
    expect(await complaintsOf(page)).toEqual([]);
  });
});

/** What has the focus, however deep, and whether it looks like it. */
const focus = (page: Page): Promise<{ id: string; isMarked: boolean; hasFrame: boolean }> =>
  page.evaluate(`(() => {
    let element = document.activeElement;
    while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    const { outlineStyle } = getComputedStyle(element.closest("label") ?? element);
    const id = element.id || element.name || element.textContent.trim();
    return { id, isMarked: outlineStyle !== "none", hasFrame: element.tagName === "IFRAME" };
  })()`);

/** Presses Tab until the focus is there; every stop on the way has to be seen. */
async function tabTo(page: Page, isThere: (at: Awaited<ReturnType<typeof focus>>) => boolean): Promise<void> {
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press("Tab");
    const at = await focus(page);
    if (!at.hasFrame) expect(at).toMatchObject({ isMarked: true });
    if (isThere(at)) return;
  }
  expect.unreachable("the focus never came there");
}

describe("by keyboard alone", () => {
  it("one buys, fails, tries again, pays on the phone beside the shop, and always sees where one is", async () => {
    const node = await startNode({ databaseUrl });
    const { page, complaints } = await visitShop(browser, node.url, { viewport: { width: 1440, height: 900 } });
    await tabTo(page, ({ id }) => id === "item");
    await page.keyboard.press("ArrowDown");
    await tabTo(page, ({ id }) => id === "payer");
    await page.keyboard.type("Cancels");
    await tabTo(page, ({ id }) => id === "phone");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Payment cancelled");
    await tabTo(page, ({ id }) => id === "Try again");
    await page.keyboard.press("Enter");
    expect(await focus(page)).toMatchObject({ id: "pay", isMarked: true });
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.press("Shift+Tab");
    await page.keyboard.type("Whatever");
    await tabTo(page, ({ id }) => id === "pay");
    await page.keyboard.press("Space");
    await seeHeading(page, "Check your phone");
    await tabTo(page, ({ hasFrame }) => hasFrame);
    const phone = page.frames()[1];
    await seeHeading(page.frameLocator("iframe"), "Pay KES 850.00 to Demo Shop?");
    while ((await phone?.evaluate("document.activeElement.id")) !== "pin") await page.keyboard.press("Tab");
    await page.keyboard.type("1234");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Paid");
    expect(complaints).toEqual([]);
  }, 60_000);

  it("one reads from top to bottom: what comes first in the page comes first by Tab, at 320 px too", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitShop(browser, node.url, { viewport: { width: 320, height: 640 } });
    await buy(page, "02");
    await seeHeading(page, "Payment cancelled");
    const tops: number[] = [];
    await tabTo(page, ({ id }) => id === "Try again");
    for (let stops = 0; stops < 6; stops += 1) {
      tops.push(
        (await page.evaluate(`(() => {
        let element = document.activeElement;
        while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
        return Math.round(element.getBoundingClientRect().bottom + scrollY);
      })()`)) as number,
      );
      await page.keyboard.press("Tab");
    }
    expect(tops).toEqual(tops.toSorted((a, b) => a - b));
  });
});
