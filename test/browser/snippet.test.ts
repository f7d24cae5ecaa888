/**
 * The shop's HTML snippet for merchants, on a page whose Content Security Policy allows only this node, with the hash of
 * the script. A page without a policy is tested in test/demo-shop/browser.test.ts.
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import { pay, startNode, type TestNode } from "../support/node.ts";
import { visitShop } from "../support/visit.ts";

let browser: Browser;
let databaseUrl: string;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  return ground.close;
}, 300_000);

interface Merchant {
  origin: string;
  body: string;
}

/** Starts a merchant's page in Bangla. Its policy allows only what the snippet needs. */
async function startMerchant(nodeUrl: () => string): Promise<Merchant> {
  const merchant: Merchant = { origin: "", body: "" };
  const site = createServer((_request, response) => {
    const [url, socketUrl] = [nodeUrl(), nodeUrl().replace("http", "ws")];
    response.writeHead(200, {
      "content-type": "text/html; charset=utf-8",
      "content-security-policy": `default-src 'none'; img-src data:; script-src ${url}; connect-src ${url} ${socketUrl}`,
      "cross-origin-embedder-policy": "require-corp",
    });
    response.end(`<!doctype html><html lang="bn"><link rel="icon" href="data:,"><body>${merchant.body}</body></html>`);
  });
  await once(site.listen(0, "127.0.0.1"), "listening");
  onTestFinished(() => void site.close().closeAllConnections());
  merchant.origin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  return merchant;
}

/** Starts a node that only this merchant's pages may call, with its snippet and a payment that is approved. */
async function start(): Promise<{ node: TestNode; merchant: Merchant; order: StatusEvent }> {
  let url = "";
  const merchant = await startMerchant(() => url);
  const node = await startNode({ databaseUrl, env: { ALLOWED_ORIGINS: merchant.origin } });
  url = node.url;
  const { page } = await visitShop(browser, node.url);
  const snippet = (await page.locator("#snippet", { hasText: "sha384-" }).textContent()) ?? "";
  const { order, watchToken } = await pay(node, { phone: "+254712345601" });
  merchant.body = snippet.replace("ORD-1001", order.orderId).replace("WATCH_TOKEN", watchToken);
  return { node, merchant, order };
}

describe("snippet", () => {
  it("works unchanged and loads its chunks: another language and Socket.IO", async () => {
    const { node, merchant, order } = await start();
    const { page, complaints } = await openPage(browser);
    const fetched: string[] = [];
    page.on("response", (response) => fetched.push(`${response.status()} ${new URL(response.url()).pathname}`));
    await page.goto(merchant.origin);
    await page.locator("[part=title]", { hasText: "পেমেন্ট হয়েছে" }).waitFor({ timeout: 30_000 });
    await expect
      .poll(() => page.evaluate("document.querySelector('order-status').snapshot.transport"))
      .toBe("socketio");
    expect(await page.locator("[part=detail]").innerText()).toContain(order.orderId);
    expect(fetched).toEqual(
      expect.arrayContaining([
        "200 /sdk/tukio.js",
        expect.stringMatching(/^200 \/sdk\/words-bn-[\w-]+\.js$/),
        expect.stringMatching(/^200 \/sdk\/socketio-link-[\w-]+\.js$/),
      ]),
    );
    // The chunks import shared code from the pinned file and do not load it again.
    expect(fetched.filter((line) => line.endsWith("/sdk/tukio.js"))).toHaveLength(1);
    expect(complaints).toEqual([]);
    expect(merchant.body).toContain(node.url);
  });

  it("runs nothing if the file does not match its hash", async () => {
    const { merchant } = await start();
    merchant.body = merchant.body.replace(/sha384-./, (start) => (start.endsWith("A") ? "sha384-B" : "sha384-A"));
    const { page, complaints } = await openPage(browser);
    await page.goto(merchant.origin);
    await expect.poll(() => complaints.join()).toContain("integrity");
    expect(await page.evaluate("customElements.get('order-status') === undefined")).toBe(true);
  });
});
