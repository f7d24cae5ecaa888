/**
 * `examples/events-shop` with a real node and a real mail server: what a paid order receives, once, however often its event arrives
 * and wherever the shop is killed.
 */
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Browser } from "playwright-core";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { launchBrowser, openPage } from "../support/browser.ts";
import { createDatabase } from "../support/database.ts";
import {
  type InstalledExample,
  installExample,
  installMs,
  type RunningExample,
  startExample,
} from "../support/example.ts";
import { type Mailbox, pictureIn, startMailbox } from "../support/mailbox.ts";
import { expectMalformedRefused } from "../support/malformed-request.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { scanPng } from "../support/qr.ts";
import { freePort } from "../support/redis.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { startScriptedDaraja, success } from "../support/scripted-daraja.ts";
import { packMerchantSdk } from "../support/sdk-package.ts";
import { nextPhone, orderAndPay, postOrder, untilDelivered, untilStatus } from "../support/shop-order.ts";
import { faultyEvents, orderInEvents, postEvent, readOrder } from "../support/signed-event.ts";

let browser: Browser;
let installed: InstalledExample;
beforeAll(async () => {
  browser = await launchBrowser();
  const sdk = await packMerchantSdk();
  installed = await installExample("events-shop", { packages: { "merchant-sdk": sdk.tarball } });
  await sdk.remove();
  return async () => {
    await installed.remove();
    await browser.close();
  };
}, installMs);

interface Shop extends RunningExample {
  node: TestNode;
  /** Between the shop and Tukio's API. */
  api: Relay;
  /** Between Tukio and the handler of events. */
  hooks: Relay;
  mailbox: Mailbox;
  database: string;
  rows(query: string): Record<string, unknown>[];
}

/** `isDirect`: without a relay to Tukio, because a page's sockets do not pass it. */
async function openShop({
  env = {},
  isDirect = false,
}: {
  env?: Record<string, string>;
  isDirect?: boolean;
} = {}): Promise<Shop> {
  const { url: databaseUrl, drop } = await createDatabase();
  onTestFinished(drop);
  const node = await startNode({ databaseUrl, env });
  const port = await freePort();
  const [api, hooks, mailbox] = [
    await startRelay(node.url),
    await startRelay(`http://127.0.0.1:${port}`),
    await startMailbox(),
  ];
  const database = join(installed.folder, `${crypto.randomUUID()}.db`);
  const shop = await startExample(installed, {
    ...{ tukio: isDirect ? node.url : api.url, hooks: hooks.url, port },
    env: { DATABASE: database, SMTP_URL: mailbox.url },
  });
  const db = new DatabaseSync(database, { readOnly: true });
  onTestFinished(() => db.close());
  return { ...shop, node, api, hooks, mailbox, database, rows: (query) => db.prepare(query).all() };
}

/** Three tickets of two kinds. */
const threeTickets = { SAUTI: "2", DERBY: "1" };
const priceMinor = 2 * 150_000 + 50_000;

const untilEffectsDone = (shop: Shop, orderId: string): Promise<unknown> =>
  vi.waitUntil(
    () => shop.rows(`select count(done_at) as done from effect where order_id = '${orderId}'`)[0]?.done === 3,
  );

/** The Message-IDs of both mails of a customer's first order. */
const bothMails = (orderId: string): string[] =>
  ["ticket-mail", "welcome-mail"].map((name) => `<${orderId}.${name}@events.example>`);

/** Expects everything that an order of three tickets receives, each once. */
async function expectFulfilledOnce(shop: Shop, orderId: string): Promise<void> {
  const tickets = shop.rows(`select number, show_name, code from ticket where order_id = '${orderId}' order by number`);
  expect(tickets.map(({ show_name }) => show_name)).toEqual([
    "Sauti Sol, 12 December",
    "Sauti Sol, 12 December",
    "Mashemeji Derby",
  ]);
  expect(new Set(tickets.map(({ code }) => code)).size).toBe(3);
  const [{ page } = {}] = shop.rows(`select page from shop_order where id = '${orderId}'`);
  const { order, events } = (await readOrder(shop.node, orderId)).body;
  expect(order.results).toEqual(
    tickets.map(({ number, show_name, code }) => ({
      id: `ticket-${number}`,
      kind: "ticket",
      title: `${show_name}, ${number} of 3`,
      code,
      url: expect.stringMatching(new RegExp(`/tickets/${page}$`)),
    })),
  );
  // A result that is posted again is no new version.
  expect(events.filter(({ source }) => source === "merchant")).toHaveLength(3);
  const ids = shop.mailbox.mails.map(({ messageId }) => messageId);
  expect([...new Set(ids)].toSorted()).toEqual(bothMails(orderId));
}

