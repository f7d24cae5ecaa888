/** Results in `<order-status>`: what a payer has received, in a real browser. */
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import type { Result, StatusEvent } from "../../client-sdk/protocol.ts";
import { openBrowserAndDatabase, openPage, startMerchantPage } from "../support/browser.ts";
import { elementOf, findAxeFaults, setPageStyle, showElement } from "../support/element.ts";
import { apiKey, asMerchant, call, pay, startNode } from "../support/node.ts";
import { scanPng } from "../support/qr.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const ticket: Result = {
  id: "seat-12",
  kind: "ticket",
  title: "Gala night, seat 12",
  code: "TKT-7Q2M-88XD-0012",
  expiresAt: "2026-12-24T20:00:00.000Z",
};
const voucher: Result = { id: "airtime", kind: "voucher", title: "Airtime KES 100", code: "4821 9930 1177 5523" };
const book: Result = { id: "book", kind: "link", title: "Your book", url: "https://books.example/b/7f3a?x=1" };
const pickup: Result = { id: "pickup", kind: "text", title: "Collect it", text: "Counter 3\nuntil 18:00" };

/** A paid order. `sentAt` tells the element the server's time. */
const paidWith = (...results: Result[]): Partial<StatusEvent> => ({
  status: "succeeded",
  settled: true,
  results,
  sentAt: new Date().toISOString(),
});

type Show = Parameters<typeof showElement> extends [Browser, ...infer Rest] ? Rest : never;
const show = (...shown: Show) => showElement(browser, ...shown);

const part = (page: Page, name: string) => page.locator(`order-status [part~="${name}"]`);
const titlesOf = (page: Page): Promise<string[]> => part(page, "result-title").allInnerTexts();
const status = (page: Page) => page.locator("order-status .results-box [role=status]");
const setAttribute = (page: Page, name: string, value: string): Promise<unknown> =>
  page.evaluate(`document.querySelector("order-status").setAttribute("${name}", "${value}")`);

/** The text of the focused element, inside the element's shadow tree. */
const focused = (page: Page): Promise<string> =>
  page.evaluate("document.querySelector('order-status').shadowRoot.activeElement?.textContent ?? ''");

/** Decodes the QR code on the page. It must be black on white. */
const scan = async (page: Page): Promise<string> =>
  scanPng(page.context(), await part(page, "qr").locator("svg").screenshot());

describe("results from a node", () => {
  it("appear, change and go away on the payer's page at once, and the focus stays", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node, { phone: "+254712345601" });
    const shop = await startMerchantPage(node.url);
    shop.body = elementOf(node.url, order.orderId, watchToken);
    const { page, complaints } = await openPage(browser);
    await page.goto(shop.origin);
    await part(page, "title").filter({ hasText: "Paid" }).waitFor({ timeout: 30_000 });
    expect(await part(page, "results").count()).toBe(0);
    const put = (result: Result) => asMerchant(node, `/v1/orders/${order.orderId}/results`, result);
    const remove = ({ id }: Result) =>
      call(`${node.url}/v1/orders/${order.orderId}/results/${id}`, {
        method: "DELETE",
        headers: { authorization: `Bearer ${apiKey}` },
      });

    await put(voucher);
    await part(page, "result-code").filter({ hasText: "4821 9930 1177 5523" }).waitFor();
    await expect.poll(() => status(page).innerText()).toBe("You received: Airtime KES 100");
    await part(page, "copy").focus();

    await put(ticket);
    await part(page, "qr").locator("svg").waitFor();
    expect(await titlesOf(page)).toEqual([voucher.title, ticket.title]);
    expect(await focused(page)).toBe("Copy code");
    expect(await scan(page)).toBe(ticket.code);

    await put({ ...voucher, code: "0000 1111 2222 3333" });
    await part(page, "result-code").filter({ hasText: "0000 1111" }).waitFor();
    expect(await titlesOf(page)).toEqual([voucher.title, ticket.title]);
    expect(await focused(page)).toBe("Copy code");

    await remove(voucher);
    await expect.poll(() => titlesOf(page)).toEqual([ticket.title]);
    // The focused button is gone: the focus stays at the results.
    expect(await focused(page)).toContain(ticket.title);
    await remove(ticket);
    await expect.poll(() => part(page, "results").isVisible()).toBe(false);
    expect(complaints).toEqual([]);
  });
});

