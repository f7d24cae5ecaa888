/** What a payer does on the checkout page: with a keyboard, without scripts, offline, and in several tabs. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { readPhone } from "../../server/payment/phone.ts";
import { mpesaLimits } from "../../server/provider/mpesa.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { type CheckoutServer, orderOf, startCheckout, states } from "../support/checkout.ts";
import { seeHeading } from "../support/visit.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

const phone = { viewport: { width: 390, height: 844 } };

/** The payer's page at a server whose payment starts with the form. */
async function visit(options: Parameters<typeof openPage>[1] = {}): Promise<{
  server: CheckoutServer;
  page: Page;
  complaints: string[];
}> {
  const server = await startCheckout();
  server.view = () => (server.sent.length > 0 ? states.prompt : states.choose);
  server.current = states.prompt?.order;
  const opened = await openPage(browser, { ...phone, ...options });
  await opened.page.goto(`${server.url}/pay/token`);
  return { server, ...opened };
}

const selected = (page: Page): Promise<string | null> => page.locator("[name=provider]:checked").getAttribute("value");

describe("choice of the provider", () => {
  it("follows the operator of the number, in any form, until the payer chooses", async () => {
    const { server, page } = await visit();
    server.view = () => states.providers;
    await page.goto(`${server.url}/pay/token`);
    const found: Record<string, string | null> = {};
    const typed = {
      "077": "daraja",
      "+256 77": "mtn",
      "0712": "daraja",
      "00256 (0) 78 1": "mtn",
      "+254 (0) 112": "daraja",
      "256 76 1": "mtn",
      "\u200e+\u0662\u0665\u0664 \u0667\u0661\u0662": "daraja",
      "০৭৮": "mtn",
      "07": "mtn",
    };
    for (const number of Object.keys(typed)) {
      await page.fill("#phone", number);
      found[number] = await selected(page);
    }
    // 077 and 078 are MTN's in Uganda, and without a country code the only match.
    expect(found).toEqual({ ...typed, "077": "mtn" });
    await page.check("[value=payhero]");
    await page.fill("#phone", "+256 77 123");
    expect(await selected(page)).toBe("payhero");
  });

  it("asks for no number if the provider has its own page", async () => {
    const { server, page } = await visit();
    server.view = () => (server.sent.length > 0 ? states.redirect : states.providers);
    server.current = states.redirect?.order;
    await page.goto(`${server.url}/pay/token`);
    await page.check("[value=bkash]");
    expect(await page.locator("#phone").isVisible()).toBe(false);
    await page.getByText("You approve the payment on bKash’s page.").waitFor();
    await page.getByText("You enter it only on bKash’s page.").waitFor();
    await page.check("[value=mtn]");
    expect(await page.locator("#phone").isVisible()).toBe(true);
    await page.check("[value=bkash]");
    await page.click("button.primary");
    await expect.poll(() => server.sent).toEqual([{ provider: "bkash" }]);
  });
});