describe("examples/events-shop", () => {
  it("creates a ticket for each unit, shows them on the page that waits, mails them, and lets each in once", async () => {
    const shop = await openShop({ isDirect: true });
    const phone = nextPhone();
    const { page, complaints } = await openPage(browser);
    await page.goto(shop.url);
    await page.getByLabel("Sauti Sol").fill("2");
    await page.getByLabel("Derby").fill("1");
    await page.getByLabel("E-mail").fill("Achieng@Example.com");
    await page.getByLabel("M-Pesa number").fill(phone);
    await page.getByRole("button", { name: "Pay" }).click();
    await page.waitForURL(/\/orders\//);
    const orderId = new URL(page.url()).pathname.split("/").at(-1) ?? "";
    await answerPrompt(shop.node, phone, "approve");
    await untilEffectsDone(shop, orderId);
    await expectFulfilledOnce(shop, orderId);

    await page.getByRole("heading", { name: "3 of 3" }).waitFor();
    const link = await page.locator("order-status [part~=result-link]").first().getAttribute("href");
    await page.goto(String(link));
    const codes = shop.rows("select code from ticket order by number").map(({ code }) => String(code));
    expect(await page.locator("code").allTextContents()).toEqual(codes);
    const picture = await page.locator("svg").first().screenshot();
    expect(await scanPng(page.context(), picture)).toBe(codes[0]);
    const mail = shop.mailbox.mails.find(({ subject }) => subject === "Your tickets: 3");
    expect(mail?.to).toBe("achieng@example.com");
    expect(mail && (await scanPng(page.context(), pictureIn(mail, "ticket-3")))).toBe(codes[2]);

    await page.goto(`${shop.url}/gate`);
    for (const message of ["Welcome to Sauti Sol, 12 December", "Used already, at"]) {
      await page.getByLabel("Code").fill(codes[0]?.toLowerCase() ?? "");
      await page.keyboard.press("Enter");
      await page.getByRole("status").filter({ hasText: message }).waitFor();
    }
    // The browser reports the icon that the shop does not have, and the answer 409.
    expect(complaints.filter((text) => !/404|409/.test(text))).toEqual([]);
  });

  it("welcomes a customer once, and gives each of two orders its own tickets", async () => {
    const shop = await openShop();
    const fields = { ...threeTickets, email: "njeri@example.com" };
    const [first, second] = [
      await orderAndPay(shop.node, shop.url, fields),
      await orderAndPay(shop.node, shop.url, fields),
    ];
    await vi.waitUntil(() => shop.rows("select count(done_at) as done from effect")[0]?.done === 5);
    expect(shop.mailbox.mails.map(({ subject }) => subject).toSorted()).toEqual([
      "Welcome to the Events Shop",
      "Your tickets: 3",
      "Your tickets: 3",
    ]);
    const codes = shop.rows("select distinct code from ticket");
    expect(codes).toHaveLength(6);
    for (const id of [first, second]) expect((await readOrder(shop.node, id)).body.order.results).toHaveLength(3);
  });

  it("creates nothing for a payment that is cancelled or expires, or for an event that Tukio did not sign", async () => {
    const shop = await openShop();
    for (const [answer, status] of [
      ["cancel", "failed"],
      ["ignore", "expired"],
    ] as const) {
      const phone = nextPhone();
      const orderId = await postOrder(shop.url, { ...threeTickets, email: "otieno@example.com", phone });
      await answerPrompt(shop.node, phone, answer);
      await untilStatus(shop.node, orderId, status);
      await untilDelivered(shop.node, orderId);
      const secret = shop.env.TUKIO_WEBHOOK_SECRET ?? "";
      const order = { ...(await orderInEvents(shop.node, orderId)), status: "succeeded" };
      for (const faulty of faultyEvents({ type: "order.succeeded", order, secret })) {
        expect(await postEvent(shop.url, faulty)).toBe(401);
      }
    }
    for (const table of ["ticket", "effect", "customer"]) expect(shop.rows(`select * from ${table}`)).toEqual([]);
    expect(shop.mailbox.mails).toEqual([]);
  });

  it("does everything once when the event arrives ten times at once and is replayed", async () => {
    const shop = await openShop();
    const orderId = await orderAndPay(shop.node, shop.url, { ...threeTickets, email: "wanjiru@example.com" });
    const { openedAt } = await untilStatus(shop.node, orderId, "succeeded").then(({ order }) => order);
    const event = {
      type: "order.succeeded",
      order: await orderInEvents(shop.node, orderId),
      secret: shop.env.TUKIO_WEBHOOK_SECRET ?? "",
    };
    expect(await Promise.all(Array.from({ length: 10 }, () => postEvent(shop.url, event)))).toEqual(
      Array(10).fill(204),
    );
    await untilEffectsDone(shop, orderId);
    await untilDelivered(shop.node, orderId);
    const replayed = Promise.withResolvers<void>();
    shop.hooks.onAnswer = () => replayed.resolve();
    const [endpoint] = (await asMerchant(shop.node, "/v1/endpoints")).body.data;
    await asMerchant(shop.node, `/v1/endpoints/${endpoint?.id}/replay`, { since: openedAt, orderId });
    await replayed.promise;
    await expectFulfilledOnce(shop, orderId);
    expect(shop.mailbox.mails).toHaveLength(2);
  });

  it("creates the tickets of a late success, and no more when the order is paid twice", async () => {
    const daraja = await startScriptedDaraja();
    const shop = await openShop({ env: daraja.env });
    const orderId = await postOrder(shop.url, { ...threeTickets, email: "kamau@example.com", phone: nextPhone() });
    const first = await daraja.nextPush();
    first.accept();
    await first.webhook({ ResultCode: 1037, ResultDesc: "No response from user." });
    await untilStatus(shop.node, orderId, "expired");
    await untilDelivered(shop.node, orderId);
    expect(shop.rows("select * from ticket")).toEqual([]);
    await pay(shop.node, { orderId, amountMinor: priceMinor, phone: "+254712345678" });
    const second = await daraja.nextPush();
    second.accept();
    await first.webhook(success(priceMinor / 100));
    await untilEffectsDone(shop, orderId);
    expect((await readOrder(shop.node, orderId)).body.order.reason).toBe("late");
    await second.webhook(success(priceMinor / 100));
    await vi.waitUntil(async () => (await readOrder(shop.node, orderId)).body.order.reason === "paid_twice");
    await untilDelivered(shop.node, orderId);
    await expectFulfilledOnce(shop, orderId);
    expect(shop.mailbox.mails).toHaveLength(2);
  });

  it("refuses a malformed request without a trace", async () => {
    const shop = await openShop();
    await expectMalformedRefused(shop, { email: "akinyi@example.com", phone: nextPhone() });
    expect((await fetch(`${shop.url}/gate`, { method: "POST" })).status).toBe(404);
  });

  it("lets a ticket in once when two gates scan it at once", async () => {
    const shop = await openShop();
    const orderId = await orderAndPay(shop.node, shop.url, { ...threeTickets, email: "mwangi@example.com" });
    await untilEffectsDone(shop, orderId);
    const other = await startExample(installed, { tukio: shop.api.url, env: { DATABASE: shop.database } });
    const scan = async (url: string, code: string): Promise<number> => {
      const response = await fetch(`${url}/gate`, { method: "POST", body: new URLSearchParams({ code }) });
      await response.text();
      return response.status;
    };
    for (const { code } of shop.rows("select code from ticket")) {
      const urls = Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? shop.url : other.url));
      const statuses = await Promise.all(urls.map((url) => scan(url, String(code))));
      expect(statuses.toSorted()).toEqual([200, ...Array(9).fill(409)]);
    }
    expect(await scan(shop.url, "0".repeat(32))).toBe(404);
  });
});

