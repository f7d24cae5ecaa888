/** How the receipt page looks and prints, in every language. */
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { assetRoute } from "../../server/http/static-files.ts";
import type { Receipt } from "../../server/notification/receipt-facts.ts";
import { renderReceiptPage, renderUnknownReceipt } from "../../server/notification/receipt-page/page.ts";
import { type Language, languages } from "../../server/order/order.ts";
import { sendPrivatePage } from "../../server/page/send.ts";
import { findPageFile, pageFilesPath } from "../../server/payment-link/page/document.ts";
import { violationsOf } from "../support/axe.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { evil, evilReceipt, receipts, shop } from "../support/receipt.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

/** Serves the page of the receipt that the path names, under the page's policy. */
async function startReceipts(): Promise<string> {
  const app = Fastify({ forceCloseConnections: true });
  assetRoute(app, pageFilesPath, findPageFile);
  app.get<{ Params: { name: string }; Querystring: { lang?: Language } }>("/receipts/:name", (request, reply) => {
    const look = { shop, nonce: "abc" };
    const { lang = "en" } = request.query;
    const receipt = receipts[request.params.name];
    const html = receipt ? renderReceiptPage({ receipt, lang, ...look }) : renderUnknownReceipt({ lang, ...look });
    return sendPrivatePage(request, reply.code(receipt ? 200 : 404), { ...look, html });
  });
  await app.listen({ host: "127.0.0.1", port: 0 });
  onTestFinished(() => app.close());
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`;
}

/** The pages of a PDF, by its page objects. */
const pagesOf = (pdf: Buffer): number => pdf.toString("latin1").match(/\/Type\s*\/Page\b(?!s)/g)?.length ?? 0;

describe("receipt page", () => {
  it.each(languages)(
    "fits and has no accessibility fault: %s",
    async (lang) => {
      const url = await startReceipts();
      const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 700 } });
      const found: Record<string, string[]> = {};
      for (const name of [...Object.keys(receipts), "no-such-receipt"]) {
        await page.goto(`${url}/receipts/${name}?lang=${lang}`);
        found[name] = await violationsOf(page);
        for (const width of [320, 390, 1440]) {
          await page.setViewportSize({ width, height: 700 });
          const shown = await page.evaluate("document.documentElement.scrollWidth");
          if (shown !== width) found[name].push(`${shown} px wide at ${width} px`);
        }
      }
      expect(found).toEqual(Object.fromEntries(Object.keys(found).map((name) => [name, []])));
      expect(complaints.filter((text) => !/404/.test(text))).toEqual([]);
    },
    300_000,
  );

  it.each(languages)("prints on one A6 sheet, and on a roll of 80 mm without a cut text: %s", async (lang) => {
    const url = await startReceipts();
    const { page } = await openPage(browser, {});
    await page.goto(`${url}/receipts/items?lang=${lang}`);
    expect(pagesOf(await page.pdf({ width: "105mm", height: "148mm", preferCSSPageSize: true }))).toBe(1);
    await page.emulateMedia({ media: "print" });
    // 72 mm and 97 mm: the paper without the page's margins.
    for (const width of [272, 367]) {
      await page.setViewportSize({ width, height: 600 });
      for (const name of Object.keys(receipts)) {
        await page.goto(`${url}/receipts/${name}?lang=${lang}`);
        const shown = await page.evaluate("document.documentElement.scrollWidth");
        expect([name, width, shown]).toEqual([name, width, width]);
      }
    }
    expect(await page.locator("#print").isVisible()).toBe(false);
  });

  it("shows all without scripts, and the button to print only with them", async () => {
    const url = await startReceipts();
    const { page } = await openPage(browser, { javaScriptEnabled: false });
    await page.goto(`${url}/receipts/ticket`);
    for (const text of ["SLK4H7R6T2", "+2547*****678", "NJN-4F7K-22QX", "It is not a tax invoice.", "GMT+3"]) {
      expect([text, await page.getByText(text).first().isVisible()]).toEqual([text, true]);
    }
    expect(await page.getByRole("button").count()).toBe(0);
    const scripted = await openPage(browser, {});
    await scripted.page.goto(`${url}/receipts/ticket`);
    await scripted.page.getByRole("button", { name: "Print" }).waitFor();
  });

  it("is kept by nobody, and runs nothing but the page's own script", async () => {
    const url = await startReceipts();
    const { headers } = await fetch(`${url}/receipts/ticket`);
    expect(headers.get("cache-control")).toBe("no-store");
    expect(headers.get("referrer-policy")).toBe("no-referrer");
    expect(headers.get("x-robots-tag")).toBe("noindex");
    expect(headers.get("content-security-policy")).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'nonce-abc'; .*frame-ancestors 'none'$/,
    );
  });

  it("writes data as text", () => {
    const html = renderReceiptPage({
      receipt: evilReceipt,
      shop: { name: evil, contact: evil },
      lang: "en",
      nonce: "abc",
    });
    expect(html).not.toMatch(/<script>|<img|href="javascript:/);
    expect(html).toContain("&#60;script&#62;");
  });

  it("differs only in its words between languages, not in its facts", () => {
    const facts = ["ORD-2031", "SLK4H7R6T2", "+2547*****678", "NJN-4F7K-22QX", "M-Pesa"];
    for (const lang of languages) {
      const html = renderReceiptPage({ receipt: receipts.ticket as Receipt, shop, lang, nonce: "" });
      expect([lang, facts.filter((fact) => !html.includes(fact))]).toEqual([lang, []]);
    }
  });
});
