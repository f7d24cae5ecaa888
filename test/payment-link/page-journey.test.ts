/** A payer's browser on the page of a node: from the link to the money, with each way to pay. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, expect, it } from "vitest";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { nextOrderId } from "../support/store.ts";
import { seeHeading } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

/** The page of a new link. */
async function visitLink(node: TestNode, fields: object): Promise<{ page: Page; complaints: string[]; url: string }> {
  const link = { orderId: nextOrderId(), amountMinor: 15_000, currency: "KES", description: "2 tickets", ...fields };
  const { status, body } = await asMerchant(node, "/v1/payment-links", link);
  expect(status).toBe(201);
  const { url } = (body as unknown as { paymentLink: { url: string } }).paymentLink;
  const opened = await openPage(browser, { viewport: { width: 390, height: 844 } });
  await opened.page.goto(url);
  return { ...opened, url };
}

it("the page fails with one provider, is paid with another, and shows that to a second browser", async () => {
  const node = await startNode({ databaseUrl });
  const { page, complaints, url } = await visitLink(node, { providers: ["daraja", "payhero"] });
  await page.fill("#phone", "0712 345 602");
  await page.click("button.primary");
  await seeHeading(page, "Payment cancelled");
  await page.getByRole("link", { name: "Try again" }).click();
  await page.check("[value=payhero]");
  await page.fill("#phone", "0712 345 601");
  await page.click("button.primary");
  await seeHeading(page, "Paid");
  const other = await openPage(browser);
  await other.page.goto(url);
  await seeHeading(other.page, "Already paid");
  expect([...complaints, ...other.complaints]).toEqual([]);
}, 120_000);

it("the page takes an amount that the payer enters, and then another payment", async () => {
  const node = await startNode({ databaseUrl });
  const reusable = { amountMinor: undefined, reusable: { minMinor: 5_000, maxMinor: 100_000 }, providers: ["daraja"] };
  const { page } = await visitLink(node, reusable);
  await page.fill("#amount", "20");
  await page.fill("#phone", "0712 345 611");
  await page.click("button.primary");
  await page.getByText("Check the amount.").waitFor();
  await page.fill("#amount", "250");
  await page.fill("#phone", "0712 345 601");
  await page.click("button.primary");
  await seeHeading(page, "Paid");
  await page.getByRole("heading", { name: "KES 250.00" }).waitFor();
  await page.getByRole("link", { name: "Make another payment" }).click();
  await page.locator("#amount").waitFor();
}, 120_000);

it("the page can be printed, and an address that no link has says so", async () => {
  const node = await startNode({ databaseUrl });
  const { page, complaints, url } = await visitLink(node, {});
  await page.goto(`${url}/print`);
  await page.locator("#print").waitFor();
  expect(complaints).toEqual([]);
  await page.goto(`${url}x`);
  await seeHeading(page, "There is no such payment link");
}, 120_000);