describe("form", () => {
  it("accepts a number in any usual form", async () => {
    const { server, page } = await visit();
    server.view = () => states.choose;
    const forms = [
      "0712345678",
      "0712 345 678",
      "0712-345-678",
      "712345678",
      "+254712345678",
      "+254 (0)712 345678",
      "254712345678",
      "00254 712 345 678",
      "(0712) 345.678",
      "\u202a+254 712 345 678\u202c",
      "০৭১২ ৩৪৫ ৬৭৮",
    ];
    for (const form of forms) {
      await page.goto(`${server.url}/pay/token`);
      await page.fill("#phone", form);
      const count = server.sent.length;
      await page.press("#phone", "Enter");
      await expect.poll(() => server.sent.length).toBe(count + 1);
    }
    const provider = { name: "daraja", countries: ["KE"], limits: mpesaLimits };
    expect(server.sent.map(({ phone = "" }) => readPhone(phone, { provider, currency: "KES" }))).toEqual(
      forms.map(() => "+254712345678"),
    );
  });

  it("shows a missing number at its field, and sends nothing", async () => {
    const { server, page } = await visit();
    await page.click("button.primary");
    await page.getByText("Enter your mobile number.").waitFor();
    expect(await page.evaluate("document.activeElement.id")).toBe("phone");
    expect(await page.getAttribute("#phone", "aria-invalid")).toBe("true");
    await page.keyboard.type("0");
    expect(await page.locator("#phone-error").isVisible()).toBe(false);
    expect(server.sent).toEqual([]);
  });

  it("keeps what was entered and has the focus in the wrong field", async () => {
    const { server, page } = await visit();
    server.view = () => states["wrong-amount"];
    await page.goto(`${server.url}/pay/token`);
    await page.getByText("Check the amount.").waitFor();
    expect(await page.inputValue("#amount")).toBe("20");
    expect(await page.inputValue("#phone")).toBe("0712 345 678");
    await expect.poll(() => page.evaluate("document.activeElement.id")).toBe("amount");
    expect(await page.title()).toBe("Check the amount. – Mama Mboga Fresh Produce");
  });

  it("is sent once for a double click", async () => {
    const { server, page } = await visit();
    await page.fill("#phone", "0712 345 678");
    await page.dblclick("button.primary");
    await seeHeading(page, "Check your phone");
    expect(server.sent).toEqual([{ provider: "daraja", phone: "0712 345 678" }]);
  });

  it("is not sent without a network, and keeps the number", async () => {
    const { server, page } = await visit();
    await page.fill("#phone", "0712 345 678");
    await page.context().setOffline(true);
    await page.click("button.primary");
    await page.getByText("Nothing was sent. Try again when you are online.").waitFor();
    await page.context().setOffline(false);
    await page.getByText("Nothing was sent.").waitFor({ state: "hidden" });
    expect(server.sent).toEqual([]);
    await page.click("button.primary");
    await seeHeading(page, "Check your phone");
  });

  it("can be sent, and sent again after a failure, with the keyboard alone", async () => {
    const { server, page, complaints } = await visit();
    await tabTo(page, "phone");
    await page.keyboard.type("0712 345 678");
    await page.keyboard.press("Enter");
    await seeHeading(page, "Check your phone");
    const order = orderOf({ status: "failed", settled: true, reason: "wrong_pin", version: 4 });
    server.current = order;
    server.view = () => (server.sent.length > 1 ? states.prompt : { ...states["failed-wrong_pin"], order });
    await seeHeading(page, "Wrong PIN");
    await tabTo(page, "Try again");
    await page.keyboard.press("Enter");
    await page.locator("#phone").waitFor();
    await tabTo(page, "Pay KES 1,500.00");
    // The number is still there, in this tab.
    expect(await page.inputValue("#phone")).toBe("0712 345 678");
    server.current = orderOf({ version: 5 }, { attempt: 2, action: { type: "prompt", phone: "+2547*****678" } });
    await page.keyboard.press("Space");
    await seeHeading(page, "Check your phone");
    expect(server.sent).toHaveLength(2);
    expect(complaints.filter((text) => !/404/.test(text))).toEqual([]);
  });
});

