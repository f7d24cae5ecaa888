/** The shop and the payer's phone in a real browser with a real node. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser, FrameLocator, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode } from "../support/node.ts";

let databaseUrl: string;
let browser: Browser;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  browser = await launchBrowser();
  return database.drop;
}, 300_000);
afterAll(() => browser?.close());

/** Opens the shop of a new node. */
async function visit({ width = 1440, path = "/" } = {}) {
  const node = await startNode({ databaseUrl });
  const { page, complaints } = await openPage(browser, { viewport: { width, height: 900 } });
  await page.goto(node.url + path);
  return { node, page, complaints };
}

const buy = async (page: Page, ending: string): Promise<void> => {
  await page.selectOption("#payer", ending);
  await page.click("#pay");
};

const approve = async (page: Page): Promise<void> => {
  const phone = page.frameLocator("iframe");
  for (const digit of "1234") await phone.getByRole("button", { name: digit, exact: true }).click();
  await phone.getByRole("button", { name: "Send", exact: true }).click();
};

const seeHeading = (page: Page | FrameLocator, title: string): Promise<unknown> =>
  page.getByRole("heading", { name: title, exact: true }).waitFor({ timeout: 30_000 });

const versions = (page: Page): Promise<string[]> => page.locator("#events .version").allTextContents();

