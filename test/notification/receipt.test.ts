/** The receipt of a live payment: its mail, its page, and the merchant's calls. */

import type { SMTPServerOptions } from "smtp-server";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { useDatabase } from "../support/database.ts";
import { createCleanups, deliver, openPushLog, success } from "../support/deployment.ts";
import { type Mail, startMailbox } from "../support/mailbox.ts";
import { asMerchant, call, pay, send, startNode, type TestNode } from "../support/node.ts";

const file = useDatabase();

/** A node with a mail server and a provider that moves money. */
async function start(options: SMTPServerOptions = {}, env: Record<string, string> = {}) {
  const cleanups = createCleanups();
  onTestFinished(cleanups.runAll);
  const pushLog = await openPushLog(cleanups);
  const mailbox = await startMailbox(options);
  const node = await startNode({
    databaseUrl: file.url,
    env: { ...pushLog.env, SMTP_URL: mailbox.url, MAIL_FROM: "shop@example.com", SHOP_NAME: "Asha's Books", ...env },
  });
  // Its row is created by the first pass of the engine.
  await vi.waitUntil(async () => (await names(node)).includes("receipt"), { timeout: 10_000 });
  const openOrder = async (fields: Record<string, unknown> = {}) => {
    const { order } = await pay(node, { customer: { email: "asha@example.com" }, ...fields });
    const push = await pushLog.push(order.payment.id);
    push.accept();
    await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.version === 2);
    return { order, push };
  };
  const payOrder = async (fields: Record<string, unknown> = {}) => {
    const { order, push } = await openOrder(fields);
    await deliver(node, push, success());
    return order;
  };
  return { node, mailbox, openOrder, payOrder };
}

const names = async (node: TestNode): Promise<string[]> => {
  const { body } = await asMerchant(node, "/v1/notifications");
  return (body.data as unknown as { name: string }[]).map(({ name }) => name);
};

const mailsOf = ({ mails }: { mails: Mail[] }, uuid: string) =>
  mails.filter(({ messageId }) => messageId.includes(uuid));

const mailed = (mailbox: { mails: Mail[] }, uuid: string, count = 1) =>
  vi.waitUntil(() => mailsOf(mailbox, uuid).length === count, { timeout: 20_000 });

const historyOf = async (node: TestNode, orderId: string) =>
  (await asMerchant(node, `/v1/notifications/receipt/deliveries?orderId=${orderId}`)).body.data as unknown as Record<
    string,
    unknown
  >[];

/** The address of the receipt in the mail's text. */
const addressIn = ({ source }: Mail): string =>
  /http:\/\/\S+\/receipts\/[\w-]+/.exec(source.replaceAll("=\r\n", ""))?.[0] ?? "";

describe("receipt", () => {
  it("is mailed once per paid order, with the address of its page", async () => {
    const { node, mailbox, payOrder } = await start();
    const order = await payOrder();
    await mailed(mailbox, order.id);
    const [mail] = mailsOf(mailbox, order.id);
    if (!mail) throw new Error("there is one");
    expect(mail).toMatchObject({ to: "asha@example.com", messageId: `<${order.id}.receipt@example.com>` });
    const page = await call(addressIn(mail));
    expect(page.status).toBe(200);
    expect(String(page.body)).toContain(order.orderId);
    expect(page.headers.get("x-robots-tag")).toBe("noindex");
    expect(page.headers.get("cache-control")).toBe("no-store");
    await vi.waitUntil(async () => (await historyOf(node, order.orderId)).length === 1);
    expect(await historyOf(node, order.orderId)).toMatchObject([
      { orderId: order.orderId, type: "order.succeeded", status: "delivered", attempt: 1 },
    ]);
    // A later version of the order is no other receipt.
    await asMerchant(node, `/v1/orders/${order.orderId}/results`, {
      id: "t",
      kind: "text",
      title: "T",
      text: "seat 1",
    });
    const other = await payOrder();
    await mailed(mailbox, other.id);
    expect(mailsOf(mailbox, order.id)).toHaveLength(1);
  });

  it("is sent again on request, as another mail, and by a replay", async () => {
    const { node, mailbox, payOrder } = await start();
    const order = await payOrder();
    await mailed(mailbox, order.id);
    const answer = await send(node, "POST", `/v1/orders/${order.orderId}/notifications/receipt`);
    expect(answer).toMatchObject({ status: 202, body: { count: 1 } });
    await mailed(mailbox, order.id, 2);
    const replayed = await asMerchant(node, "/v1/notifications/receipt/replay", { orderId: order.orderId });
    expect(replayed).toMatchObject({ status: 202, body: { count: 1 } });
    await mailed(mailbox, order.id, 3);
    const ids = mailsOf(mailbox, order.id).map(({ messageId }) => messageId.split("@")[0]);
    const again = expect.stringMatching(new RegExp(`^<${order.id}\\.receipt\\.\\d+$`));
    expect(ids).toEqual([`<${order.id}.receipt`, again, again]);
    expect(new Set(ids).size).toBe(3);
  });

  it("has no history for an order without an address", async () => {
    const { node, mailbox, payOrder } = await start();
    const order = await payOrder({ customer: { name: "Asha" } });
    const other = await payOrder();
    await mailed(mailbox, other.id);
    expect(await historyOf(node, order.orderId)).toEqual([]);
  });

  it("ends with a recipient that the mail server refuses", async () => {
    const { node, mailbox, payOrder } = await start({
      onRcptTo: (_address, _session, done) => done(Object.assign(new Error("unknown"), { responseCode: 550 })),
    });
    const { orderId } = await payOrder();
    await vi.waitUntil(async () => (await historyOf(node, orderId)).length === 1, { timeout: 10_000 });
    expect(await historyOf(node, orderId)).toMatchObject([{ status: "failed", answer: "550 unknown" }]);
    const pending = await asMerchant(node, `/v1/notifications/receipt/deliveries?status=pending&orderId=${orderId}`);
    expect(pending.body.data).toEqual([]);
    expect(mailbox.mails).toEqual([]);
  });

  it("delays neither the order nor another endpoint while the mail server is silent", async () => {
    const { node, mailbox, payOrder } = await start();
    const held = Promise.withResolvers<void>();
    mailbox.beforeAccept = () => held.promise;
    onTestFinished(() => held.resolve());
    const backend = await startBackend();
    await addEndpoint(node, backend);
    const order = await payOrder();
    await vi.waitUntil(() => backend.received.some(({ body }) => body.data.order?.orderId === order.orderId), {
      timeout: 20_000,
    });
    expect(mailsOf(mailbox, order.id)).toEqual([]);
    held.resolve();
    await mailed(mailbox, order.id);
  });
});

