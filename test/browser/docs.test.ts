/** `/docs` in a browser: with the API key of development, and without one where an operator chose the keys. */
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it } from "vitest";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { apiKey } from "../support/node.ts";
import { startTestProcess } from "../support/process.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

const keyOf = async (url: string, headers: Record<string, string> = {}): Promise<unknown> =>
  (await fetch(`${url}/docs/key`, { headers })).json();

describe("the API docs page", () => {
  it("calls a route with the key that the node created in development", async () => {
    const { url, output } = await startTestProcess({ DATABASE_URL: databaseUrl, TUKIO_API_KEY: "" });
    const { page, complaints } = await openPage(browser);
    await page.goto(`${url.replace("127.0.0.1", "localhost")}/docs`);
    await page.getByText("the API key of development is filled in").waitFor();
    const operation = page.locator("#operations-Providers-listProviders");
    await operation.locator(".opblock-summary-control").click();
    await operation.getByRole("button", { name: "Try it out" }).click();
    await operation.getByRole("button", { name: "Execute" }).click();
    await operation.locator(".live-responses-table .response-col_status", { hasText: "200" }).waitFor();
    expect(complaints).toEqual([]);
    const tags = await page.locator(".opblock-tag-section h3").allTextContents();
    expect(tags.findIndex((tag) => tag.startsWith("Called by providers"))).toBe(tags.length - 2);

    // The key is for browsers on this machine, and for the page of this node.
    const [, created] = /API key +(\S+)/.exec(output()) ?? [];
    expect(await keyOf(url)).toEqual({ key: created });
    expect(await keyOf(url, { "x-forwarded-for": "203.0.113.9" })).toEqual({ key: null });
    expect(await keyOf(url, { forwarded: "for=203.0.113.9" })).toEqual({ key: null });
    const { headers } = await fetch(`${url}/docs/key`, { headers: { origin: "https://shop.example" } });
    expect([headers.get("access-control-allow-origin"), headers.get("cache-control")]).toEqual([null, "no-store"]);
  }, 120_000);

  it("fills in no key that an operator chose", async () => {
    const { url, output } = await startTestProcess({ DATABASE_URL: databaseUrl, TUKIO_API_KEY: apiKey });
    expect(await keyOf(url)).toEqual({ key: null });
    const { page } = await openPage(browser);
    await page.goto(`${url}/docs`);
    await page.getByText("press Authorize").waitFor();
    expect(output()).not.toContain(apiKey);
  });
});
