/** How the checkout page looks in each of its states, in every language, light and dark, narrow and wide. */
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { contrast } from "../../server/page/colour.ts";
import { qrPng } from "../../server/page/qr.ts";
import { renderCheckout } from "../../server/payment-link/page/checkout.ts";
import type { CheckoutView } from "../../server/payment-link/page-view.ts";
import { violationsOf } from "../support/axe.ts";
import { launchBrowser, openPage } from "../support/browser.ts";
import { startCheckout, states, viewOf } from "../support/checkout.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launchBrowser();
  return () => browser.close();
}, 300_000);

const widths = [320, 390, 1440];

/** The states whose order `<order-status>` shows. */
const isLive = ({ watch, canPay }: Partial<CheckoutView>): boolean => watch !== undefined && canPay === false;

describe("checkout page", () => {
  it.each(["en", "sw", "bn"])(
    "fits and has no accessibility fault in any state: %s",
    async (lang) => {
      const server = await startCheckout();
      const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 700 } });
      const found: Record<string, unknown[]> = {};
      for (const [name, view] of [...Object.entries(states), ["no-such-link", {}] as const]) {
        server.current = view.order;
        await page.goto(`${server.url}/pay/${name}?lang=${lang}`);
        if (isLive(view)) await page.locator("main.is-live").waitFor();
        found[name] = await violationsOf(page);
        for (const width of widths) {
          await page.setViewportSize({ width, height: 700 });
          const shown = await page.evaluate("document.documentElement.scrollWidth");
          if (shown !== width) found[name].push(`${shown} px wide at ${width} px`);
        }
      }
      expect(found).toEqual(Object.fromEntries(Object.keys(found).map((name) => [name, []])));
      // The server has no Socket.IO, and one address is unknown.
      expect(complaints.filter((text) => !/404/.test(text))).toEqual([]);
    },
    300_000,
  );

  it.each(["#ffdd00", "#fefefe", "#101010", "#0b5fa5", "#777777"])(
    "stays readable in the shop's colour: %s",
    async (colour) => {
      const server = await startCheckout();
      const { page } = await openPage(browser, { viewport: { width: 390, height: 844 } });
      server.view = () => ({ ...states.paid, shop: { name: "Shop", colour }, canPay: false });
      server.current = states.paid?.order;
      await page.goto(`${server.url}/pay/token`);
      await page.locator("main.is-live").waitFor();
      expect(await violationsOf(page)).toEqual([]);
      server.view = () => ({ ...states.providers, shop: { name: "Shop", colour } });
      await page.goto(`${server.url}/pay/token`);
      expect(await violationsOf(page)).toEqual([]);
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        const edges = (await page.evaluate(`(() => {
          const hex = (text) => "#" + text.match(/\\d+/g).slice(0, 3).map((part) => Number(part).toString(16).padStart(2, "0")).join("");
          const at = (selector) => getComputedStyle(document.querySelector(selector));
          return [at(".primary").borderTopColor, at(".card").backgroundColor].map(hex);
        })()`)) as [string, string];
        expect(contrast(...edges)).toBeGreaterThanOrEqual(3);
      }
    },
    60_000,
  );

  it("shows the shop's logo from its address, which learns nothing of the page", async () => {
    const requests: IncomingHttpHeaders[] = [];
    const logos = createServer(({ headers }, response) => {
      requests.push(headers);
      response.writeHead(200, { "content-type": "image/png" }).end(qrPng("logo"));
    });
    await new Promise<void>((resolve) => logos.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void logos.close());
    const { port } = logos.address() as AddressInfo;
    const server = await startCheckout();
    server.view = () => ({ shop: { name: "Shop", logoUrl: `http://127.0.0.1:${port}/logo.png` } });
    const { page, complaints } = await openPage(browser, { viewport: { width: 320, height: 700 } });
    await page.goto(`${server.url}/pay/token`);
    await expect.poll(() => page.evaluate("document.querySelector('.shop img').naturalWidth")).toBeGreaterThan(0);
    expect(await page.evaluate("document.querySelector('.shop img').offsetHeight")).toBeLessThanOrEqual(44);
    expect(requests).toHaveLength(1);
    expect(requests[0]).not.toHaveProperty("referer");
    expect(await violationsOf(page)).toEqual([]);
    expect(complaints).toEqual([]);
  });

  it("writes data as text, and links to web pages only", () => {
    const evil = `"><script>alert(1)</script>`;
    const html = renderCheckout(
      viewOf({
        ...states.paid,
        shop: { name: evil, contact: evil, colour: `#000000}body{display:none` },
        paymentLink: {
          description: evil,
          items: [{ name: evil, quantity: 1, unitAmountMinor: 100 }],
          currency: "KES",
          amountMinor: 100,
          status: "open",
          isReusable: false,
        },
        returnUrl: "javascript:alert(1)",
        fault: { code: "internal", values: { phone: evil, amount: evil, provider: evil } },
      }),
    );
    expect(html).not.toContain("<script>");
    expect(html).not.toContain("javascript:");
    expect(html).not.toContain("display:none}");
  });

  it("shows no number, receipt or result of a payment that another browser made", () => {
    const { watch: _watch, ...paid } = { ...states.paid };
    const html = renderCheckout(viewOf(paid));
    for (const secret of ["SLK4H7R6T2", "NJN-4F7K-22QX"]) expect(html).not.toContain(secret);
    const { watch: _other, ...waiting } = { ...states.prompt };
    expect(renderCheckout(viewOf(waiting))).not.toContain("678.");
    expect(renderCheckout(viewOf(waiting))).toContain("Payment in progress");
    const { watch: _mine, ...failed } = { ...states["failed-insufficient_funds"] };
    expect(renderCheckout(viewOf(failed))).toContain("Not paid yet");
    expect(renderCheckout(viewOf(failed))).not.toContain("Not enough money");
  });
});
