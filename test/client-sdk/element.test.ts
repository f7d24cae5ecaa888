/**
 * `<order-status>` in a real browser, on a page that allows no inline script and no inline style. The texts of each state
 * are tested in presentation.test.ts.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type StatusEvent, statuses } from "../../client-sdk/protocol.ts";
import { openBrowserAndDatabase, openPage, startMerchantPage } from "../support/browser.ts";
import { eventOf } from "../support/event.ts";
import { pay, startNode } from "../support/node.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const elementOf = (url: string, orderId: string, token: string, more = ""): string =>
  `<order-status url="${url}" order-id="${orderId}" token="${token}" ${more}></order-status>`;

/** Waits until the title contains the text. */
const title = (page: Page, text: string | RegExp) =>
  page.locator("order-status [part=title]").filter({ hasText: text }).waitFor({ timeout: 30_000 });

describe("element with a node", () => {
  it("shows what to do, then the receipt, and fires an event for every state, over Socket.IO", async () => {
    const node = await startNode({ databaseUrl });
    const { order, watchToken } = await pay(node, { phone: "+254712345600" });
    const shop = await startMerchantPage(node.url);
    shop.body = elementOf(node.url, order.orderId, watchToken);
    const { page, complaints } = await openPage(browser);
    await page.goto(shop.origin);
    await title(page, "Check your phone");
    expect(await page.locator("[part=text]").innerText()).toContain("+2547*****600");
    expect(await page.locator("[part=left]").innerText()).toMatch(/^0:0\d left$/);
    expect(await page.locator("[part=test]").innerText()).toContain("Test payment");
    expect(await page.locator("[part=amount]").innerText()).toMatch(/^KES\s150\.00$/);
    // The listener is added before anything changes.
    await page.evaluate("addEventListener('statuschange', ({ detail }) => { globalThis.received = detail; })");
    const prompts = await (await fetch(`${node.url}/sandbox/phone/+254712345600/prompts`)).json();
    await fetch(`${node.url}/sandbox/phone/prompts/${(prompts as { prompts: { id: string }[] }).prompts[0]?.id}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ answer: "approve" }),
    });
    await title(page, "Paid");
    const received = () => page.evaluate<StatusEvent>("received");
    await expect.poll(received).toMatchObject({ orderId: order.orderId, status: "succeeded" });
    const event = await received();
    expect(await page.locator("[part=detail]").innerText()).toContain(event.payment.receipt);
    expect(await page.evaluate("document.querySelector('order-status').snapshot.transport")).toBe("socketio");
    expect(complaints).toEqual([]);
  });

  it("stops watching when it is removed from the page, and starts when it is added again or gets another order", async () => {
    const node = await startNode({ databaseUrl });
    const one = await pay(node, { phone: "+254712345601" });
    const two = await pay(node, { phone: "+254712345602" });
    const shop = await startMerchantPage(node.url);
    shop.body = elementOf(node.url, one.order.orderId, one.watchToken, 'transports="websocket longpoll"');
    const { page } = await openPage(browser);
    await page.goto(shop.origin);
    await title(page, "Paid");
    expect(node.watchedOrders()).toBe(1);
    await page.evaluate("globalThis.it = document.querySelector('order-status'); it.remove()");
    await vi.waitUntil(() => node.watchedOrders() === 0);
    await page.evaluate("document.body.append(it)");
    await vi.waitUntil(() => node.watchedOrders() === 1);
    await page.evaluate(
      ([orderId, token]) => {
        const { it } = globalThis as unknown as { it: { setAttribute(name: string, value: string): void } };
        it.setAttribute("order-id", orderId ?? "");
        it.setAttribute("token", token ?? "");
      },
      [two.order.orderId, two.watchToken],
    );
    await title(page, "Payment cancelled");
    expect(node.watchedOrders()).toBe(1);
  });
});

/** Shows a state without a node: the test's own server answers the long poll. */
async function showing(state: Partial<StatusEvent>, options: Parameters<typeof openPage>[1] = {}, lang = "en") {
  const event = eventOf({ id: "one", version: 3, ...state });
  const shop = await startMerchantPage("http://127.0.0.1");
  shop.lang = lang;
  shop.body = elementOf("/", "ORD-one", "token", 'transports="longpoll"');
  shop.answer = (request, response) => {
    if (request.url?.includes(`after=${event.version}`)) return; // No newer state: the request stays open.
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(event));
  };
  const opened = await openPage(browser, options);
  await opened.page.goto(shop.origin);
  await opened.page.locator("order-status [part=amount]").waitFor();
  return { ...opened, shop };
}

const payment = (more: Partial<StatusEvent["payment"]>): StatusEvent["payment"] => ({
  ...eventOf({ id: "one", version: 1 }).payment,
  ...more,
});

describe("element without a node", () => {
  it("fires tryagain on the page when the payer presses the button", async () => {
    const { page } = await showing({ status: "failed", settled: true, reason: "wrong_pin" });
    await page.evaluate("document.addEventListener('tryagain', ({ detail }) => { globalThis.tried = detail.orderId })");
    await page.getByRole("button", { name: "Try again" }).click();
    expect(await page.evaluate("globalThis.tried")).toBe("ORD-one");
  });

  it("calls refreshToken though the page set it after the element was created", async () => {
    const { page, shop } = await showing({ status: "processing" });
    const { answer } = shop;
    shop.answer = (request, response) => {
      if (request.headers.authorization === "Bearer fresh") return answer?.(request, response);
      const body = JSON.stringify({ code: "token_expired" });
      return response.writeHead(401, { "content-type": "application/problem+json" }).end(body);
    };
    await page.evaluate("sessionStorage.clear()");
    await page.reload();
    await title(page, "Payment cannot be shown");
    // The watch starts in a microtask. refreshToken is set after that and before any answer can arrive.
    await page.evaluate(`(async () => {
      const it = document.querySelector("order-status");
      it.setAttribute("token", "other");
      await undefined;
      it.refreshToken = async () => "fresh";
    })()`);
    await title(page, "Waiting for your payment");
  });

  it("links to the provider's page, and only to http and https URLs", async () => {
    const at = (url: string) => showing({ payment: payment({ provider: "bkash", action: { type: "redirect", url } }) });
    const { page } = await at("https://bkash.example/pay?id=1");
    const link = page.getByRole("link", { name: "Continue to bKash" });
    expect(await link.getAttribute("href")).toBe("https://bkash.example/pay?id=1");
    const evil = await at("javascript:alert(1)");
    expect(await evil.page.getByRole("link").count()).toBe(0);
  });

  it("shows everything from the server as text, even if it looks like HTML", async () => {
    const { page, complaints } = await showing({
      orderId: "<img src=x onerror=alert(1)>",
      status: "succeeded",
      settled: true,
      payment: payment({ receipt: "<b>bold</b>" }),
    });
    expect(await page.locator("[part=detail]").innerText()).toContain("<b>bold</b>");
    expect(await page.locator("order-status img, order-status b").count()).toBe(0);
    expect(complaints).toEqual([]);
  });

  it("shows the last state in the first paint after a reload without a network", async () => {
    const { page } = await showing({ status: "review", settled: true });
    await title(page, "Being checked");
    await page.route(/\/v1\//, (route) => route.abort());
    await page.reload();
    await title(page, "Being checked");
  });

  it("shows the merchant's content for the current status only", async () => {
    const { page, shop } = await showing({ status: "succeeded", settled: true });
    shop.body = shop.body.replace("></", "><a slot=succeeded href=/tickets>Tickets</a><p slot=failed>Sorry</p></");
    await page.reload();
    await page.getByText("Tickets").waitFor();
    expect(await page.getByText("Sorry").isVisible()).toBe(false);
  });

  it("fits into 320 px, passes axe and shows its state, in every language, light and dark", async () => {
    const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
    const looks = [
      { lang: "en", colorScheme: "light" },
      { lang: "sw-KE", colorScheme: "dark" },
      { lang: "bn-BD", colorScheme: "light" },
    ] as const;
    const titles = new Set<string>();
    for (const { lang, colorScheme } of looks) {
      for (const status of statuses) {
        const isOpen = status === "pending" || status === "processing";
        const action = { type: "prompt", phone: "+2547*****678" } as const;
        const { page } = await showing(
          { status, settled: !isOpen, payment: payment({ receipt: "NLJ7RT61SV", action }) },
          { viewport: { width: 320, height: 800 }, colorScheme },
          lang,
        );
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(320);
        titles.add(await page.locator("[part=title]").innerText());
        const { violations } = (await page.evaluate(`${axe}; axe.run("order-status")`)) as {
          violations: { id: string; nodes: { html: string }[] }[];
        };
        expect(violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)).toEqual([]);
        await page.context().close();
      }
    }
    expect(titles.size).toBe(looks.length * statuses.length);
  }, 120_000);
});