describe("shop", () => {
  it("shows the payment when the PIN is entered on the phone beside it, and the delay after the webhook", async () => {
    const { page, complaints } = await visit();
    await buy(page, "00");
    await seeHeading(page, "Check your phone");
    const card = page.locator("order-status");
    await card.getByText("Tukio Demo Shop").waitFor();
    await card.getByText("Spiced tea").waitFor();
    // The whole number is not in the order. The shop gives it to the card.
    await card
      .getByText(/07\d\d\s?•••\s?\d\d\d/)
      .first()
      .waitFor();
    await approve(page);
    await seeHeading(page, "Paid");
    await card.getByRole("heading", { name: "Pick-up ticket: Spiced tea" }).waitFor();
    await card.getByRole("img", { name: "QR code of this ticket’s code" }).waitFor();
    await expect
      .poll(() => page.textContent("#delay"))
      .toMatch(/^This page showed the payment (less than\s)?[1-9]\d*\sms after the webhook\.$/);
    expect(await versions(page)).toEqual(["4", "3", "2", "1"]);
    expect(await page.textContent("#link-text")).toBe("Live over Socket.IO");
    expect(complaints).toEqual([]);
  });

  it("sends the phone number to the phone beside it, also if it changes while the phone loads", async () => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser, { viewport: { width: 1440, height: 900 } });
    const held = Promise.withResolvers<void>();
    await page.route(/\/phone\.js$/, async (route) => {
      await held.promise;
      await route.continue();
    });
    await page.goto(node.url, { waitUntil: "commit" });
    await page.locator("#pay:enabled").waitFor();
    await page.fill("#phone", "+254 712 777700");
    await page.click("#pay");
    await seeHeading(page, "Check your phone");
    held.resolve();
    await approve(page);
    await seeHeading(page, "Paid");
  });

  it("shows no delay as 0 ms, because a clock's error is never 0", async () => {
    const { page } = await visit();
    const texts = (await page.evaluate(`import("/shop/clock.js").then(({ delayText }) =>
      [0.5, 0.6, 2, 40].map((errorMs) => [0, 1, 2, 60].map((delay) => delayText(delay, { errorMs }, "<"))))`)) as string[][];
    for (const text of texts.flat()) expect(text).toMatch(/^(<\s)?[1-9]\d*\sms$/);
    expect(texts[1]).toEqual(["<\u00a01\u00a0ms", "1\u00a0ms", "2\u00a0ms", "60\u00a0ms"]);
  });

  it("names the query instead of a webhook if a query brought the result", async () => {
    const { page } = await visit();
    await buy(page, "06");
    await seeHeading(page, "Paid");
    await expect.poll(() => page.textContent("#delay")).toMatch(/ after Tukio queried the provider\.$/);
  });

  it("shows the newest state after its connection is cut, sockets are blocked or it is offline", async () => {
    const { node, page } = await visit();
    await buy(page, "00");
    await seeHeading(page, "Check your phone");
    const link = page.locator("#link-text");
    await page.click("#cut");
    await expect.poll(() => link.textContent()).toBe("Live over Socket.IO");
    await page.click("#block");
    await expect.poll(() => link.textContent()).toBe("Live over the long poll");
    await page.click("#offline");
    await expect.poll(() => link.textContent()).toBe("Offline");
    expect(await page.evaluate("navigator.onLine")).toBe(false);
    await page.locator("order-status").getByText("You are offline").waitFor();
    await approve(page);
    await seeHeading(page.frameLocator("iframe"), "Sent");
    // Everything about the order has happened before the page is online again.
    const orderId = new URL(page.url()).searchParams.get("orderId");
    await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.results);
    expect(await page.title()).toContain("Waiting for you");
    await page.click("#offline");
    expect(await page.evaluate("navigator.onLine")).toBe(true);
    await seeHeading(page, "Paid");
    expect(await page.isHidden("#delay")).toBe(true);
  });

  it("starts another attempt of the same order", async () => {
    const { page, complaints } = await visit({ width: 320 });
    await buy(page, "02");
    await page.getByRole("button", { name: "Try again" }).click();
    await expect.poll(() => page.evaluate("document.activeElement.id")).toBe("pay");
    await buy(page, "01");
    await seeHeading(page, "Paid");
    await page.getByRole("heading", { name: "Pick-up ticket: Spiced tea" }).waitFor();
    expect(await versions(page)).toEqual(["7", "6", "5", "4", "3", "2", "1"]);
    expect(complaints).toEqual([]);
  });

  it("replaces the form by the card when the order is paid meanwhile, so that nobody pays again", async () => {
    const { page } = await visit();
    await buy(page, "02");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator("#pay").waitFor();
    // The other tab pays the same order.
    const [second] = await Promise.all([page.context().waitForEvent("page"), page.click("#second")]);
    await second.getByRole("button", { name: "Try again" }).click();
    await buy(second, "01");
    await seeHeading(second, "Paid");
    await seeHeading(page, "Paid");
    expect(await page.isHidden("#pay")).toBe(true);
    expect(await page.evaluate("document.activeElement.id")).toBe("paying");
  });

  it("shows the order and its phone again after a reload and in a second tab", async () => {
    const { page } = await visit();
    await page.check('input[value="zenopay"]');
    await buy(page, "00");
    await seeHeading(page, "Check your phone");
    await page.reload();
    await seeHeading(page, "Check your phone");
    await approve(page);
    await seeHeading(page, "Paid");
    const [second] = await Promise.all([page.context().waitForEvent("page"), page.click("#second")]);
    await seeHeading(second, "Paid");
    await second.goto(second.url().replace(/orderId=.*/, "orderId=SH-AAAA-AAAA"));
    await second.getByText("This shop has no such order.").waitFor();
    expect(await second.isVisible("#pay")).toBe(true);
  });

  it("redirects the payer to bKash's page and continues when they return", async () => {
    const { page } = await visit();
    await page.check('input[value="bkash"]');
    await page.click("#pay");
    await page.waitForURL(/\/sandbox\/bkash\//);
    for (const typed of ["01770618575", "123456", "12121"]) {
      const field = page.locator("input:not([type=hidden])").first();
      await field.fill(typed);
      await Promise.all([page.waitForNavigation(), field.press("Enter")]);
    }
    await page.waitForURL(/\/\?orderId=SH-/);
    await seeHeading(page, "Paid");
  });

  it("opens the phone for bKash's prompt on a narrow screen, and says on the card that it waits there", async () => {
    const { page } = await visit({ width: 320 });
    await page.check('input[value="bkash"]');
    await buy(page, "00");
    await page.getByText("In this sandbox, bKash’s prompt waits on the payer’s phone.").waitFor();
    await page.locator("#phone-toggle[aria-expanded=true]").waitFor();
    await approve(page);
    await seeHeading(page, "Paid");
    expect(await page.locator("#on-phone").isVisible()).toBe(false);
  });

  it("sells in three instalments, and makes the second one due by moving the clock", async () => {
    const { page, complaints } = await visit({ width: 390 });
    await page.selectOption("#payer", "01");
    await page.click("#in-parts");
    await page.getByText("A plan of three instalments").waitFor();
    const [plan] = await Promise.all([page.context().waitForEvent("page"), page.click("#plan-address")]);
    await plan.getByText("Due today").first().waitFor();
    await plan.getByRole("link", { name: "Pay KES 50.00" }).click();
    await plan.fill("#phone", await page.inputValue("#phone"));
    await plan.click("button.primary");
    await seeHeading(plan, "Paid");
    await plan.getByText(/^TEA-/).waitFor();
    await plan.getByRole("link", { name: "All payments of this plan" }).click();
    await plan.getByText("Instalment 2 of 3").waitFor();
    expect(await plan.getByText("Due today").count()).toBe(0);
    await page.click("#month-later");
    await page.getByText("For all plans it is now").waitFor();
    await plan.reload();
    // A month of the plan is at most as long as the 31 days by which the clock has moved.
    await plan
      .getByText(/^(Due today|Overdue)$/)
      .first()
      .waitFor();
    await page.selectOption("#payer", "00");
    expect(await page.locator("#plan").isVisible()).toBe(false);
    expect(complaints).toEqual([]);
  });

  it("sells in three instalments to a browser without scripts", async () => {
    const node = await startNode({ databaseUrl });
    const { page, complaints } = await openPage(browser, {
      javaScriptEnabled: false,
      viewport: { width: 320, height: 700 },
    });
    await page.goto(node.url);
    expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320);
    await page.getByLabel("Woven basket").check();
    await page.locator("noscript button, .noscript button").click();
    await page.getByText("Woven basket").waitFor();
    await page.locator("a.primary").click();
    await page.fill("#phone", "0712 345 601");
    await page.click("button.primary");
    await seeHeading(page, "Paid");
    await page.getByRole("link", { name: "All payments of this plan" }).click();
    await page.getByText("Instalment 2 of 3").waitFor();
    expect(complaints).toEqual([]);
  });

  it("shows the error of a phone number beside the number", async () => {
    const { page } = await visit();
    await page.fill("#phone", "12");
    await page.click("#pay");
    await page.getByText("is not a number that M-Pesa can prompt").waitFor();
    expect(await page.getAttribute("#phone", "aria-invalid")).toBe("true");
    expect(await page.evaluate("document.activeElement.id")).toBe("phone");
  });

  it("asks for an email address that may be empty, and shows where the receipt and the SMS are", async () => {
    const { page, complaints } = await visit();
    await page.fill("#email", "amina");
    await page.click("#pay");
    await page.getByText("Enter an address such as").waitFor();
    expect(await page.getAttribute("#email", "aria-invalid")).toBe("true");
    await page.fill("#email", "amina@example.com");
    await buy(page, "01");
    await seeHeading(page, "Paid");
    const number = encodeURIComponent(await page.inputValue("#phone"));
    const addresses = await Promise.all(["#sent-inbox", "#sent-phone"].map((id) => page.getAttribute(id, "href")));
    expect(addresses).toEqual([`sandbox/inbox?to=amina%40example.com`, `sandbox/phone?number=${number}`]);
    const [inbox] = await Promise.all([page.waitForEvent("popup"), page.click("#sent-inbox")]);
    const mail = inbox.frameLocator("iframe");
    const [receipt] = await Promise.all([
      inbox.waitForEvent("popup"),
      mail.getByRole("link", { name: "Open the receipt" }).click(),
    ]);
    await seeHeading(receipt, "Receipt");
    expect(await receipt.locator("main").innerText()).toContain(new URL(page.url()).searchParams.get("orderId"));
    await page.goto(page.url().replace(/\?.*/, ""));
    await buy(page, "01");
    await seeHeading(page, "Paid");
    expect([await page.locator("#sent-sms").isVisible(), await page.locator("#sent-mail").isVisible()]).toEqual([
      true,
      false,
    ]);
    expect(complaints).toEqual([]);
  });

  it.each([320, 768, 1440])("is no wider than a screen of %i px", async (width) => {
    const { page } = await visit({ width });
    await page.locator("#ways label").first().waitFor();
    const fits = (): Promise<unknown> => page.evaluate("document.documentElement.scrollWidth <= innerWidth");
    expect(await fits()).toBe(true);
    await buy(page, "01");
    await seeHeading(page, "Paid");
    expect(await fits()).toBe(true);
  });

  it("shows HTML that works on another site, pinned by its hash", async () => {
    const { node, page } = await visit();
    await buy(page, "01");
    await seeHeading(page, "Paid");
    const order = page.locator("order-status");
    const html = ((await page.locator("#snippet", { hasText: "sha384-" }).textContent()) ?? "")
      .replace("ORD-1001", (await order.getAttribute("order-id")) ?? "")
      .replace("WATCH_TOKEN", (await order.getAttribute("token")) ?? "");
    const site = createServer((_request, response) => {
      response.writeHead(200, { "content-type": "text/html" });
      response.end(`<!doctype html><html lang="en"><link rel="icon" href="data:,"><body>${html}</body></html>`);
    });
    await once(site.listen(0, "127.0.0.1"), "listening");
    onTestFinished(() => void site.close().closeAllConnections());
    const merchant = await openPage(browser);
    await merchant.page.goto(`http://127.0.0.1:${(site.address() as AddressInfo).port}`);
    await seeHeading(merchant.page, "Paid");
    expect(html).toContain(node.url);
    expect(merchant.complaints).toEqual([]);
  });
});