describe("result", () => {
  it("has its title, code, text and link, and a QR code only if it is a ticket", async () => {
    const { page, complaints } = await show(paidWith(ticket, voucher, book, pickup));
    await part(page, "qr").locator("svg").waitFor();
    expect(await page.getByRole("heading", { name: "Your purchase" }).count()).toBe(1);
    expect(await page.getByRole("heading", { level: 4 }).allInnerTexts()).toEqual(
      [ticket, voucher, book, pickup].map(({ title }) => title),
    );
    expect(await page.getByRole("img", { name: "QR code of this ticket’s code" }).count()).toBe(1);
    expect(await page.getByRole("button", { name: "Copy code" }).count()).toBe(2);
    const link = page.getByRole("link", { name: "Open books.example" });
    const attributes = ["href", "target", "rel"].map((name) => link.getAttribute(name));
    expect(await Promise.all(attributes)).toEqual([book.url, "_blank", "noopener noreferrer"]);
    expect(await page.getByText("Counter 3").innerText()).toBe("Counter 3\nuntil 18:00");
    expect(complaints).toEqual([]);
  });

  it("of an unknown kind shows the parts that it has", async () => {
    const pass = { ...voucher, kind: "boarding-pass", text: "Gate 4" } as unknown as Result;
    const { page } = await show(paidWith(pass, { id: "x", kind: "other", title: "Only a title" } as unknown as Result));
    expect(await part(page, "result").allInnerTexts()).toEqual([
      expect.stringMatching(/^Airtime KES 100\s+4821 9930 1177 5523\s+Copy code\s+Gate 4$/),
      "Only a title",
    ]);
    expect(await part(page, "qr").locator("svg").count()).toBe(0);
  });

  it.each([
    ["javascript:alert(1)", false],
    ["http://books.example/", false],
    ["data:text/html,hello", false],
    ["//books.example/", false],
    ["HTTPS://books.example/", true],
    ["http://localhost:3000/book", true],
    ["http://localhost.books.example/book", false],
  ])("links to https, and to http on this machine, only: %s", async (url, isLink) => {
    const { page } = await show(paidWith({ ...book, url }));
    await part(page, "result-title").waitFor();
    expect(await page.getByRole("link").count()).toBe(isLink ? 1 : 0);
    expect(await page.getByText(url, { exact: true }).isVisible()).toBe(!isLink);
  });

  it("shows everything from the merchant as text, even if it looks like HTML", async () => {
    const html = "<img src=x onerror=alert(1)>";
    const { page, complaints } = await show(
      paidWith({ id: html, kind: "ticket", title: html, code: html, text: html }),
    );
    await part(page, "qr").locator("svg").waitFor();
    expect(await page.locator("order-status img").count()).toBe(0);
    expect(await scan(page)).toBe(html);
    expect(complaints).toEqual([]);
  });

  it("leaves a gap before the merchant's content", async () => {
    const { page } = await show(paidWith(ticket, pickup));
    await part(page, "qr").locator("svg").waitFor();
    await page.evaluate(`
      const own = document.createElement("a");
      [own.slot, own.textContent] = ["succeeded", "Your tickets"];
      document.querySelector("order-status").append(own);
    `);
    const [last, own] = [page.locator("[part=result]").last(), page.getByText("Your tickets", { exact: true })];
    const [above, below] = [await last.boundingBox(), await own.boundingBox()];
    expect((below?.y ?? 0) - (above?.y ?? 0) - (above?.height ?? 0)).toBeGreaterThanOrEqual(16);
  });

  it("takes the direction of its own letters, not of the page", async () => {
    const arabic = { ...voucher, id: "ar", title: "قسيمة شراء", code: "AB-12" };
    const { page } = await show(paidWith(voucher, arabic));
    await page.evaluate("document.documentElement.dir = 'rtl'");
    await part(page, "result-title").nth(1).waitFor();
    const directionOf = (name: string) =>
      page.evaluate(`[...document.querySelector("order-status").shadowRoot.querySelectorAll(".${name}")].map(
        (node) => getComputedStyle(node).direction,
      )`);
    expect(await directionOf("result-title")).toEqual(["ltr", "rtl"]);
    expect(await directionOf("result-code")).toEqual(["ltr", "ltr"]);
  });

  it("shows until when it is valid in the page's time zone, and turns into an expired one at that time", async () => {
    const state = {
      ...paidWith({ ...ticket, expiresAt: "2030-01-01T21:30:00.000Z" }),
      sentAt: "2030-01-01T21:29:30.000Z",
    };
    const { page } = await show(state, { more: 'time-zone="Africa/Nairobi"' });
    await page.getByText("Valid until Jan 2, 2030, 12:30").waitFor();
    await setAttribute(page, "time-zone", "UTC");
    await page.getByText("Valid until Jan 1, 2030, 9:30").waitFor();
    await page.clock.install({ time: "2026-06-01T00:00:00.000Z" });
    await page.evaluate("sessionStorage.clear()");
    await page.reload();
    await page.getByText("Valid until").waitFor();
    // By the server's clock, however wrong the device's is.
    await page.clock.runFor(31_000);
    await page.getByText("Expired: Jan").waitFor();
    expect(await part(page, "result").getAttribute("class")).toContain("expired");
  });

  it("keeps its elements and its place when it or others change", async () => {
    const { page, change } = await show(paidWith(voucher, pickup));
    await part(page, "result").nth(1).waitFor();
    await page.evaluate(
      "globalThis.first = document.querySelector('order-status').shadowRoot.querySelector('.result')",
    );
    change({ results: [{ ...voucher, title: "Airtime" }, pickup, book] });
    await expect.poll(() => titlesOf(page)).toEqual(["Airtime", pickup.title, book.title]);
    expect(await page.evaluate("first.isConnected")).toBe(true);
    change({ results: [] });
    await expect.poll(() => part(page, "results").isVisible()).toBe(false);
  });

  it("asks for a reload when its files cannot be loaded, for example after an update of the server", async () => {
    const { page, change } = await show({ status: "processing" });
    await page.route(/\/sdk\/result-view/, (route) => route.fulfill({ status: 404 }));
    change({ ...paidWith(voucher), settled: true });
    await page.getByText("This page no longer updates. Please reload it.").waitFor();
    await page.unroute(/\/sdk\/result-view/);
    await page.reload();
    await part(page, "result-code").waitFor();
    expect(await part(page, "note").isVisible()).toBe(false);
  });
});

