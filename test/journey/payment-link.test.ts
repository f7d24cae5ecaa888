/** Payments that payers start on the pages of payment links: every provider's sandbox, several payers, several nodes. */
import pg from "pg";
import { beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { providerNames } from "../../server/provider/registry.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, startNode, type TestNode } from "../support/node.ts";
import { createPayBrowser, orderWith, payOnPage, settledOrder } from "../support/pay-page.ts";
import { answerPrompt } from "../support/payer.ts";
import { cancelLink, createLink, readLink } from "../support/payment-link.ts";
import { startRedis } from "../support/redis.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

/** High, because many payers of a test have one address. */
const env = {
  LIMIT_PAGE_PHONE: "1000",
  LIMIT_PAGE_IP: "1000",
  LIMIT_PAGE_PROVIDER: "1000",
  SANDBOX: providerNames.join(","),
};

let node: TestNode;
beforeEach(async () => {
  node = await startNode({ databaseUrl, env });
});

/** The currency, the amount and a phone of each provider's sandbox, without the number's last two digits. */
const markets: Record<string, { currency: string; amountMinor: number; phone?: string }> = {
  daraja: { currency: "KES", amountMinor: 15_000, phone: "07123456" },
  payhero: { currency: "KES", amountMinor: 15_000, phone: "07123457" },
  lipana: { currency: "KES", amountMinor: 15_000, phone: "07123458" },
  zenopay: { currency: "TZS", amountMinor: 300_000, phone: "07123456" },
  mtn: { currency: "UGX", amountMinor: 4_200, phone: "07721234" },
  bkash: { currency: "BDT", amountMinor: 14_050 },
};

const kes = { currency: "KES", amountMinor: 15_000, providers: ["daraja", "payhero", "lipana"] };

let phones = 10;
const phoneEnding = (ending: string): string => {
  phones += 1;
  return `0713${String(phones).padStart(4, "0")}${ending}`;
};

describe("a link", () => {
  it.each(providerNames.filter((name) => name !== "bkash"))("is paid with %s", async (provider) => {
    const { phone = "", ...money } = markets[provider] ?? { currency: "", amountMinor: 0 };
    const link = await createLink(node, { ...money, description: "2 tickets" });
    const browser = createPayBrowser(node, link.url);
    await browser.open();
    await payOnPage(browser, { provider, phone: `${phone}01` });
    const order = await settledOrder(node, link.orderId);
    expect(order).toMatchObject({ status: "succeeded", ...money, payment: { provider } });
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid", version: 2 });
    const { html } = await browser.open();
    expect(html).toContain(order.payment.receipt);
    expect(html).not.toContain("<form");
  });

  it("is paid with bKash, whose payer returns to the page", async () => {
    const link = await createLink(node, { ...markets.bkash, providers: ["bkash"] });
    const browser = createPayBrowser(node, link.url);
    await browser.open();
    await payOnPage(browser, { provider: "bkash" });
    const { payment } = await orderWith(node, link.orderId, "processing");
    const url = payment.action?.type === "redirect" ? payment.action.url : "";
    expect((await browser.open()).html).toContain(`href="${url.replaceAll("&", "&#38;")}"`);
    const back = await fetch(await approveAtBkash(url), { redirect: "manual" });
    expect([back.status, back.headers.get("location")]).toEqual([303, link.url]);
    expect(await settledOrder(node, link.orderId)).toMatchObject({ status: "succeeded" });
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid" });
  });

  it("is paid with another provider after a failure, on the same order", async () => {
    const link = await createLink(node, kes);
    const browser = createPayBrowser(node, link.url);
    await payOnPage(browser, { provider: "daraja", phone: phoneEnding("02") });
    expect(await settledOrder(node, link.orderId)).toMatchObject({ status: "failed", reason: "cancelled" });
    expect((await browser.open()).html).toContain("<form");
    await payOnPage(browser, { provider: "payhero", phone: phoneEnding("01") });
    await orderWith(node, link.orderId, "succeeded");
    const { body } = await asMerchant(node, `/v1/orders/${link.orderId}`);
    expect(body.payments.map(({ provider, status }) => [provider, status])).toEqual([
      ["daraja", "failed"],
      ["payhero", "succeeded"],
    ]);
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid", version: 2 });
  });

  it("starts one payment for two payers at once, and shows the second one its state", async () => {
    const link = await createLink(node, kes);
    const payers = [1, 2, 3, 4].map(() => createPayBrowser(node, link.url));
    await Promise.all(payers.map((payer) => payer.open()));
    await Promise.all(payers.map((payer) => payOnPage(payer, { provider: "daraja", phone: phoneEnding("00") })));
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(1);
    const pages = await Promise.all(payers.map(async (payer) => (await payer.open()).html));
    expect(pages.filter((html) => html.includes("<order-status "))).toHaveLength(1);
    for (const html of pages) expect(html).not.toContain("<form");
  });

  it("starts one payment for a form that is sent twice, also when the first one has failed meanwhile", async () => {
    const link = await createLink(node, kes);
    const browser = createPayBrowser(node, link.url);
    await browser.open();
    const form = { provider: "daraja", phone: phoneEnding("00") };
    await Promise.all([1, 2, 3].map(() => payOnPage(browser, form)));
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(1);
  });

  it("starts one payment for a form that arrives again after its payment has failed", async () => {
    const link = await createLink(node, kes);
    const browser = createPayBrowser(node, link.url);
    const key = keyIn((await browser.open()).html);
    const form = { provider: "daraja", phone: phoneEnding("02"), key };
    await payOnPage(browser, form);
    await settledOrder(node, link.orderId);
    await payOnPage(browser, form);
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(1);
    const nextKey = keyIn((await browser.open()).html);
    await payOnPage(browser, { ...form, key: nextKey });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(2);
  });

  it("takes the form of a second payer that was opened before the first payer's failure", async () => {
    const link = await createLink(node, kes);
    const [first, second] = [createPayBrowser(node, link.url), createPayBrowser(node, link.url)];
    const key = keyIn((await second.open()).html);
    await payOnPage(first, { provider: "daraja", phone: phoneEnding("02") });
    await settledOrder(node, link.orderId);
    await payOnPage(second, { provider: "daraja", phone: phoneEnding("01"), key });
    expect(await orderWith(node, link.orderId, "succeeded")).toMatchObject({ payment: { attempt: 2 } });
  });

  it("records money that arrives after its cancellation", async () => {
    const link = await createLink(node, kes);
    const browser = createPayBrowser(node, link.url);
    const phone = phoneEnding("00");
    await payOnPage(browser, { provider: "daraja", phone });
    await orderWith(node, link.orderId, "processing");
    expect((await cancelLink(node, link.id)).status).toBe(200);
    await answerPrompt(node, `254${phone.slice(1)}`, "approve");
    expect(await settledOrder(node, link.orderId)).toMatchObject({ status: "succeeded" });
    expect(await readLink(node, link.id)).toMatchObject({ status: "paid", version: 3 });
    const other = createPayBrowser(node, link.url);
    await payOnPage(other, { provider: "daraja", phone: phoneEnding("01") });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}`)).body.payments).toHaveLength(1);
  });
});

describe("a reusable link", () => {
  it("takes 50 payments, each with an order and a page of its own", async () => {
    const link = await createLink(node, { ...kes, reusable: {} });
    // Taken by others: the link skips them.
    const taken = [3, 7].map((n) => `${link.orderId}-${n}`);
    const body = { amountMinor: 100, currency: "KES", provider: "daraja", phone: "0712999900" };
    await asMerchant(node, "/v1/payments", { ...body, orderId: taken[0] });
    await createLink(node, { orderId: taken[1] });
    const payers = Array.from({ length: 50 }, () => createPayBrowser(node, link.url));
    // Ten at a time, because PostgreSQL is on the same machine as everything else.
    for (let first = 0; first < payers.length; first += 10) {
      const some = payers.slice(first, first + 10);
      await Promise.all(some.map((payer) => payOnPage(payer, { provider: "daraja", phone: phoneEnding("01") })));
    }
    const ids = Array.from({ length: 52 }, (_, index) => `${link.orderId}-${index + 1}`).filter(
      (id) => !taken.includes(id),
    );
    const orders = await Promise.all(ids.map((id) => settledOrder(node, id)));
    expect(orders.map(({ status }) => status)).toEqual(ids.map(() => "succeeded"));
    const receipts = orders.map(({ payment }) => payment.receipt ?? "");
    const pages = await Promise.all(payers.map(async (payer) => (await payer.open()).html));
    const shown = pages.map((html) => receipts.filter((receipt) => html.includes(receipt)));
    expect(shown.map((found) => found.length)).toEqual(payers.map(() => 1));
    expect(new Set(shown.flat()).size).toBe(50);
    expect(await readLink(node, link.id)).toMatchObject({ status: "open", version: 1 });
    expect((await createPayBrowser(node, link.url).open()).html).toContain("<form");
  });

  it("leaves connections to others while many payers wait for it", async () => {
    const link = await createLink(node, { ...kes, reusable: {} });
    const other = createPayBrowser(node, (await createLink(node, kes)).url);
    const client = new pg.Client(databaseUrl);
    await client.connect();
    onTestFinished(() => client.end());
    await client.query("begin");
    await client.query("select from payment_link where id = $1 for no key update", [link.id]);
    const payers = Array.from({ length: 30 }, () => createPayBrowser(node, link.url));
    const sent = payers.map((payer) => payOnPage(payer, { provider: "daraja", phone: phoneEnding("01") }));
    await vi.waitUntil(
      async () =>
        (await client.query("select from pg_locks where not granted and locktype = 'transactionid'")).rowCount,
    );
    for (let times = 0; times < 10; times += 1) expect((await other.open()).status).toBe(200);
    await client.query("rollback");
    await Promise.all(sent);
    expect(await ordersOf(link.orderId)).toHaveLength(30);
  });

  it("opens one order for a form that is sent twice, and another one when the payer pays again", async () => {
    const link = await createLink(node, { ...kes, reusable: {} });
    const browser = createPayBrowser(node, link.url);
    await browser.open();
    const form = { provider: "daraja", phone: phoneEnding("01") };
    await Promise.all([1, 2, 3].map(() => payOnPage(browser, form)));
    const first = await ordersOf(link.orderId);
    expect(first).toHaveLength(1);
    await settledOrder(node, first[0]?.orderId ?? "");
    // The page shows the paid order, and a form that was left open starts nothing.
    expect((await browser.open()).html).not.toContain("<form");
    await payOnPage(browser, form);
    expect(await ordersOf(link.orderId)).toHaveLength(1);
    expect((await browser.open("?again")).html).toContain("<form");
    await payOnPage(browser, form, "?again");
    expect(await ordersOf(link.orderId)).toHaveLength(2);
  });

  it("takes one payment for a form that arrives again after it was paid", async () => {
    const link = await createLink(node, { ...kes, reusable: {} });
    const browser = createPayBrowser(node, link.url);
    for (const count of [1, 2]) {
      const key = keyIn((await browser.open("?again")).html);
      const form = { provider: "daraja", phone: phoneEnding("01"), key };
      await payOnPage(browser, form, "?again");
      const orders = await ordersOf(link.orderId);
      expect(orders).toHaveLength(count);
      for (const { orderId } of orders) await settledOrder(node, orderId);
      await payOnPage(browser, form, "?again");
      expect(await ordersOf(link.orderId)).toHaveLength(count);
    }
  });

  it("tries a failed payment again on its order, and with another amount on a new one", async () => {
    const link = await createLink(node, { ...kes, amountMinor: undefined, reusable: {} });
    const browser = createPayBrowser(node, link.url);
    const pay = (ending: string, amount: string) =>
      payOnPage(browser, { provider: "daraja", phone: phoneEnding(ending), amount });
    await pay("02", "150");
    await settledOrder(node, `${link.orderId}-1`);
    await pay("02", "150");
    await orderWith(node, `${link.orderId}-1`, "failed");
    await pay("01", "200");
    expect(await settledOrder(node, `${link.orderId}-2`)).toMatchObject({ amountMinor: 20_000, status: "succeeded" });
    expect((await asMerchant(node, `/v1/orders/${link.orderId}-1`)).body.payments).toHaveLength(2);
  });
});

describe("two nodes", () => {
  it("start one payment, know the payer's browser, and settle the link once", async () => {
    const redis = await startRedis();
    await node.close();
    const nodes = [
      await startNode({ databaseUrl, redisUrl: redis.url, env }),
      await startNode({ databaseUrl, redisUrl: redis.url, env }),
    ] as const;
    const link = await createLink(nodes[0], kes);
    const browser = createPayBrowser(nodes[0], link.url);
    await browser.open();
    const form = { provider: "daraja", phone: phoneEnding("01") };
    await Promise.all(nodes.map((one) => payOnPage(browser.at(one), form)));
    const order = await settledOrder(nodes[1], link.orderId);
    expect(order).toMatchObject({ status: "succeeded", payment: { attempt: 1 } });
    for (const one of nodes) {
      expect(await readLink(one, link.id)).toMatchObject({ status: "paid", version: 2 });
      expect((await browser.at(one).open()).html).toContain(order.payment.receipt);
    }
    await nodes[0].close();
    expect((await browser.at(nodes[1]).open()).html).toContain(order.payment.receipt);
  });
});

/** The key of the form in a page. */
const keyIn = (html: string): string => /name="key" value="(\w+)"/.exec(html)?.[1] ?? expect.unreachable("no form");

async function ordersOf(orderId: string) {
  const { body } = await asMerchant(node, "/v1/orders?limit=200");
  return body.data.filter((order) => order.orderId.startsWith(`${orderId}-`));
}

/** Enters a wallet, the code and the PIN on bKash's page, and returns where it sends the payer. */
async function approveAtBkash(url: string): Promise<string> {
  const token = new URL(url).searchParams.get("token") ?? "";
  const page = url.replace(/\?.*/, "");
  const enter = (value: string) =>
    fetch(page, { method: "POST", redirect: "manual", body: new URLSearchParams({ token, do: "go", value }) });
  for (const value of ["01770618575", "123456"]) expect((await enter(value)).status).toBe(303);
  const last = await enter("12121");
  expect(last.status).toBe(302);
  return last.headers.get("location") ?? "";
}
