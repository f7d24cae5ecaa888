/** The page of the sandbox's inbox. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { receiptMail } from "../../server/notification/mail/receipt-mail.ts";
import { createInboxClient } from "../../server/sandbox/inbox-client.ts";
import { violationsOf } from "../support/axe.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { startNode, testSecret } from "../support/node.ts";
import { now, receipts, receiptUrl, shop } from "../support/receipt.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

async function startInbox() {
  const node = await startNode({ databaseUrl });
  const post = createInboxClient({ hubUrl: () => node.url, secrets: [testSecret] });
  const receipt = receipts.sandbox;
  if (!receipt) throw new Error("no receipt");
  const mail = receiptMail(receipt, { shop, lang: "en", receiptUrl, now });
  return { node, post, send: (messageId: string, to: string) => post({ messageId, to, ...mail }) };
}

describe("page of the inbox", () => {
  it("lists the mails as they arrive, filters them, and shows the HTML and the plain text", async () => {
    const { node, send } = await startInbox();
    const { page, complaints } = await openPage(browser, { viewport: { width: 1440, height: 900 } });
    await page.goto(`${node.url}/sandbox/inbox`);
    await page.getByText("No mail yet.").waitFor();
    expect(await violationsOf(page)).toEqual([]);
    await send("one", "amina@example.com");
    const mail = page.frameLocator("iframe");
    await mail.getByRole("heading", { name: "KES 1,500.00" }).waitFor();
    await send("two", "juma@example.com");
    await page.getByRole("button", { name: "juma@example.com" }).waitFor();
    expect(await violationsOf(page)).toEqual([]);
    await page.getByLabel("Only mails to").fill("juma");
    await expect.poll(() => page.locator("#mails button").count()).toBe(1);
    await page.getByRole("button", { name: "juma@example.com" }).click();
    await page.getByText("To juma@example.com").waitFor();
    await page.getByRole("button", { name: "Plain text" }).click();
    await page.getByText("M-Pesa receipt: SLK4H7R6T2").waitFor();
    expect(await violationsOf(page)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it("fits a phone", async () => {
    const { node, send } = await startInbox();
    await send("one", `${"a".repeat(60)}@${"example".repeat(8)}.com`);
    const { page } = await openPage(browser, { viewport: { width: 320, height: 640 } });
    await page.goto(`${node.url}/sandbox/inbox`);
    await page.locator("#mails button").click();
    await page.frameLocator("iframe").getByText("Open the receipt").waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320);
    expect(await violationsOf(page)).toEqual([]);
  });

  it("runs no script of a mail, and opens its links in another tab", async () => {
    const { node, post } = await startInbox();
    const html = `<!doctype html><title>x</title><script>parent.document.title = "taken"; document.body.append("ran")</script>
      <img src="data:," onerror="parent.document.title = 'taken'"><a target="_blank" href="${node.url}/docs">a link</a><p>a mail</p>`;
    await post({ messageId: "evil", to: "a@example.com", subject: "<b>bold</b>", text: "<b>bold</b>", html });
    const { page } = await openPage(browser, { viewport: { width: 1440, height: 900 } });
    await page.goto(`${node.url}/sandbox/inbox`);
    const mail = page.frameLocator("iframe");
    await mail.getByText("a mail").waitFor();
    expect(await mail.getByText("ran").count()).toBe(0);
    expect(await page.title()).toBe("Inbox – Tukio sandbox");
    await page.getByRole("heading", { name: "<b>bold</b>" }).waitFor();
    const [tab] = await Promise.all([page.waitForEvent("popup"), mail.getByText("a link").click()]);
    await tab.waitForLoadState();
    expect(tab.url()).toBe(`${node.url}/docs`);
    expect(await tab.evaluate("origin")).toBe(node.url);
  });
});