describe("messages to the backend", () => {
  const typesIn = (page: Page): Promise<string[]> => page.locator("#messages summary code").allTextContents();

  it("appear when the order changes, as they are posted, the newest first", async () => {
    const { node, page, complaints } = await visit();
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const reads: string[] = [];
    page.on("request", (request) => {
      if (request.url().includes("/messages")) reads.push(new URL(request.url()).search);
    });
    await page.getByText("Each message appears here when the order changes.").waitFor();
    await buy(page, "00");
    await seeHeading(page, "Check your phone");
    await expect.poll(() => typesIn(page)).toEqual(["order.processing", "order.pending"]);
    await approve(page);
    await seeHeading(page, "Paid");
    const paidTypes = ["order.succeeded", "order.processing", "order.pending"];
    await expect.poll(async () => (await typesIn(page)).slice(-3)).toEqual(paidTypes);
    await vi.waitUntil(() => backend.received.length > 0);
    const [posted] = backend.received;
    const shown = page.locator("#messages li", { hasText: `webhook-id: ${posted?.id}` }).locator("pre");
    await shown.waitFor({ state: "attached" });
    const text = String(await shown.textContent());
    expect(text).toBe(JSON.stringify({ ...posted?.body, type: JSON.parse(text).type }, null, 2));
    expect(await page.locator("#messages details[open]").count()).toBe(1);
    await page.locator("#messages li").first().locator("pre").waitFor();
    expect(await page.getAttribute(".backend a", "href")).toBe("docs#/Events");
    // The page reads when it has received a state, and nothing in between.
    expect(reads.length).toBeLessThanOrEqual(6);
    expect(new Set(reads).size).toBeGreaterThan(1);
    expect(complaints).toEqual([]);
  });

  it("follow although a read fails, and the order does not change again", async () => {
    const { page } = await visit();
    let isFailing = true;
    await page.route(/\/messages/, (route) => (isFailing ? route.abort() : route.continue()));
    await buy(page, "01");
    await seeHeading(page, "Paid");
    await page.getByText("The newest messages cannot be read now.").waitFor();
    isFailing = false;
    await expect.poll(() => typesIn(page), { timeout: 10_000 }).toContain("order.succeeded");
    expect(await page.isHidden("#backend-failure")).toBe(true);
  });

  it("leave the message open that the visitor reads", async () => {
    const { page } = await visit();
    await buy(page, "00");
    await expect.poll(() => typesIn(page)).toEqual(["order.processing", "order.pending"]);
    const pending = page.locator("#messages li", { hasText: "order.pending" });
    await page.locator("#messages li", { hasText: "order.processing" }).locator("summary").click();
    await pending.locator("summary").click();
    await approve(page);
    await expect.poll(() => typesIn(page)).toContain("order.succeeded");
    expect(await page.locator("#messages details[open] summary code").allTextContents()).toEqual(["order.pending"]);
  });

  it("are collapsed on a narrow screen, and opened by the keyboard", async () => {
    const { page } = await visit({ width: 320 });
    await buy(page, "01");
    await seeHeading(page, "Paid");
    await expect.poll(() => typesIn(page)).toContain("order.succeeded");
    expect(await page.isVisible("#messages")).toBe(false);
    await page.focus("#backend-panel > summary");
    await page.keyboard.press("Enter");
    await page.locator("#messages pre").first().waitFor();
    expect(await page.evaluate("document.documentElement.scrollWidth <= innerWidth")).toBe(true);
    const names: unknown[] = [];
    for (let nth = 0; nth < 3; nth += 1) {
      await page.keyboard.press("Tab");
      names.push(
        await page.evaluate("document.activeElement.getAttribute('aria-label') ?? document.activeElement.localName"),
      );
    }
    expect(names).toEqual(["a", "summary", expect.stringMatching(/^Body of order\./)]);
  });
});

