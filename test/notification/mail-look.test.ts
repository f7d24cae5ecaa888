/** How mails look in a client that renders them as Chromium does, in every language, light and dark, narrow and wide. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { alertMail } from "../../server/notification/mail/alert-mail.ts";
import { receiptMail } from "../../server/notification/mail/receipt-mail.ts";
import { languages } from "../../server/order/order.ts";
import { violationsOf } from "../support/axe.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { alerts, now, receipts, receiptUrl, shop } from "../support/receipt.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

/** Landmarks are the mail program's. */
const isOfPages = (violation: string): boolean => /^\w+: (region|landmark-one-main): /.test(violation);

const receiptMails = languages.flatMap((lang) =>
  Object.entries(receipts).map(([name, receipt]) => {
    const { html } = receiptMail(receipt, { shop, lang, receiptUrl, now });
    return [`receipt ${name} ${lang}`, html] as const;
  }),
);
const alertMails = languages.flatMap((lang) =>
  alerts.map((alert) => [`alert ${alert.kind} ${lang}`, alertMail(alert, { shop, lang }).html] as const),
);

describe("mail", () => {
  it.each([
    ["receipts", receiptMails],
    ["alerts", alertMails],
  ])(
    "fits and has no accessibility fault: %s",
    async (_name, mails) => {
      const { page } = await openPage(browser, { viewport: { width: 320, height: 700 } });
      const found: Record<string, string[]> = {};
      for (const [name, html] of mails) {
        await page.setContent(html);
        found[name] = (await violationsOf(page)).filter((one) => !isOfPages(one));
        for (const width of [320, 390, 1440]) {
          await page.setViewportSize({ width, height: 700 });
          const shown = await page.evaluate("document.documentElement.scrollWidth");
          if (shown !== width) found[name].push(`${shown} px wide at ${width} px`);
        }
        await page.setViewportSize({ width: 320, height: 700 });
      }
      expect(found).toEqual(Object.fromEntries(mails.map(([name]) => [name, []])));
    },
    300_000,
  );

  it.each(["#ffdd00", "#fefefe", "#101010", "#777777"])("stays readable in the shop's colour: %s", async (colour) => {
    const receipt = receipts.ticket;
    if (!receipt) throw new Error("no receipt");
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    const { html } = receiptMail(receipt, { shop: { ...shop, colour }, lang: "en", receiptUrl, now });
    await page.setContent(html);
    expect((await violationsOf(page)).filter((one) => !isOfPages(one))).toEqual([]);
  });
});
