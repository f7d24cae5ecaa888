/** `examples/nextjs-course` in a browser, with a real node and bKash's page in the sandbox. */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Browser, Page } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { launchBrowser, openPage } from "../support/browser.ts";
import { createDatabase } from "../support/database.ts";
import {
  type InstalledExample,
  installExample,
  installMs,
  type RunningExample,
  startExample,
} from "../support/example.ts";
import { startNode, type TestNode } from "../support/node.ts";
import { startRelay } from "../support/relay.ts";
import { packMerchantSdk, packSdk } from "../support/sdk-package.ts";
import { untilDelivered } from "../support/shop-order.ts";
import { faultyEvents, orderInEvents, postEvent } from "../support/signed-event.ts";

let browser: Browser;
let installed: InstalledExample;
beforeAll(async () => {
  browser = await launchBrowser();
  const [client, merchant] = [await packSdk(), await packMerchantSdk()];
  installed = await installExample("nextjs-course", {
    packages: { "client-sdk": client.tarball, "merchant-sdk": merchant.tarball },
  });
  for (const sdk of [client, merchant]) await sdk.remove();
  return async () => {
    await installed.remove();
    await browser.close();
  };
}, installMs);

interface Course extends RunningExample {
  node: TestNode;
  orders(): Record<string, unknown>[];
}

async function openCourse({ hooks }: { hooks?: string } = {}): Promise<Course> {
  const { url, drop } = await createDatabase();
  onTestFinished(drop);
  const node = await startNode({ databaseUrl: url });
  const database = join(installed.folder, `${crypto.randomUUID()}.db`);
  const course = await startExample(installed, {
    tukio: node.url,
    ...(hooks && { hooks }),
    env: { DATABASE: database },
  });
  const orders = (): Record<string, unknown>[] => {
    const db = new DatabaseSync(database, { readOnly: true });
    const rows = db.prepare("select * from course_order").all();
    db.close();
    return rows;
  };
  return { ...course, node, orders };
}

/** Starts a payment, and types these into bKash's page: a number, a code and a PIN. */
async function payAtBkash(page: Page, course: Course, wallet: string): Promise<void> {
  await page.goto(course.url);
  await page.getByRole("button", { name: "Pay with bKash" }).click();
  await page.waitForURL(/\/sandbox\/bkash\//);
  for (const typed of [wallet, "123456", "12121"]) {
    await page.getByRole("textbox").fill(typed);
    await Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
  }
  await page.waitForURL(`${course.url}/orders/*`);
}

const headingOf = (page: Page, name: string): Promise<void> => page.getByRole("heading", { name }).waitFor();

describe("examples/nextjs-course", () => {
  it("opens the course for a payer who returns from bKash, and for nobody else", async () => {
    const course = await openCourse();
    const { page } = await openPage(browser);
    await page.goto(`${course.url}/course`);
    await headingOf(page, "Bangla cooking");
    await payAtBkash(page, course, "01770618575");
    await headingOf(page, "Welcome");
    const { pathname } = new URL(page.url());
    await page.getByRole("link", { name: "Start the course" }).click();
    await headingOf(page, "Lesson 1");
    const orderId = pathname.split("/").at(-1) ?? "";
    await untilDelivered(course.node, orderId);
    expect(course.orders()).toMatchObject([{ id: orderId, paid_at: expect.any(String) }]);

    const { page: stranger } = await openPage(browser);
    await stranger.goto(`${course.url}/course`);
    await headingOf(stranger, "Bangla cooking");
    expect((await stranger.goto(course.url + pathname))?.status()).toBe(404);
  });

  it("opens the course before the event arrives, because it asks Tukio", async () => {
    const hooks = await startRelay("http://127.0.0.1:9");
    hooks.onRequest = () => new Promise(() => undefined);
    const course = await openCourse({ hooks: hooks.url });
    const { page } = await openPage(browser);
    await payAtBkash(page, course, "01770618575");
    await headingOf(page, "Welcome");
    expect(course.orders()).toMatchObject([{ paid_at: null }]);
    await page.getByRole("link", { name: "Start the course" }).click();
    await headingOf(page, "Lesson 1");
    expect(course.orders()).toMatchObject([{ paid_at: expect.any(String) }]);
  });

  it("keeps the course closed after a failed payment and for an event that Tukio did not sign", async () => {
    const course = await openCourse();
    const { page } = await openPage(browser);
    // The wallet has too little money.
    await payAtBkash(page, course, "01770618503");
    await headingOf(page, "Not paid");
    const orderId = new URL(page.url()).pathname.split("/").at(-1) ?? "";
    await untilDelivered(course.node, orderId);
    const order = await orderInEvents(course.node, orderId);
    const event = { type: "order.succeeded", order, secret: course.env.TUKIO_WEBHOOK_SECRET ?? "" };
    for (const faulty of faultyEvents(event)) expect(await postEvent(course.url, faulty)).toBe(401);
    await page.goto(`${course.url}/course`);
    await headingOf(page, "Bangla cooking");
    expect(course.orders()).toMatchObject([{ paid_at: null }]);
    // The same event from Tukio opens it.
    expect(await postEvent(course.url, event)).toBe(204);
    await page.goto(`${course.url}/course`);
    await headingOf(page, "Lesson 1");
  });

  it("starts no payment for another site", async () => {
    const course = await openCourse();
    const response = await fetch(`${course.url}/orders`, {
      method: "POST",
      headers: { "sec-fetch-site": "cross-site" },
      redirect: "manual",
    });
    expect(response.status).toBe(403);
    // The first request that opens the database creates the table.
    expect((await fetch(`${course.url}/orders/NOTHING`, { headers: { cookie: "buyer=nobody" } })).status).toBe(404);
    expect(course.orders()).toEqual([]);
  });

  it("does not start without a secret", async () => {
    const { url: databaseUrl, drop } = await createDatabase();
    onTestFinished(drop);
    const node = await startNode({ databaseUrl });
    for (const secret of ["", "whsec_"]) {
      await expect(startExample(installed, { tukio: node.url, secret })).rejects.toThrow("Set TUKIO_WEBHOOK_SECRET");
    }
  });
});