describe("eight tabs", () => {
  it("are not blocked by each other: the last one plays a payment", async () => {
    const { node, page } = await visit();
    const tabs = [page];
    while (tabs.length < 8) {
      const tab = await page.context().newPage();
      await tab.goto(node.url);
      await tab.frameLocator("iframe").getByText("Nothing to pay").waitFor();
      tabs.push(tab);
    }
    const last = tabs.at(-1) ?? page;
    await buy(last, "00");
    await seeHeading(last, "Check your phone");
    await approve(last);
    await seeHeading(last, "Paid");
    // The others are alive too.
    await buy(page, "01");
    await seeHeading(page, "Paid");
  });
});

describe("narrow screen", () => {
  it.each([
    [320, 568],
    [390, 844],
  ])("of %i by %i px shows the title above the whole prompt, with every key", async (width, height) => {
    const { page } = await visit({ width });
    await page.setViewportSize({ width, height });
    await buy(page, "00");
    const phone = page.frameLocator("iframe");
    await phone.locator("#send").waitFor();
    const isWhole = async (locator: Locator, top: number, bottom: number): Promise<boolean> => {
      const box = await locator.boundingBox();
      return box !== null && box.y >= top && box.y + box.height <= bottom;
    };
    const edge = async (): Promise<number> => (await page.locator("#payer-phone").boundingBox())?.y ?? 0;
    const title = page.getByRole("heading", { name: "Check your phone", exact: true });
    await expect.poll(async () => isWhole(title, 0, await edge())).toBe(true);
    for (const id of ["#ask", "#pin", "#send", "button[value=back]", "#low-balance"]) {
      await expect.poll(async () => isWhole(phone.locator(id), await edge(), height), { message: id }).toBe(true);
    }
  });

  it("shows the shop and the prompt together, and closes the phone when the order is settled", async () => {
    const { page, complaints } = await visit({ width: 390 });
    await page.setViewportSize({ width: 390, height: 844 });
    const toggle = page.locator("#phone-toggle");
    expect(await toggle.getAttribute("aria-expanded")).toBe("false");
    await buy(page, "00");
    const send = page.frameLocator("iframe").locator("#send");
    await send.waitFor();
    await expect
      .poll(() => page.evaluate("scrollY > 0 || document.documentElement.scrollHeight <= innerHeight"))
      .toBe(true);
    const inView = async (locator: Locator): Promise<boolean> => {
      const box = await locator.boundingBox();
      return box !== null && box.y >= 0 && box.y + box.height <= 844;
    };
    const title = page.getByRole("heading", { name: "Check your phone", exact: true });
    for (const locator of [title, send, page.frameLocator("iframe").locator("#ask")]) {
      await expect.poll(() => inView(locator)).toBe(true);
    }
    // The phone does not cover the title.
    const [upper, lower] = [await title.boundingBox(), await page.locator("#payer-phone").boundingBox()];
    expect((upper?.y ?? 844) + (upper?.height ?? 0)).toBeLessThanOrEqual(lower?.y ?? 0);
    await approve(page);
    await seeHeading(page, "Paid");
    expect(await toggle.getAttribute("aria-expanded")).toBe("false");
    await toggle.click();
    await page.frameLocator("iframe").getByRole("heading", { name: "Sent", exact: true }).waitFor();
    expect(complaints).toEqual([]);
  });
});