describe("copy button", () => {
  const paste = async (page: Page): Promise<string> => {
    await page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), { id: 'paste' }))");
    await page.locator("#paste").focus();
    await page.keyboard.press("ControlOrMeta+V");
    return page.locator("#paste").inputValue();
  };

  it("copies the code by keyboard, and announces it once", async () => {
    const { page } = await show(paidWith(voucher), { permissions: ["clipboard-read", "clipboard-write"] });
    await expect.poll(() => status(page).innerText()).toBe("You received: Airtime KES 100");
    await part(page, "copy").focus();
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Copied" }).waitFor();
    expect(await status(page).innerText()).toBe("Copied");
    expect(await page.evaluate("navigator.clipboard.readText()")).toBe(voucher.code);
    await page.getByRole("button", { name: "Copy code" }).waitFor();
    expect(await status(page).innerText()).toBe("");
  });

  it.each([
    ["is missing", "Object.defineProperty(navigator, 'clipboard', { value: undefined })"],
    ["refuses", "navigator.clipboard.writeText = async () => { throw new DOMException('no', 'NotAllowedError'); }"],
  ])("copies where the Clipboard API %s, and the focus stays", async (_name, script) => {
    const { page, complaints } = await show(paidWith(voucher));
    await page.evaluate(script);
    await part(page, "copy").click();
    await page.getByRole("button", { name: "Copied" }).waitFor();
    expect(await focused(page)).toBe("Copied");
    expect(await page.locator("order-status textarea").count()).toBe(0);
    expect(await paste(page)).toBe(voucher.code);
    expect(complaints).toEqual([]);
  });

  it("selects the code where the browser copies nothing", async () => {
    const { page } = await show(paidWith(voucher));
    await page.evaluate(`
      Object.defineProperty(navigator, "clipboard", { value: undefined });
      document.execCommand = () => false;
    `);
    await part(page, "copy").click();
    await page.getByRole("button", { name: "Selected" }).waitFor();
  });
});

