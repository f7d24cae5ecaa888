/**
 * `<order-status>` in a real browser, on a page that allows no inline script and no inline style. The texts of each state
 * are tested in presentation.test.ts.
 */

import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type StatusEvent, statuses } from "../../client-sdk/protocol.ts";
import { openBrowserAndDatabase, openPage, startMerchantPage } from "../support/browser.ts";
import { elementOf, findAxeFaults, setPageStyle, showElement } from "../support/element.ts";
import { eventOf } from "../support/event.ts";
import { pay, startNode } from "../support/node.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

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
    expect(await page.locator("[part=text]").innerText()).toContain("07••\u00a0•••\u00a0600");
    expect(await page.locator("[part=left]").innerText()).toMatch(/^\d:\d\d left$/);
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

/** Shows a state without a node. */
const showing = (...shown: Parameters<typeof showElement> extends [Browser, ...infer Rest] ? Rest : never) =>
  showElement(browser, ...shown);

const payment = (more: Partial<StatusEvent["payment"]>): StatusEvent["payment"] => ({
  ...eventOf({ id: "one", version: 1 }).payment,
  ...more,
});

const backgroundOf = (page: Page, part: string): Promise<string> =>
  page.evaluate(`(() => {
    const { shadowRoot } = document.querySelector("order-status");
    return getComputedStyle(shadowRoot.querySelector("[part='${part}']")).backgroundColor;
  })()`);