/** Where the shop is killed. Each gives one of the shop's neighbours a function that kills the shop once. */
const steps: Readonly<Record<string, (shop: Shop, killAt: (nth: number) => () => Promise<void>) => void>> = {
  "before it has read the event": (shop, killAt) => {
    shop.hooks.onRequest = killAt(1);
  },
  "after it has created the tickets, before Tukio has its answer": (shop, killAt) => {
    shop.hooks.onAnswer = killAt(1);
  },
  "before Tukio has the second result": (shop, killAt) => {
    const kill = killAt(2);
    shop.api.onRequest = ({ path }) => (path.endsWith("/results") ? kill() : undefined);
  },
  "after Tukio has the second result": (shop, killAt) => {
    const kill = killAt(2);
    shop.api.onAnswer = ({ path }) => (path.endsWith("/results") ? kill() : undefined);
  },
  "before a mail is sent": (shop, killAt) => {
    shop.mailbox.beforeAccept = killAt(1);
  },
  "after a mail is sent, before it knows": (shop, killAt) => {
    shop.mailbox.afterAccept = killAt(1);
  },
};

describe.each(Object.keys(steps))("examples/events-shop, killed %s", (step) => {
  it("does the rest when it is started again, and nothing twice", async () => {
    const shop = await openShop();
    const killed = Promise.withResolvers<void>();
    const killAt = (nth: number): (() => Promise<void>) => {
      let count = 0;
      return async () => {
        count += 1;
        if (count !== nth) return;
        await shop.kill();
        killed.resolve();
        throw new Error("killed");
      };
    };
    steps[step]?.(shop, killAt);
    const orderId = await orderAndPay(shop.node, shop.url, { ...threeTickets, email: "auma@example.com" });
    await killed.promise;
    await shop.start();
    await untilEffectsDone(shop, orderId);
    await untilDelivered(shop.node, orderId);
    await expectFulfilledOnce(shop, orderId);
    if (!step.includes("mail is sent, before it knows")) return;
    // The mail that was sent before the kill is sent again, with the same Message-ID. The kill can interrupt the other one too.
    const [first, ...others] = shop.mailbox.mails.map(({ messageId }) => messageId);
    expect(others.filter((id) => id === first)).toHaveLength(1);
  });
});
