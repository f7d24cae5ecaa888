/** The SMS on the page with the payer's phone. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { violationsOf } from "../support/axe.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { asMerchant, send, startNode } from "../support/node.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const voucher = { id: "v-1", kind: "voucher", title: "One hour", code: "4821-9931" };

/** The folder for pictures, if any are wanted. */
const pictures = process.env.PICTURES;

describe("the payer's phone", () => {
  it.each([
    ["en", "+254712345600", "KES", "paid to Asha's Books", "light"],
    ["sw", "+254712345700", "KES", "imelipwa kwa Asha's Books", "dark"],
    ["bn", "+8801712345600", "BDT", "পরিশোধিত", "light"],
  ] as const)("shows the SMS after the prompt, in %s", async (lang, phone, currency, words, colorScheme) => {
    const node = await startNode({ databaseUrl, env: { SHOP_NAME: "Asha’s Books" } });
    const { page, complaints } = await openPage(browser, { viewport: { width: 390, height: 780 }, colorScheme });
    await page.goto(`${node.url}/sandbox/phone?number=${encodeURIComponent(phone)}`);
    const orderId = `PHONE-${lang}`;
    const provider = currency === "BDT" ? "bkash" : "daraja";
    // The payer of bKash approves on its page, so the success is recorded here.
    const payment = { orderId, amountMinor: 150_000, currency, provider, phone, lang };
    if (provider === "daraja") {
      await send(node, "POST", "/v1/payments", payment);
      await page.getByRole("textbox", { name: "Enter M-PESA PIN:" }).fill("1234");
      await page.getByRole("button", { name: "Send", exact: true }).click();
      await page.getByRole("heading", { name: "Sent" }).waitFor();
    } else {
      await send(node, "POST", "/v1/payments", {
        ...payment,
        currency: "KES",
        provider: "daraja",
        phone: "0712345801",
      });
    }
    const status = async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status;
    await vi.waitUntil(async () => (await status()) === "succeeded", { timeout: 20_000 });
    await send(node, "POST", `/v1/orders/${orderId}/results`, voucher);
    if (provider === "bkash") await page.getByLabel("This phone’s number").fill("0712345801");
    if (provider === "bkash") await page.keyboard.press("Enter");
    const message = page.getByRole("listitem").filter({ hasText: "4821-9931" });
    await message.waitFor();
    expect(await message.textContent()).toContain(words);
    if (pictures) await page.screenshot({ path: `${pictures}/phone-sms-${lang}.png` });
    await send(node, "POST", `/v1/orders/${orderId}/notifications/sms`);
    await expect.poll(() => page.getByRole("listitem").count()).toBe(2);
    expect(await page.locator("#announcement").textContent()).toMatch(/^Message from AFRICASTKNG: /);
    expect(await violationsOf(page)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it("keeps a prompt in front of a new message, and shows the messages of its own number only", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser, { viewport: { width: 390, height: 780 } });
    const pay = (orderId: string, phone: string) =>
      send(node, "POST", "/v1/payments", { orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone });
    await pay("PHONE-1", "0712345901");
    await vi.waitUntil(async () => (await asMerchant(node, "/v1/orders/PHONE-1")).body.order.status === "succeeded");
    await page.goto(`${node.url}/sandbox/phone?number=0712345901`);
    await page.getByRole("heading", { name: "Nothing to pay" }).waitFor();
    await pay("PHONE-2", "0712345901");
    const prompt = page.getByRole("heading", { name: /^Do you want to pay/ });
    await prompt.waitFor();
    await send(node, "POST", "/v1/orders/PHONE-1/results", voucher);
    await expect.poll(() => page.locator("#messages li").count()).toBeGreaterThan(0);
    await page.getByLabel("This phone’s number").fill("0712345800");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Nothing to pay" }).waitFor();
    expect(await page.locator("#messages li").count()).toBe(0);
  });
});