/** Presses Tab until the element with this id or text has the focus. Every stop on the way must show its focus. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 20; presses += 1) {
    await page.keyboard.press("Tab");
    const at = (await page.evaluate(`(() => {
      let element = document.activeElement;
      while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
      const marked = element.closest("label") ?? element;
      return { names: [element.id, element.textContent.trim()], outline: getComputedStyle(marked).outlineStyle };
    })()`)) as { names: string[]; outline: string };
    expect(at).not.toMatchObject({ outline: "none" });
    if (at.names.includes(name)) return;
  }
  expect.unreachable(`the focus never arrived at ${name}`);
}

describe("payment in progress", () => {
  it("shows the result without another load, and then the way back", async () => {
    const { server, page } = await visit();
    server.sent.push({});
    await page.goto(`${server.url}/pay/token`);
    await seeHeading(page, "Check your phone");
    server.current = { ...states.paid?.order, version: 4 } as typeof server.current;
    await seeHeading(page, "Paid");
    await page.getByText("NJN-4F7K-22QX").waitFor();
    await expect.poll(() => page.title()).toBe("Paid – Mama Mboga Fresh Produce");
    await page.context().setOffline(true);
    expect(await page.getByText("SLK4H7R6T2").isVisible()).toBe(true);
  });

  it("says so without a network", async () => {
    const { server, page } = await visit();
    server.sent.push({});
    await page.goto(`${server.url}/pay/token`);
    await seeHeading(page, "Check your phone");
    await page.context().setOffline(true);
    await seeHeading(page, "You are offline");
  });

  it("opens the provider's page once, in the tab that sent the form", async () => {
    const { server, page } = await visit();
    const away = "/pay/unavailable";
    const order = orderOf({}, { provider: "bkash", action: { type: "redirect", url: `${server.url}${away}` } });
    server.view = ({ name }) => {
      if (name !== "token") return states[name];
      return server.sent.length > 0 ? { ...states.redirect, order } : states.providers;
    };
    server.current = order;
    const { page: other } = await openPage(browser, phone);
    await page.goto(`${server.url}/pay/token`);
    await page.check("[value=bkash]");
    await page.click("button.primary");
    await page.waitForURL(`**${away}`);
    for (const tab of [page, other]) {
      await tab.goto(`${server.url}/pay/token`);
      await tab.getByRole("link", { name: "Continue to bKash" }).waitFor();
      await tab.locator("main.is-live").waitFor();
    }
    expect([page, other].map((tab) => new URL(tab.url()).pathname)).toEqual(["/pay/token", "/pay/token"]);
  });

  it("replaces the form when late money arrives", async () => {
    const { server, page } = await visit();
    server.view = () => states.expired;
    server.current = states.expired?.order;
    await page.goto(`${server.url}/pay/token`);
    await seeHeading(page, "Time is up");
    server.view = () => states.paid;
    server.current = { ...states.paid?.order, version: 4 } as typeof server.current;
    await seeHeading(page, "Paid");
  });

  it("of another browser is followed by reading the page", async () => {
    const { server, page } = await visit();
    server.view = () => ({ ...states.elsewhere, refreshS: 1 });
    await page.goto(`${server.url}/pay/token`);
    await seeHeading(page, "Payment in progress");
    server.view = () => ({
      ...states["paid-elsewhere"],
      order: orderOf({ status: "succeeded", settled: true, version: 4 }),
    });
    await seeHeading(page, "Already paid");
  });
});

describe("without scripts", () => {
  it("posts the form, reloads until the payment is settled, and shows the results", async () => {
    const { server, page } = await visit({ javaScriptEnabled: false });
    server.view = () => (server.sent.length > 0 ? { ...states.prompt, refreshS: 1 } : states.choose);
    await page.fill("#phone", "0712 345 678");
    await page.press("#phone", "Enter");
    await seeHeading(page, "Check your phone");
    expect(server.sent).toEqual([{ provider: "daraja", phone: "0712 345 678" }]);
    await page.getByRole("link", { name: "Check again" }).waitFor();
    server.view = () => states.paid;
    await seeHeading(page, "Paid");
    await page.getByText("NJN-4F7K-22QX").waitFor();
    await page.getByRole("img", { name: "QR code of this ticket’s code" }).waitFor();
    await page.getByText("SLK4H7R6T2").waitFor();
    await page.getByRole("link", { name: "Back to Mama Mboga Fresh Produce" }).waitFor();
  });

  it("shows a fault at its field, and the reason of a failure above the form", async () => {
    const { server, page } = await visit({ javaScriptEnabled: false });
    server.view = () => states["wrong-phone"];
    await page.fill("#phone", "0712 34");
    await page.press("#phone", "Enter");
    await page.getByText("Check the number. Enter a mobile number such as 0712").waitFor();
    expect(await page.inputValue("#phone")).toBe("0712 34");
    server.view = () => states["failed-insufficient_funds"];
    await page.goto(`${server.url}/pay/token`);
    await seeHeading(page, "Not enough money");
    expect(await page.locator("button.primary").innerText()).toBe("Pay KES 1,500.00");
  });
});
