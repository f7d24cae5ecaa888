/** `examples/express-shop` in a browser, with a real node. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { openBrowserAndDatabase, openPage } from "../support/browser.ts";
import {
  type InstalledExample,
  installExample,
  installMs,
  type RunningExample,
  startExample,
} from "../support/example.ts";
import { expectMalformedRefused } from "../support/malformed-request.ts";
import { startNode, type TestNode } from "../support/node.ts";
import { packMerchantSdk } from "../support/sdk-package.ts";
import { nextPhone, orderAndPay, postOrder } from "../support/shop-order.ts";
import { faultyEvents, orderInEvents, postEvent, readOrder } from "../support/signed-event.ts";

let browser: Browser;
let databaseUrl: string;
let installed: InstalledExample;
beforeAll(async () => {
  const ground = await openBrowserAndDatabase();
  ({ browser, databaseUrl } = ground);
  const sdk = await packMerchantSdk();
  installed = await installExample("express-shop", { packages: { "merchant-sdk": sdk.tarball } });
  await sdk.remove();
  return async () => {
    await installed.remove();
    await ground.close();
  };
}, installMs);

interface Shop extends RunningExample {
  node: TestNode;
  rows(table: string): Record<string, unknown>[];
}

async function openShop(): Promise<Shop> {
  const node = await startNode({ databaseUrl });
  const database = join(installed.folder, `${crypto.randomUUID()}.db`);
  const shop = await startExample(installed, { tukio: node.url, env: { DATABASE: database } });
  const db = new DatabaseSync(database, { readOnly: true });
  onTestFinished(() => db.close());
  return { ...shop, node, rows: (table) => db.prepare(`select * from ${table}`).all() };
}

const tea = { product: "Spiced tea, 100 g" };

const stockOfTea = (shop: Shop): unknown =>
  shop.rows("product").find(({ name }) => String(name).includes("tea"))?.stock;

describe("examples/express-shop", () => {
  it("shows the payment on the page that waits, offers another attempt, and packs the order when it is paid", async () => {
    const shop = await openShop();
    const { page, complaints } = await openPage(browser);
    await page.goto(shop.url);
    await page.getByLabel(/Spiced tea/).check();
    await page.getByLabel("M-Pesa number").fill("0712345602");
    await page.getByRole("button", { name: "Pay" }).click();
    const card = page.locator("order-status");
    await card.getByRole("button", { name: "Try again" }).click();
    await vi.waitUntil(() => shop.rows("shop_order")[0]?.version === 6);
    expect(shop.rows("shop_order")).toMatchObject([{ status: "failed", receipt: null }]);
    expect(shop.rows("acted")).toMatchObject([{ status: "failed" }]);
    expect(stockOfTea(shop)).toBe(20);

    await page.goto(shop.url);
    await page.getByLabel(/Spiced tea/).check();
    await page.getByLabel("M-Pesa number").fill("0712345601");
    await page.getByRole("button", { name: "Pay" }).click();
    await card.locator("[part=title]").filter({ hasText: "Paid" }).waitFor();
    await page.getByText("We are packing your order.").waitFor();
    await vi.waitUntil(() => stockOfTea(shop) === 19);
    expect(shop.rows("shop_order")[1]).toMatchObject({
      status: "succeeded",
      receipt: expect.stringMatching(/^\w{10}$/),
    });
    // The browser asks for an icon, which the shop does not have.
    expect(complaints.filter((text) => !text.includes("404"))).toEqual([]);
  });

  it("acts once for each order and status, keeps the newer state, and refuses a message that Tukio did not sign", async () => {
    const shop = await openShop();
    const orderId = await orderAndPay(shop.node, shop.url, tea);
    await vi.waitUntil(() => stockOfTea(shop) === 19);
    const order = await orderInEvents(shop.node, orderId);
    const event = { type: "order.succeeded", order, secret: shop.env.TUKIO_WEBHOOK_SECRET ?? "" };
    expect(await Promise.all([1, 2, 3].map(() => postEvent(shop.url, event)))).toEqual([204, 204, 204]);
    const older = { ...event, type: "order.expired", order: { ...order, status: "expired", version: 2 } };
    expect(await postEvent(shop.url, older)).toBe(204);
    for (const faulty of faultyEvents({ ...event, order: { ...order, version: 9 } })) {
      expect(await postEvent(shop.url, faulty)).toBe(401);
    }
    expect(shop.rows("shop_order")).toMatchObject([{ id: orderId, status: "succeeded", version: order.version }]);
    expect(stockOfTea(shop)).toBe(19);
    expect(shop.output().match(/pack it/g)).toHaveLength(1);
  });

  it("ignores an order that is not its own, and sells no more than it has", async () => {
    const shop = await openShop();
    const orderId = await orderAndPay(shop.node, shop.url, tea);
    await vi.waitUntil(() => stockOfTea(shop) === 19);
    const order = await orderInEvents(shop.node, orderId);
    const secret = shop.env.TUKIO_WEBHOOK_SECRET ?? "";
    const foreign = { ...order, orderId: "FOREIGN-1" };
    expect(await postEvent(shop.url, { type: "order.succeeded", order: foreign, secret })).toBe(204);
    expect(shop.rows("acted")).toMatchObject([{ order_id: orderId }]);
    expect(shop.output().match(/pack it/g)).toHaveLength(1);

    const second = await postOrder(shop.url, { ...tea, phone: nextPhone() });
    const db = new DatabaseSync(shop.env.DATABASE ?? "", { timeout: 5_000 });
    onTestFinished(() => db.close());
    db.exec("update product set stock = 0");
    expect(await postEvent(shop.url, { type: "order.succeeded", order: { ...order, orderId: second }, secret })).toBe(
      204,
    );
    expect(stockOfTea(shop)).toBe(0);
    await vi.waitUntil(() => shop.output().includes(`${second} is paid and sold out`));
    const body = new URLSearchParams({ ...tea, phone: nextPhone() });
    expect((await fetch(`${shop.url}/orders`, { method: "POST", body })).status).toBe(409);
  });

  it("refuses a malformed request without a trace", async () => {
    await expectMalformedRefused(await openShop(), { ...tea, phone: nextPhone() });
  });

  it("does not start without a secret", async () => {
    const node = await startNode({ databaseUrl });
    for (const secret of ["", "whsec_"]) {
      const started = startExample(installed, { tukio: node.url, secret, env: { DATABASE: ":memory:" } });
      await expect(started).rejects.toThrow("Set TUKIO_WEBHOOK_SECRET");
    }
  });

  it("answers what Tukio refuses, and creates no payment for an unknown product or order", async () => {
    const shop = await openShop();
    const post = (path: string, fields: Record<string, string> = {}): Promise<Response> =>
      fetch(shop.url + path, { method: "POST", body: new URLSearchParams(fields) });
    const refused = await post("/orders", { ...tea, phone: "12" });
    expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining("phone")]);
    expect((await post("/orders", { product: "Coffee", phone: "0712345601" })).status).toBe(400);
    expect((await post("/orders/NOTHING/pay")).status).toBe(404);
    const orderId = await postOrder(shop.url, { ...tea, phone: nextPhone() });
    // A payment is in progress, and the page shows it.
    expect((await post(`/orders/${orderId}/pay`)).status).toBe(204);
    expect((await readOrder(shop.node, orderId)).body.payments).toHaveLength(1);
  });
});