describe("the page of a receipt", () => {
  it("has the language of the query, and is unknown at any other address", async () => {
    const { node, mailbox, payOrder } = await start();
    const order = await payOrder({ lang: "sw" });
    await mailed(mailbox, order.id);
    const [mail] = mailsOf(mailbox, order.id);
    const address = mail ? addressIn(mail) : "";
    const pages = await Promise.all(["", "?lang=bn", "?lang=xx"].map((query) => call(address + query)));
    expect(pages.map(({ body }) => /<html lang="(\w+)"/.exec(String(body))?.[1])).toEqual(["sw", "bn", "sw"]);
    for (const token of ["x", "A".repeat(24), `${address.split("/").at(-1)}A`]) {
      expect((await call(`${node.url}/receipts/${token}`)).status).toBe(404);
    }
  });
});

describe("the API of notifications", () => {
  it("lists those that are configured, for the merchant only", async () => {
    const { node } = await start();
    expect((await asMerchant(node, "/v1/notifications")).body.data).toEqual(
      expect.arrayContaining([{ name: "receipt", live: true, events: ["order.succeeded"] }]),
    );
    for (const [method, path] of [
      ["GET", "/v1/notifications"],
      ["GET", "/v1/notifications/receipt/deliveries"],
      ["POST", "/v1/notifications/receipt/replay"],
      ["POST", "/v1/notifications/receipt/test"],
      ["GET", "/v1/orders/ORD-1/notifications"],
      ["POST", "/v1/orders/ORD-1/notifications/receipt"],
    ] as const) {
      expect((await call(node.url + path, { method })).body.code).toBe("key_invalid");
    }
  });

  it("refuses unknown names, unknown orders and orders that are not paid", async () => {
    const { node, openOrder } = await start();
    const { order } = await openOrder();
    const code = async (path: string, body?: unknown) => (await send(node, "POST", path, body)).body.code;
    expect(await code("/v1/orders/nobody/notifications/receipt")).toBe("order_unknown");
    expect(await code(`/v1/orders/${order.orderId}/notifications/receipt`)).toBe("order_unpaid");
    expect((await asMerchant(node, "/v1/orders/nobody/notifications")).body.code).toBe("order_unknown");
    expect(await code(`/v1/orders/${order.orderId}/notifications/fax`)).toBe("notification_unknown");
    expect(await code("/v1/notifications/fax/replay", { orderId: order.orderId })).toBe("notification_unknown");
    expect(await code("/v1/notifications/receipt/replay", {})).toBe("body_invalid");
    expect((await asMerchant(node, "/v1/notifications/fax/deliveries")).body.code).toBe("notification_unknown");
    expect((await asMerchant(node, "/v1/notifications/receipt/deliveries?limit=0")).body.code).toBe("body_invalid");
  });
});
