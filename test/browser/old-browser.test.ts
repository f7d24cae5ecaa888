/**
 * A payment on `<order-status>` without the browser features that Chrome 87, Safari 14 or Firefox 78 lack. The syntax of the
 * scripts is tested in test/client-sdk/syntax.test.ts.
 */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { openBrowserAndDatabase, openPage, startMerchantPage } from "../support/browser.ts";
import { asMerchant, pay, startNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { buy, seeHeading, visitShop } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

/** Features that at least one of the three browsers lacks, by their owner. */
const missing: [owner: string, names: string[]][] = [
  [
    "globalThis",
    "structuredClone WeakRef FinalizationRegistry AggregateError BroadcastChannel reportError requestIdleCallback scheduler TransformStream WritableStream CompressionStream Iterator".split(
      " ",
    ),
  ],
  ["Object", ["hasOwn", "groupBy"]],
  ["Promise", ["any", "withResolvers", "try"]],
  ["Array", ["fromAsync"]],
  ["Array.prototype", "at findLast findLastIndex toSorted toReversed toSpliced with".split(" ")],
  ["String.prototype", ["at", "isWellFormed", "toWellFormed"]],
  ["Uint8Array.prototype.__proto__", "at findLast toSorted toReversed with".split(" ")],
  ["Set.prototype", ["union", "intersection", "difference"]],
  ["AbortSignal", ["any", "timeout", "abort"]],
  ["AbortSignal.prototype", ["throwIfAborted", "reason"]],
  ["Crypto.prototype", ["randomUUID"]],
  ["Response", ["json"]],
  ["URL", ["canParse", "parse"]],
  ["ReadableStream", ["from"]],
  ["ReadableStream.prototype", ["values"]],
  ["Intl", ["Segmenter", "ListFormat", "DisplayNames", "supportedValuesOf"]],
  ["CSSStyleSheet.prototype", ["replaceSync", "replace"]],
  ["Document.prototype", ["adoptedStyleSheets"]],
  ["ShadowRoot.prototype", ["adoptedStyleSheets"]],
  ["Element.prototype", ["checkVisibility", "setHTMLUnsafe"]],
  ["HTMLElement.prototype", ["attachInternals", "inert", "popover"]],
];

/** Removes the features in every page of the context, before its scripts run. */
const removeFeatures = (page: Page): Promise<unknown> =>
  page
    .context()
    .addInitScript(
      missing
        .map(([owner, names]) => names.map((name) => `delete ${owner}[${JSON.stringify(name)}];`).join(""))
        .join(""),
    );

describe("old browser", () => {
  it.each(["socketio", "websocket", "eventsource", "longpoll"])(
    "shows a payment from its start to its receipt over %s",
    async (transport) => {
      const node = await startNode({ databaseUrl });
      const { order, watchToken } = await pay(node, { phone: "+254712345600" });
      const shop = await startMerchantPage(node.url);
      shop.nonce = "abc";
      shop.body = `<order-status url="${node.url}" order-id="${order.orderId}" token="${watchToken}" transports="${transport}" nonce="abc"></order-status>`;
      const { page, complaints } = await openPage(browser, { locale: "en" });
      await removeFeatures(page);
      await page.goto(shop.origin);
      const title = page.locator("[part=title]");
      await title.filter({ hasText: "Check your phone" }).waitFor({ timeout: 30_000 });
      expect(
        await page.evaluate("[typeof structuredClone, Object.hasOwn, [].at, document.adoptedStyleSheets]"),
      ).toEqual(["undefined", undefined, undefined, undefined]);
      await expect
        .poll(() => page.evaluate("document.querySelector('order-status').snapshot.transport"))
        .toBe(transport);
      expect(await page.locator("[part=left]").innerText()).toMatch(/^\d:\d\d left$/);
      await answerPrompt(node, "+254712345600", "approve");
      await title.filter({ hasText: "Paid" }).waitFor({ timeout: 30_000 });
      expect(await page.locator("[part=detail]").innerText()).toMatch(/Receipt\s+\w{10}/);
      // The style is there without constructed style sheets.
      expect((await page.locator("[part=card]").boundingBox())?.width).toBeLessThanOrEqual(416);
      const ticket = {
        id: "seat-12",
        kind: "ticket",
        title: "Seat 12",
        code: "TKT-0012",
        expiresAt: "2099-01-01T00:00:00Z",
      };
      await asMerchant(node, `/v1/orders/${order.orderId}/results`, ticket);
      await page.getByRole("img", { name: "QR code" }).waitFor();
      expect((await page.getByRole("img", { name: "QR code" }).boundingBox())?.width).toBeLessThanOrEqual(240);
      await page.getByRole("button", { name: "Copy code" }).click();
      await page.getByRole("button", { name: "Copied" }).waitFor();
      expect(complaints).toEqual([]);
    },
  );

  it("shows a payment in the demo shop, and the prompt on the sandbox phone", async () => {
    const node = await startNode({ databaseUrl });
    const { page, complaints } = await visitShop(browser, node.url);
    await removeFeatures(page);
    await page.reload();
    const phone = await buy(page);
    await seeHeading(page, "Check your phone");
    const prompted = await page.context().newPage();
    await prompted.goto(`${node.url}/sandbox/phone?number=${phone}`);
    await prompted.locator("#pin").fill("1234");
    await prompted.keyboard.press("Enter");
    await seeHeading(page, "Paid");
    expect(await prompted.evaluate("typeof structuredClone")).toBe("undefined");
    // The shop's policy allows no `<style>`, so the card has no style there.
    expect(complaints.filter((text) => !text.startsWith("Applying inline style"))).toEqual([]);
  });
});
