/**
 * Accessibility: axe checks every page and state, light and dark, and a visitor pays by keyboard alone. The element
 * without the shop is tested in test/client-sdk/element.test.ts.
 */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { returnPage } from "../../server/route/return-page.ts";
import { violationsOf } from "../support/axe.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { buy, buyByApi, seeHeading, visitShop } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

/** Whether a page scrolls horizontally at 320 px. */
async function isTooWide(page: Page): Promise<unknown> {
  const size = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 640 });
  const isWider = await page.evaluate("document.documentElement.scrollWidth > 320");
  if (size) await page.setViewportSize(size);
  return isWider;
}

/** Repeats the poll after a 503, as every client does: a node that has just started may have no free connection in time. */
async function untilSettled(node: TestNode, orderId: string): Promise<unknown> {
  for (;;) {
    const { status, body } = await asMerchant(node, `/v1/orders/${orderId}/wait?timeout=20`);
    if (status !== 503) return body.status;
  }
}

describe("axe", () => {
  it("finds no violation in the shop, in any state of its payment", async () => {
    // A short deadline for the payment that expires.
    const node = await startNode({ databaseUrl, env: { LIPANA_DEADLINE_S: "2" } });
    const states = {
      "Check your phone": { provider: "daraja", phone: "0712111100" },
      Paid: { provider: "daraja", phone: "0712111101" },
      "Payment cancelled": { provider: "daraja", phone: "0712111102" },
      "Not enough money": { provider: "daraja", phone: "0712111103" },
      // This provider's query reports the amount too, so the result does not depend on whether the webhook is first.
      "Being checked": { provider: "zenopay", phone: "0621111110" },
      "Time is up": { provider: "lipana", phone: "0712111112" },
    };
    const orders = await Promise.all(Object.values(states).map((wish) => buyByApi(node, wish)));
    const settling = orders.slice(1).map(({ order }) => untilSettled(node, order.orderId));
    const { page, complaints } = await visitShop(browser, node.url, { viewport: { width: 1440, height: 900 } });
    const found: Record<string, string[]> = { form: await violationsOf(page) };
    await page.fill("#phone", "12");
    await page.click("#pay");
    await page.getByText("is not a number").waitFor();
    found.invalid = await violationsOf(page);
    expect(await Promise.all(settling)).toEqual(["succeeded", "failed", "failed", "review", "expired"]);
    for (const [index, title] of Object.keys(states).entries()) {
      await page.goto(`${node.url}/?orderId=${orders[index]?.order.orderId}`);
      await seeHeading(page, title);
      await page.locator("#messages pre").first().waitFor();
      found[title] = await violationsOf(page);
      if (await isTooWide(page)) found[title].push("wider than 320 px");
    }
    await page.goto(`${node.url}/?orderId=SH-AAAA-AAAA`);
    await page.getByText("This shop has no such order.").waitFor();
    found.unknown = await violationsOf(page);
    expect(found).toEqual(Object.fromEntries(Object.keys(found).map((state) => [state, []])));
    // The browser logs an error for the refused phone number and for the unknown order.
    expect(complaints.filter((text) => !/status of 40[04]/.test(text))).toEqual([]);
  }, 120_000);

  it("finds no violation in the shop and the phone below it on a narrow screen", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitShop(browser, node.url);
    await page.click("#pay");
    await page.frameLocator("iframe").locator("#send").waitFor();
    expect(await violationsOf(page)).toEqual([]);
    expect(await violationsOf(page, page.frames()[1])).toEqual([]);
    expect(await isTooWide(page)).toBe(false);
  }, 60_000);

  it("finds no violation on the payer's phone, idle, with a prompt and after it", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(`${node.url}/sandbox/phone?number=0712111100`);
    await seeHeading(page, "Nothing to pay");
    expect(await violationsOf(page)).toEqual([]);
    await buyByApi(node, { provider: "daraja", phone: "0712111100" });
    await page.getByRole("heading", { name: /to Tukio Demo Shop/ }).waitFor();
    expect(await violationsOf(page)).toEqual([]);
    await page.keyboard.type("1234");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Sent");
    expect(await violationsOf(page)).toEqual([]);
  }, 60_000);

  it("finds no violation on bKash's page, for wallet, code, PIN, an error and the end", async () => {
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
    expect(await violationsOf(page)).toEqual([]);
    for (const [typed, title] of steps) {
      await page.getByRole("textbox").fill(typed);
      await page.keyboard.press("Enter");
      await seeHeading(page, title);
      expect(await violationsOf(page)).toEqual([]);
    }
    await page.getByRole("textbox").fill("12121");
    await page.keyboard.press("Enter");
    // The payment has no return URL.
    await seeHeading(page, "Paid");
    expect(await violationsOf(page)).toEqual([]);
    await page.goto(before);
    await seeHeading(page, "You are done here");
    expect(await violationsOf(page)).toEqual([]);
    await page.goto(before.replace(/token=.*/, "token=none"));
    await seeHeading(page, "There is no such payment");
    expect(await violationsOf(page)).toEqual([]);
  }, 60_000);

  it("finds no violation on the other pages that a payer may return to", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser);
    await page.goto(`${node.url}/return/nothing`);
    await seeHeading(page, "There is nothing here");
    expect(await violationsOf(page)).toEqual([]);
    // Without its automatic reload.
    const view = { language: "en", root: "..", nonce: "" } as const;
    const wait = returnPage({ name: "wait", onward: new URL("https://shop.example/done") }, view);
    await page.setContent(wait.replace(/<meta http-equiv[^>]*>/, ""));
    expect(await violationsOf(page)).toEqual([]);
  });
});

/** The focused element, also inside shadow trees, and whether its focus is visible. */
const focus = (page: Page): Promise<{ id: string; isMarked: boolean; hasFrame: boolean }> =>
  page.evaluate(`(() => {
    let element = document.activeElement;
    while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    const { outlineStyle } = getComputedStyle(element.closest("label") ?? element);
    const id = element.id || element.name || element.textContent.trim();
    return { id, isMarked: outlineStyle !== "none", hasFrame: element.tagName === "IFRAME" };
  })()`);

/** Presses a key until the focus arrives. Every stop on the way must have a visible focus. */
async function tabTo(
  page: Page,
  isThere: (at: Awaited<ReturnType<typeof focus>>) => boolean,
  key = "Tab",
): Promise<void> {
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press(key);
    const at = await focus(page);
    if (!at.hasFrame) expect(at).toMatchObject({ isMarked: true });
    if (isThere(at)) return;
  }
  expect.unreachable("the focus never arrived");
}

describe("keyboard", () => {
  it("buys, fails, tries again and pays on the phone beside the shop, with a visible focus at every stop", async () => {
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
    await expect.poll(() => focus(page)).toMatchObject({ id: "pay", isMarked: true });
    await tabTo(page, ({ id }) => id === "payer", "Shift+Tab");
    await page.keyboard.type("You");
    await tabTo(page, ({ id }) => id === "pay");
    await page.keyboard.press("Space");
    await seeHeading(page, "Check your phone");
    await tabTo(page, ({ hasFrame }) => hasFrame);
    const phone = page.frames()[1];
    await page
      .frameLocator("iframe")
      .getByRole("heading", { name: /Ksh\s850\.00 to Tukio Demo Shop/ })
      .waitFor();
    while ((await phone?.evaluate("document.activeElement.id")) !== "pin") await page.keyboard.press("Tab");
    await page.keyboard.type("1234");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Paid");
    expect(complaints).toEqual([]);
  }, 60_000);

  it("moves the focus from top to bottom at 320 px", async () => {
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