describe("payer's phone", () => {
  it.each([
    ["daraja", "0712999700", "M-PESA", /^Do you want to pay Ksh\s1,500\.00 to Kilimo Shop Account no\. T-daraja\?$/],
    [
      "zenopay",
      "0712999700",
      "Mobile money",
      /^You are about to pay TSh\s1,500\.00 to Kilimo Shop\. Reference: T-zenopay\.$/,
    ],
    [
      "mtn",
      "0771999700",
      "MTN MoMo",
      /^Kilimo Shop requests a payment of UGX\s150,000 for T-mtn\. Do you approve it\?$/,
    ],
    ["bkash", "01712999700", "bKash", /^Payment of Tk\s1,500\.00 to Kilimo Shop\. Ref T-bkash\.$/],
  ])("shows a payment of the API in the words of %s", async (provider, phone, name, question) => {
    const node = await startNode({ databaseUrl });
    const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(`${node.url}/sandbox/phone?number=${phone}`);
    const currency = { daraja: "KES", zenopay: "TZS", mtn: "UGX", bkash: "BDT" }[provider];
    const order = { orderId: `T-${provider}`, description: "2 tickets", metadata: { merchant: "Kilimo Shop" } };
    await pay(node, { provider, currency, phone, amountMinor: 150_000, ...order });
    await page.getByRole("heading", { name: question }).waitFor();
    await page.getByText("2 tickets").waitFor();
    expect(await page.textContent("#from")).toBe(name);
    await page.getByRole("button", { name: "Cancel", exact: true }).click();
    await seeHeading(page, "Cancelled");
  });

  it("accepts an answer by keyboard alone, and a wrong PIN fails", async () => {
    const { node, page } = await visit({ width: 390 });
    await page.fill("#phone", "+254 712 999800");
    const { page: phone, complaints } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await phone.goto(`${node.url}/sandbox/phone?number=0712999800`);
    await phone.getByText("Nothing to pay").waitFor();
    await page.click("#pay");
    await phone
      .getByRole("heading", { name: /^Do you want to pay Ksh\s150\.00 to Tukio Demo Shop Account no\. / })
      .waitFor();
    await phone.keyboard.type("0000");
    await phone.keyboard.press("Enter");
    await seeHeading(phone, "Wrong PIN");
    await seeHeading(page, "Wrong PIN");
    expect(complaints).toEqual([]);
  });

  it("shows a prompt of a number that is written in other digits, on its page and in the shop", async () => {
    const { node, page } = await visit();
    await page.fill("#phone", "٠٧١٢٩٩٨٨٠٠");
    expect(await page.inputValue("#payer")).toBe("00");
    const { page: phone } = await openPage(browser, { viewport: { width: 390, height: 844 } });
    await phone.goto(`${node.url}/sandbox/phone?number=${encodeURIComponent("٠٧١٢٩٩٨٨٠٠")}`);
    await phone.getByText("Nothing to pay").waitFor();
    await page.click("#pay");
    await page.frameLocator("iframe").locator("#send").waitFor();
    await phone.locator("#send").waitFor();
    await phone.locator("#pin").pressSequentially("١٢٣٤");
    await phone.keyboard.press("Enter");
    await seeHeading(phone, "Sent");
    await seeHeading(page, "Paid");
  });

  it("abandons a read that gets no answer, and reads again", async () => {
    const node = await startNode({ databaseUrl });
    const { page: phone } = await openPage(browser);
    await phone.clock.install();
    const isHeld = Promise.withResolvers<void>();
    await phone.route(/\/prompts$/, () => isHeld.resolve());
    await phone.goto(`${node.url}/sandbox/phone?number=0712345600`);
    await isHeld.promise;
    await phone.clock.runFor(8_000);
    await phone.getByText("Reconnecting…").waitFor();
    await phone.unroute(/\/prompts$/);
    await phone.clock.runFor(3_000);
    await phone.locator("#link:empty").waitFor({ state: "attached" });
  });

  it("shows a prompt of a number of eight digits", async () => {
    const node = await startNode({ databaseUrl });
    const { page: phone } = await openPage(browser);
    await phone.goto(`${node.url}/sandbox/phone?number=76123400`);
    await pay(node, { provider: "mtn", currency: "SZL", phone: "76123400" });
    await phone.locator("#send").waitFor();
  });

  it("shows that a test number answers automatically", async () => {
    const { page } = await visit();
    // 05, because its prompt stays for five seconds and those of the other endings for one.
    await buy(page, "05");
    const phone = page.frameLocator("iframe");
    await phone.getByText("This test number answers automatically.").waitFor();
    await phone.getByText("The request has ended").waitFor();
    await seeHeading(page, "No answer from your phone");
  });
});