describe("QR code", () => {
  it.each([
    ["digits", "light", "light", "1234567890"],
    ["capitals", "dark", "dark", "TKT-7Q2M-88XD-0012"],
    ["other letters", "dark", "light", "টিকিট ১২ ✓"],
    ["the longest code", "light", "light", "x".repeat(255)],
  ] as const)(
    "of %s is scannable at 320 px on a %s page, for a visitor who prefers %s",
    async (_name, css, colorScheme, code) => {
      const { page } = await show(paidWith({ ...ticket, code }), {
        viewport: { width: 320, height: 800 },
        colorScheme,
      });
      await setPageStyle(page, `color-scheme: ${css}`);
      await part(page, "qr").locator("svg").waitFor();
      expect(await scan(page)).toBe(code);
      // The finder pattern begins after 4 modules on each side.
      expect(await part(page, "qr").locator("path").getAttribute("d")).toMatch(/^M4 4h7v1h-7z/);
    },
  );

  it("is loaded only with a ticket", async () => {
    const { page, change } = await show(paidWith(voucher));
    const loaded = () =>
      page.evaluate<string[]>(
        "performance.getEntriesByType('resource').map(({ name }) => name.match(/sdk.(qr)?/)?.[1])",
      );
    await part(page, "result-code").waitFor();
    expect(await loaded()).not.toContain("qr");
    change({ results: [voucher, ticket] });
    await part(page, "qr").locator("svg").waitFor();
    expect(await loaded()).toContain("qr");
  });

  it("that cannot be loaded leaves the code as text", async () => {
    const { page, change } = await show(paidWith());
    await page.route(/\/sdk\/qr-/, (route) => route.abort());
    const failed = page.waitForEvent("requestfailed");
    change({ results: [ticket] });
    await failed;
    await part(page, "result-code").filter({ hasText: "TKT-7Q2M" }).waitFor();
    expect(await part(page, "qr").isVisible()).toBe(false);
  });
});

describe("results on a page", () => {
  const long = {
    ...ticket,
    id: "long",
    title: "W".repeat(120),
    code: "0123456789ABCDEF".repeat(12),
    text: `https://${"x".repeat(200)}.example`,
    expiresAt: "2020-01-01T00:00:00.000Z",
  };
  const local = { ...book, id: "local", url: `http://${"y".repeat(60)}.example/${"z".repeat(300)}` };

  it("fit into 320, 390 and 1440 px and pass axe, in every language, light and dark", async () => {
    const words = { en: "Copy code", "sw-KE": "Nakili msimbo", "bn-BD": "কোড কপি করুন" };
    for (const [lang, copy] of Object.entries(words)) {
      for (const width of [320, 390, 1440]) {
        for (const colorScheme of ["light", "dark"] as const) {
          const { page } = await show(paidWith(ticket, voucher, book, pickup, long, local), {
            viewport: { width, height: 900 },
            colorScheme,
            lang,
          });
          await setPageStyle(page, "color-scheme: light dark");
          await part(page, "qr").locator("svg").nth(1).waitFor();
          await page.getByRole("button", { name: copy }).first().waitFor();
          expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(width);
          expect([lang, width, colorScheme, await findAxeFaults(page)]).toEqual([lang, width, colorScheme, []]);
          if (process.env.PICTURES) {
            await page.screenshot({
              path: `${process.env.PICTURES}/${lang}-${width}-${colorScheme}.png`,
              fullPage: true,
            });
          }
          await page.context().close();
        }
      }
    }
  }, 240_000);

  it("are printed with their codes and addresses, without buttons", async () => {
    const { page } = await show(paidWith(ticket, book));
    await part(page, "qr").locator("svg").waitFor();
    await page.emulateMedia({ media: "print" });
    expect(await page.getByRole("button").count()).toBe(0);
    await page.getByText(ticket.code ?? "").waitFor();
    await page.getByText("https://books.example/b/7f3a?x=1").waitFor();
    expect(await scan(page)).toBe(ticket.code);
  });
});
