/** Every screen of the desk with a day's data: axe, its width, its keyboard, and its empty and failed states. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import type { Scope } from "../../server/auth/api-key.ts";
import { violationsOf } from "../support/axe.ts";
import { openBrowserAndDatabase } from "../support/browser.ts";
import { openReview, untilRead, visitDesk } from "../support/desk.ts";
import { fillDay } from "../support/desk-day.ts";
import { createKey } from "../support/key.ts";
import { apiKey, startNode } from "../support/node.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

/** The address of each screen, with the data of `fillDay`. */
const screens = {
  today: "/",
  needsYou: "/needs-you",
  orders: "/orders",
  failedOrders: "/orders?status=failed",
  noOrders: "/orders?reason=currency_mismatch",
  found: "/orders?find=SHOP-1001",
  order: "/orders/SHOP-1001",
  orderPaidTwice: "/orders/SHOP-2001",
  unknownOrder: "/orders/SHOP-9999",
  unknownPage: "/nothing",
} as const;

async function open(page: Page, path: string): Promise<void> {
  await page.goto(new URL(`/desk${path}`, page.url()).href);
  await page.locator("main > *").first().waitFor();
  await untilRead(page);
}

const isTooWide = (page: Page, width: number): Promise<boolean> =>
  page.evaluate(`document.documentElement.scrollWidth > ${width}`);

describe("each screen", () => {
  it("is free of violations for every scope, light and dark, on a phone and on a wide screen", async () => {
    const node = await startNode({ databaseUrl });
    await fillDay({ url: node.url, apiKey }, { share: 0.2 });
    const found: Record<string, string[]> = {};
    for (const scopes of [["read"], ["read", "pay"], ["read", "pay", "manage"]] satisfies Scope[][]) {
      const { secret: key } = await createKey(node, scopes);
      for (const width of [320, 1440]) {
        const { page } = await visitDesk(browser, node, { key, viewport: { width, height: 844 } });
        for (const [name, path] of Object.entries(screens)) {
          await open(page, path);
          const faults = await violationsOf(page);
          if (await isTooWide(page, width)) faults.push(`wider than ${width} px`);
          found[`${name} ${width} ${scopes}`] = faults;
        }
      }
    }
    expect(found).toEqual(Object.fromEntries(Object.keys(found).map((name) => [name, []])));
  }, 300_000);

  it("says so when it has no data yet", async () => {
    const ground = await openBrowserAndDatabase();
    const node = await startNode({ databaseUrl: ground.databaseUrl });
    const { page } = await visitDesk(browser, node);
    await page.getByText("No money came in during the last two weeks").waitFor();
    await open(page, "/orders");
    await page.getByText("No orders yet").waitFor();
    await open(page, "/needs-you");
    await page.getByText("Nothing needs you").waitFor();
    await node.close();
    await ground.close();
  });

  it("says what failed, and reads again when asked", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await visitDesk(browser, node);
    let isDown = true;
    await page.route("**/v1/orders?*", (route) => (isDown ? route.abort() : route.continue()));
    await open(page, "/orders");
    const failure = page.getByRole("alert").filter({ hasText: "The server cannot be reached" });
    await failure.waitFor();
    isDown = false;
    await failure.getByRole("button", { name: "Try again" }).click();
    await failure.waitFor({ state: "detached" });
  });
});

describe("the keyboard", () => {
  it("reaches the content, opens a dialog, and returns to the button that opened it", async () => {
    const node = await startNode({ databaseUrl });
    await openReview(node);
    const { page } = await visitDesk(browser, node, { path: "/needs-you" });
    await page.getByRole("heading", { name: /^In review/ }).waitFor();
    await page.keyboard.press("Tab");
    await expect.poll(() => page.evaluate("document.activeElement.textContent")).toBe("Skip to the content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    const accept = page.getByRole("button", { name: "Accept", exact: true });
    await accept.waitFor();
    await accept.focus();
    await page.keyboard.press("Enter");
    const dialog = page.getByRole("dialog");
    await dialog.waitFor();
    expect(await violationsOf(page)).toEqual([]);
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "detached" });
    await expect.poll(() => page.evaluate("document.activeElement.textContent")).toBe("Accept");
  }, 120_000);
});
