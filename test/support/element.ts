/** `<order-status>` on a merchant's page, whose own server answers the element's long poll: no node. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { type MerchantPage, openPage, startMerchantPage } from "./browser.ts";
import { eventOf } from "./event.ts";

export const elementOf = (url: string, orderId: string, token: string, more = ""): string =>
  `<order-status url="${url}" order-id="${orderId}" token="${token}" ${more}></order-status>`;

export interface ShownElement {
  page: Page;
  complaints: string[];
  shop: MerchantPage;
  /** Changes the order: the element receives the next version. */
  change(state: Partial<StatusEvent>): void;
}

/** Shows a state, version 3 unless it has another one. `more`: further attributes. */
export async function showElement(
  browser: Browser,
  state: Partial<StatusEvent>,
  { lang = "en", more = "", ...options }: BrowserContextOptions & { lang?: string; more?: string } = {},
): Promise<ShownElement> {
  let event = eventOf({ id: "one", version: 3, ...state });
  let answer = (): void => undefined;
  const shop = await startMerchantPage("http://127.0.0.1");
  shop.lang = lang;
  shop.body = elementOf("/", "ORD-one", "to.k.en", `transports="longpoll" ${more}`);
  shop.answer = (request, response) => {
    answer = () => {
      // Answered already: the next request gets the newer state at once.
      if (response.headersSent) return;
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(event));
    };
    // No newer state: the request stays open until there is one.
    if (!request.url?.includes(`after=${event.version}`)) answer();
  };
  const opened = await openPage(browser, options);
  await opened.page.goto(shop.origin);
  await opened.page.locator("order-status [part=amount]").waitFor();
  return {
    ...opened,
    shop,
    change(next) {
      event = { ...event, version: event.version + 1, ...next };
      answer();
    },
  };
}

/** Sets the style of the whole page, which its policy forbids to do by an attribute, and makes the element render again. */
export const setPageStyle = (page: Page, css: string): Promise<unknown> =>
  page.evaluate(`
    document.documentElement.style.cssText = "${css}";
    document.querySelector("order-status").removeAttribute("time-zone");
    document.querySelector("order-status").setAttribute("time-zone", "Africa/Nairobi");
  `);

/** The faults that axe finds in the element. */
export async function findAxeFaults(page: Page): Promise<string[]> {
  const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  const { violations } = (await page.evaluate(`${axe}; axe.run("order-status")`)) as {
    violations: { id: string; nodes: { html: string }[] }[];
  };
  return violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
}
