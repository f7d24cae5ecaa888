/** The error page of a node in a real browser. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { startNode } from "../support/node.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

describe("an address without a page", () => {
  it.each([
    ["en-GB", "light", "/nowhere", "Page not found", "rgb(247, 244, 238)"],
    ["sw-TZ", "dark", "/v1/plans/PLAN-1/pay", "Anwani hii si ukurasa", "rgb(18, 17, 14)"],
    ["bn-BD", "light", "/v1/orders", "পাতাটি দেখানো যাচ্ছে না", "rgb(247, 244, 238)"],
  ] as const)(
    "shows a payer in %s and %s a styled page within 320 px",
    async (locale, colorScheme, path, title, paper) => {
      const { url } = await startNode({ databaseUrl });
      const viewport = { width: 320, height: 568 };
      const { page, complaints } = await openPage(browser, { locale, colorScheme, viewport });
      await page.goto(url + path);
      expect(await page.textContent("h1")).toBe(title);
      expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe(paper);
      expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(320);
      // The policy blocks nothing of the page.
      expect(complaints.filter((text) => !text.includes("the server responded with a status of"))).toEqual([]);
    },
  );

  it("is not shown for a path with a slash too many: the browser finds the page", async () => {
    const { url } = await startNode({ databaseUrl });
    const { page } = await openPage(browser);
    await page.goto(`${url}/docs/?a=1`);
    expect(page.url()).toBe(`${url}/docs?a=1`);
  });

  it("has an icon, as every address has for browsers that show no SVG", async () => {
    const { url } = await startNode({ databaseUrl });
    const answer = await fetch(`${url}/favicon.ico`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([200, "image/png"]);
    const { page, complaints } = await openPage(browser);
    await page.goto(`${url}/nowhere`);
    const size = `new Promise((resolve, reject) => {
      const image = Object.assign(new Image(), { src: document.querySelector("link[rel=icon]").href, onerror: reject });
      image.onload = () => resolve(image.naturalWidth > 0);
    })`;
    expect(await page.evaluate(size)).toBe(true);
    expect(complaints.filter((text) => !text.includes("the server responded with a status of"))).toEqual([]);
  });

  it("is a problem for the script of a page", async () => {
    const { url } = await startNode({ databaseUrl });
    const { page } = await openPage(browser);
    await page.goto(`${url}/docs`);
    const type = await page.evaluate("fetch('/nowhere').then(({ headers }) => headers.get('content-type'))");
    expect(type).toMatch(/^application\/problem\+json/);
  });
});