describe("element without a node", () => {
  it("has a button to try again while the page listens to it on the element, and fires tryagain", async () => {
    const { page } = await showing({ status: "failed", settled: true, reason: "wrong_pin" });
    const button = page.getByRole("button", { name: "Try again" });
    expect(await button.count()).toBe(0);
    await page.evaluate(`
      globalThis.it = document.querySelector("order-status");
      globalThis.tried = [];
      globalThis.listener = ({ detail }) => tried.push(detail.orderId);
      it.addEventListener("tryagain", listener);
    `);
    await button.click();
    expect(await page.evaluate("tried")).toEqual(["ORD-one"]);
    await page.evaluate("it.removeEventListener('tryagain', listener)");
    expect(await button.count()).toBe(0);
    await page.evaluate("it.ontryagain = listener");
    await button.waitFor();
    await page.evaluate("it.ontryagain = null");
    expect(await button.count()).toBe(0);
  });

  it("has that button only while a listener would be called, however it was added", async () => {
    const { page, change } = await showing({ status: "failed", settled: true });
    const button = page.getByRole("button", { name: "Try again" });
    const countAfter = async (code: string): Promise<number> => {
      await page.evaluate(code);
      return button.count();
    };
    await page.evaluate(`
      globalThis.it = document.querySelector("order-status");
      globalThis.tried = 0;
      globalThis.listener = () => (tried += 1);
      globalThis.aborted = new AbortController();
      globalThis.never = new AbortController();
      never.abort();
    `);
    expect(await countAfter("it.addEventListener('tryagain', null)")).toBe(0);
    expect(await countAfter("it.addEventListener('tryagain', listener, { signal: never.signal })")).toBe(0);
    expect(await countAfter("it.addEventListener('tryagain', listener, { signal: aborted.signal })")).toBe(1);
    expect(await countAfter("aborted.abort()")).toBe(0);
    expect(await countAfter("it.addEventListener('tryagain', listener, { once: true })")).toBe(1);
    await button.click();
    expect(await page.evaluate("tried")).toBe(1);
    expect(await button.count()).toBe(0);
    // The same function is another listener after it was removed, or for the capturing phase.
    await page.evaluate("it.addEventListener('tryagain', listener, { once: true })");
    await page.evaluate("it.removeEventListener('tryagain', listener)");
    await page.evaluate("it.addEventListener('tryagain', listener); it.addEventListener('tryagain', listener, true)");
    expect(await countAfter("it.removeEventListener('tryagain', listener, { capture: true })")).toBe(1);
    change({});
    await page.locator("[part~=button]:not([aria-disabled=true])").click();
    expect(await page.evaluate("tried")).toBe(2);
    expect(await button.count()).toBe(1);
  });

  it("fires tryagain once for several presses, until the state changes or after 5 s", async () => {
    const { page, change } = await showing({ status: "failed", settled: true });
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 60_000);
    await page.evaluate("globalThis.tried = 0; document.querySelector('order-status').ontryagain = () => (tried += 1)");
    const press = (times: number): Promise<unknown> =>
      page.evaluate(`(() => {
        const button = document.querySelector("order-status").shadowRoot.querySelector("[part~=button]");
        for (let left = ${times}; left > 0; left -= 1) button.click();
      })()`);
    const disabled = page.locator("[part~=button][aria-disabled=true]");
    await press(5);
    expect(await page.evaluate("tried")).toBe(1);
    expect(await disabled.count()).toBe(1);
    // Another watch of the same state, for example with a fresh token.
    await page.evaluate("document.querySelector('order-status').setAttribute('token', 'fresh')");
    await title(page, "Payment failed");
    expect(await disabled.count()).toBe(1);
    change({ reason: "busy" });
    await title(page, "Your phone was busy");
    expect(await disabled.count()).toBe(0);
    await press(2);
    expect(await page.evaluate("tried")).toBe(2);
    await page.clock.runFor(4_999);
    await press(1);
    expect(await page.evaluate("tried")).toBe(2);
    await page.clock.runFor(1);
    expect(await disabled.count()).toBe(0);
    await press(1);
    expect(await page.evaluate("tried")).toBe(3);
  });

  it("keeps the button busy while ontryagain's promise is pending, and says when it rejects", async () => {
    const { page, change } = await showing({ status: "failed", settled: true });
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 60_000);
    await page.evaluate(`
      globalThis.tried = 0;
      document.querySelector("order-status").ontryagain = () =>
        new Promise((...settle) => ([globalThis.succeed, globalThis.fail] = settle, (tried += 1)));
    `);
    const button = page.getByRole("button", { name: "Try again" });
    const busy = page.locator("[part~=button][aria-busy=true][aria-disabled=true]");
    const failure = page.locator("[role=status] [part=failure]");
    await button.click();
    await page.clock.runFor(60_000);
    await button.click({ force: true });
    expect(await page.evaluate("tried")).toBe(1);
    expect(await busy.count()).toBe(1);
    expect(await failure.isVisible()).toBe(false);
    await page.evaluate("fail(new Error('no'))");
    await failure.getByText("That did not work. Try again in a moment.").waitFor();
    expect(await busy.count()).toBe(0);
    await button.click();
    expect(await page.evaluate("tried")).toBe(2);
    expect(await failure.isVisible()).toBe(false);
    expect(await busy.count()).toBe(1);
    change({ reason: "declined" });
    await title(page, "Payment declined");
    expect(await busy.count()).toBe(0);
    // The answer belongs to an earlier state.
    await page.evaluate("fail(new Error('late'))");
    expect(await failure.isVisible()).toBe(false);
    await page.evaluate("document.querySelector('order-status').ontryagain = () => { throw new Error('at once'); }");
    await button.click();
    await failure.waitFor();
  });

  it("may wait without attributes for its payment while it is hidden, and reports them 3 s after it is shown", async () => {
    const { page, shop, complaints } = await showing({ status: "failed", settled: true });
    shop.body = '<section hidden><order-status url="/"></order-status></section>';
    await page.clock.install();
    await page.goto(shop.origin);
    await page.waitForFunction("customElements.get('order-status')");
    await page.clock.runFor(60_000);
    const missing = (): number => complaints.filter((text) => text.includes("has no order-id")).length;
    expect(missing()).toBe(0);
    await page.evaluate("document.querySelector('section').hidden = false");
    await page.clock.runFor(3_000);
    await title(page, "Payment cannot be shown");
    await expect.poll(missing).toBe(1);
  });

  it("reports a missing attribute to the developer and the page after 3 s, and recovers when it is set", async () => {
    const { page, shop, complaints } = await showing({ status: "failed", settled: true });
    shop.body = '<order-status url="/" orderId="ORD-one" transports="longpoll"></order-status>';
    await page.clock.install();
    await page.goto(shop.origin);
    await title(page, "One moment");
    await page.evaluate("addEventListener('watcherror', ({ detail }) => (globalThis.code = detail.code))");
    await page.clock.runFor(3_000);
    await title(page, "Payment cannot be shown");
    expect(await page.evaluate("code")).toBe("attribute_missing");
    const missing = "has no order-id, and no token or refreshToken";
    await expect.poll(() => complaints.filter((text) => text.includes(missing)).length).toBe(1);
    await page.evaluate("document.querySelector('order-status').setAttribute('order-id', 'ORD-one')");
    await page.evaluate("document.querySelector('order-status').refreshToken = () => 'fr.es.h'");
    await title(page, "Payment failed");
  });

  it("tells the developer that its url ends too late, and that its token is an API key", async () => {
    const { page, shop, complaints } = await showing({ status: "failed", settled: true });
    shop.answer = (_request, response) =>
      void response.writeHead(404, { "content-type": "application/json" }).end('{"code":"route_unknown"}');
    await page.evaluate("document.querySelector('order-status').setAttribute('url', '/v1')");
    await expect.poll(() => complaints.join()).toContain('without "/v1"');
    expect(complaints.join()).not.toContain("API key");
    await page.evaluate("document.querySelector('order-status').setAttribute('token', 'tk_secret')");
    await expect.poll(() => complaints.join()).toContain("Never put the API key into a page");
    expect(complaints.join()).not.toContain("tk_secret");
  });

  it("has a link to try again with retry-url, and only for http and https", async () => {
    const at = (url: string) => showing({ status: "failed", settled: true }, { more: `retry-url="${url}"` });
    const { page, shop } = await at("/pay?again=1");
    const link = page.getByRole("link", { name: "Try again" });
    expect(await link.getAttribute("href")).toBe(`${shop.origin}/pay?again=1`);
    const evil = await at("javascript:alert(1)");
    await title(evil.page, "Payment failed");
    expect(await evil.page.getByRole("link").count()).toBe(0);
  });

  it("uses properties that the page set before the element was registered", async () => {
    const { page } = await showing({ status: "failed", settled: true });
    await page.evaluate(`(() => {
      const early = document.createElement("other-status");
      early.ontryagain = () => undefined;
      early.refreshToken = async () => "fresh";
      customElements.define("other-status", class extends customElements.get("order-status") {});
      document.body.append(early);
      for (const name of ["url", "order-id", "transports"]) early.setAttribute(name, it(name));
      function it(name) { return document.querySelector("order-status").getAttribute(name); }
    })()`);
    await page.locator("other-status").getByRole("button", { name: "Try again" }).waitFor();
  });

  it("counts down by the server's clock, however wrong the device's clock is", async () => {
    for (const hours of [-30, 30]) {
      // 40 s of two minutes have passed.
      const event = { status: "processing", sentAt: "2026-11-20T21:00:40.000Z" } as const;
      const { page } = await showing(event);
      await page.clock.setFixedTime(Date.parse("2026-11-20T21:00:40.000Z") + hours * 3_600_000);
      await page.evaluate("sessionStorage.clear()");
      await page.reload();
      const left = page.locator("[part=left]");
      await left.waitFor();
      expect(await left.innerText()).toBe("1:20 left");
      // A reload shows the stored state first, and no time before the server has stated its own.
      await page.reload();
      await left.waitFor();
      expect(await left.innerText()).toBe("1:20 left");
    }
  });

  it("shows one clock: the time left, or how long the payer has waited", async () => {
    const { page } = await showing({ status: "processing", sentAt: "2026-11-20T21:00:40.000Z" });
    await page.locator("[part=left]").waitFor();
    expect(await page.locator("[part=waited]").isVisible()).toBe(false);
    const late = await showing({ status: "processing", sentAt: "2026-11-20T21:02:40.000Z" });
    await title(late.page, "Still waiting");
    expect(await late.page.locator("[part=waited]").innerText()).toMatch(/^Waiting for 2:4\d$/);
    expect(await late.page.locator("[part=left]").isVisible()).toBe(false);
  });

  it("asks for a while after the time is up whether the payer entered a PIN", async () => {
    const { page } = await showing(
      { status: "expired", settled: true, reason: "deadline", sentAt: "2026-11-20T21:00:01.000Z" },
      { more: 'retry-url="/pay"' },
    );
    await page.getByText("Did you enter your PIN?").waitFor();
    expect(await backgroundOf(page, "action link")).toBe("rgba(0, 0, 0, 0)");
    const late = await showing(
      { status: "expired", settled: true, reason: "deadline", sentAt: "2026-11-20T21:00:31.000Z" },
      { more: 'retry-url="/pay"' },
    );
    await title(late.page, "Time is up");
    expect(await late.page.getByText("Did you enter your PIN?").isVisible()).toBe(false);
  });

  it("shows at once that the device is offline, until a state shows the opposite", async () => {
    const { page, shop } = await showing({ status: "processing" });
    await title(page, "Waiting for your payment");
    await page.context().setOffline(true);
    await title(page, "You are offline");
    expect(await page.locator("[part=text]").innerText()).toContain("approve it with M");
    await page.context().setOffline(false);
    await title(page, "Waiting for your payment");
    expect(shop.origin).toBeTruthy();
  });

  it("keeps no long poll open while the page is hidden, so that many tabs leave connections to each other", async () => {
    const { page, shop, change } = await showing({ status: "processing" });
    const requests: string[] = [];
    const { answer } = shop;
    shop.answer = (request, response) => {
      requests.push(
        new URL(request.url ?? "", shop.origin).search.replace(/^.*after=/, "").replace(/&.*timeout=/, ":"),
      );
      answer?.(request, response);
    };
    const show = (visibility: "hidden" | "visible"): Promise<unknown> =>
      page.evaluate(`
        Object.defineProperty(document, "visibilityState", { value: "${visibility}", configurable: true });
        document.dispatchEvent(new Event("visibilitychange"));
      `);
    await page.reload();
    await expect.poll(() => requests).toEqual(["0:1", "3:25"]);
    await page.clock.install();
    await page.clock.pauseAt(Date.now() + 60_000);
    await show("hidden");
    change({ reason: "busy" });
    await expect.poll(() => page.evaluate("document.querySelector('order-status').snapshot.event.version")).toBe(4);
    await page.clock.runFor(9_999);
    expect(requests).toHaveLength(2);
    await page.clock.runFor(1);
    await expect.poll(() => requests.slice(2)).toEqual(["4:1"]);
    await show("visible");
    await expect.poll(() => requests.slice(3)).toEqual(["0:1", "4:25"]);
  });

  it("fetches the first token too if the page has none", async () => {
    const { page, shop } = await showing({ status: "processing" });
    const { answer } = shop;
    const tokens: (string | undefined)[] = [];
    shop.answer = (request, response) => {
      tokens.push(request.headers.authorization);
      return answer?.(request, response);
    };
    shop.body = shop.body.replace('token="to.k.en"', 'token=""');
    await page.evaluate("sessionStorage.clear()");
    await page.reload();
    await title(page, "One moment");
    await page.evaluate("document.querySelector('order-status').refreshToken = async () => 'fresh'");
    await title(page, "Waiting for your payment");
    expect(tokens[0]).toBe("Bearer fresh");
  });

  it("notifies the page of a stored state when the server confirms it, and once", async () => {
    const { page } = await showing({ status: "processing" });
    await page.context().addInitScript(`
      globalThis.versions = [];
      addEventListener("statuschange", ({ detail }) => versions.push(detail.version));
    `);
    await page.route(/\/v1\//, (route) => route.abort());
    await page.reload();
    await title(page, "Waiting for your payment");
    expect(await page.evaluate("versions")).toEqual([]);
    await page.unroute(/\/v1\//);
    await expect.poll(() => page.evaluate("versions")).toEqual([3]);
  });

  it("shows no remembered state of a payment that the server refuses to show", async () => {
    const { page, shop } = await showing({ status: "processing" });
    shop.answer = (_request, response) =>
      response.writeHead(401, { "content-type": "application/problem+json" }).end('{"code":"token_invalid"}');
    await page.reload();
    await title(page, "Payment cannot be shown");
    expect(await page.locator("order-status section").innerText()).toBe(
      "Payment cannot be shown\n\nThis page is no longer valid. Please go back to the shop.",
    );
  });

  it("shows the merchant, the item, the payer's number and a contact", async () => {
    const action = { type: "prompt", phone: "+2547*****678" } as const;
    const more = 'merchant="Mama Njeri" item="2 tickets" phone="0712345678" contact="help@shop.example"';
    const { page } = await showing({ payment: payment({ action }) }, { more });
    await title(page, "Check your phone");
    expect(await page.locator("[part=text]").innerText()).toContain("0712\u00a0•••\u00a0678");
    expect(await page.locator("[part=merchant], [part=item]").allInnerTexts()).toEqual(["Mama Njeri", "2 tickets"]);
    const review = await showing({ status: "review", settled: true }, { more });
    const link = review.page.getByRole("link", { name: "help@shop.example" });
    expect(await link.getAttribute("href")).toBe("mailto:help@shop.example");
  });

  it("shares the receipt, or prints the page where the browser cannot share", async () => {
    const paid = { status: "succeeded", settled: true, payment: payment({ receipt: "NLJ7RT61SV" }) } as const;
    const { page } = await showing(paid, { more: 'merchant="Mama Njeri"' });
    for (const canShare of [true, false]) {
      await page.evaluate(`
        globalThis.done = [];
        globalThis.print = () => done.push("print");
        if (${canShare}) navigator.share = async ({ text }) => done.push(text);
        else Reflect.deleteProperty(navigator, "share");
        document.querySelector("order-status").setAttribute("item", "${canShare}");
      `);
      await page.getByRole("button", { name: canShare ? "Share receipt" : "Print receipt" }).click();
      const done = await page.evaluate<string[]>("done");
      expect(done).toEqual([canShare ? expect.stringMatching(/^Mama Njeri\n.*Receipt: NLJ7RT61SV/s) : "print"]);
    }
    await page.emulateMedia({ media: "print" });
    expect(await page.getByRole("button").count()).toBe(0);
    await page.getByText("NLJ7RT61SV").waitFor();
  });

  it("is as light or dark as the page on which it stands", async () => {
    const { page } = await showing({ status: "review", settled: true }, { colorScheme: "dark" });
    const background = (): Promise<string> => backgroundOf(page, "card");
    const [white, dark] = ["rgb(255, 255, 255)", "rgb(21, 24, 31)"];
    // The page says nothing, so it is white, though the visitor prefers dark.
    expect(await background()).toBe(white);
    for (const [css, color] of [
      ["background: #111", dark],
      ["background: #111; color-scheme: light", white],
      ["background: rgba(0, 0, 0, 0.1)", white],
      ["color-scheme: dark", dark],
      ["color-scheme: light dark", dark],
    ] as const) {
      await setPageStyle(page, css);
      expect([css, await background()]).toEqual([css, color]);
    }
    await page.evaluate(`
      const meta = document.createElement("meta");
      [meta.name, meta.content] = ["color-scheme", "light dark"];
      document.head.append(meta);
    `);
    await setPageStyle(page, "background: Canvas");
    expect(await background()).toBe(dark);
    // CSS has precedence.
    await setPageStyle(page, "color-scheme: only light");
    expect(await background()).toBe(white);
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
    const looks = [
      { lang: "en", colorScheme: "light" },
      { lang: "sw-KE", colorScheme: "dark" },
      { lang: "bn-BD", colorScheme: "light" },
    ] as const;
    const titles = new Set<string>();
    const more = 'merchant="Mama Njeri" item="2 tickets" contact="+254700000000" retry-url="/"';
    for (const { lang, colorScheme } of looks) {
      for (const status of statuses) {
        const isOpen = status === "pending" || status === "processing";
        const action = { type: "prompt", phone: "+2547*****678" } as const;
        const { page } = await showing(
          { status, settled: !isOpen, payment: payment({ receipt: "NLJ7RT61SV", action }) },
          { viewport: { width: 320, height: 800 }, colorScheme, lang, more },
        );
        await setPageStyle(page, "color-scheme: light dark");
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(320);
        titles.add(await page.locator("[part=title]").innerText());
        expect(await findAxeFaults(page)).toEqual([]);
        await page.context().close();
      }
    }
    expect(titles.size).toBe(looks.length * statuses.length);
  }, 120_000);
});
