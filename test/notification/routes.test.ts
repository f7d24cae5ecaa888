/** What the merchant asks of the notifications: to send again what cannot be sent, and test messages. */
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createDatabase } from "../support/database.ts";
import { connect } from "../support/delivery.ts";
import { createCleanups, deliver, openPushLog, success } from "../support/deployment.ts";
import { createKey, withKey } from "../support/key.ts";
import { startMailbox } from "../support/mailbox.ts";
import { asMerchant, call, pay, send, startNode, type TestNode } from "../support/node.ts";
import { startScriptedProvider } from "../support/scripted-provider.ts";

// A database for each test, because each has other notifications.
let databaseUrl: string;
beforeEach(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

/** A node with these notifications, and a provider that moves money. */
async function start(names: string[], env: Record<string, string>) {
  const cleanups = createCleanups();
  onTestFinished(cleanups.runAll);
  const pushLog = await openPushLog(cleanups);
  const node = await startNode({ databaseUrl, env: { ...pushLog.env, SHOP_NAME: "Asha's Books", ...env } });
  const active = async () => (await asMerchant(node, "/v1/notifications")).body.data as unknown as { name: string }[];
  await vi.waitUntil(async () => (await active()).length === names.length, { timeout: 10_000 });
  const payOrder = async (fields: Record<string, unknown> = {}, amount?: number) => {
    const { order } = await pay(node, fields);
    const push = await pushLog.push(order.payment.id);
    push.accept();
    await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.version === 2);
    await deliver(node, push, success(amount));
    return order;
  };
  return { node, payOrder };
}

const again = (node: TestNode, orderId: string, name: string) =>
  send(node, "POST", `/v1/orders/${orderId}/notifications/${name}`);

const test = (node: TestNode, name: string, body?: object) =>
  send(node, "POST", `/v1/notifications/${name}/test`, body);

const withMail = async (options = {}) => {
  const mailbox = await startMailbox(options);
  return { mailbox, env: { SMTP_URL: mailbox.url, MAIL_FROM: "shop@example.com" } };
};

const withGateway = (url: string) => ({ SMS_PROVIDER: "http", SMS_API_KEY: "a-key", SMS_URL: url });

describe("a request to send again", () => {
  it("names what the order lacks", async () => {
    const { env } = await withMail();
    const gateway = await startScriptedProvider(() => ({ body: { accepted: true } }));
    const { node, payOrder } = await start(["receipt", "sms"], { ...env, ...withGateway(gateway.url) });
    const { orderId, id } = await payOrder();
    const receipt = await again(node, orderId, "receipt");
    expect(receipt).toMatchObject({ status: 409, body: { code: "recipient_missing" } });
    expect(receipt.body.errors).toEqual([{ path: "customer.email", message: expect.any(String) }]);
    expect((await again(node, orderId, "sms")).status).toBe(202);
    await vi.waitUntil(() => gateway.calls.length > 0, { timeout: 10_000 });
    // As after the retention of phones.
    const client = await connect(databaseUrl);
    await client.query("update payment set phone = '+2547*****678' where order_uuid = $1", [id]);
    const sms = await again(node, orderId, "sms");
    expect(sms).toMatchObject({ status: 409, body: { code: "recipient_missing" } });
    expect(sms.body.errors).toEqual([{ path: "customer.phone", message: expect.any(String) }]);
    expect((await asMerchant(node, `/v1/orders/${orderId}/notifications`)).body.data).toMatchObject([
      { name: "receipt" },
      { name: "sms" },
    ]);
  });

  it("says that live payments have no such notification on a node whose sandbox has it", async () => {
    const { node, payOrder } = await start(["receipt", "sms", "alert"], { SANDBOX: "mtn" });
    const { orderId } = await payOrder({ customer: { email: "asha@example.com" } });
    for (const name of ["receipt", "sms", "alert"]) {
      expect((await again(node, orderId, name)).body).toMatchObject({
        code: "notification_unknown",
        detail: `The notification ${name} is not configured for live payments`,
      });
    }
  });

  it("refuses an alert about an order that needs nobody", async () => {
    const { mailbox, env } = await withMail();
    const { node, payOrder } = await start(["receipt", "alert"], { ...env, MERCHANT_EMAIL: "owner@example.com" });
    const paid = await payOrder();
    expect((await again(node, paid.orderId, "alert")).body).toMatchObject({
      code: "not_in_review",
      order: { orderId: paid.orderId },
    });
    expect((await again(node, "nobody", "alert")).body.code).toBe("order_unknown");
    const reviewed = await payOrder({}, 100);
    await vi.waitUntil(() => mailbox.mails.length === 1, { timeout: 10_000 });
    expect((await again(node, reviewed.orderId, "alert")).status).toBe(202);
  });
});

it("shows the secret URL for delivery reports to keys that may change things, and to no other", async () => {
  const { node } = await start(["sms"], withGateway("http://127.0.0.1:9/sms"));
  const shown = async (scopes: Parameters<typeof createKey>[1]) => {
    const { secret } = await createKey(node, scopes);
    return JSON.stringify((await withKey(node, secret, "/v1/notifications")).body);
  };
  expect(await shown(["read", "manage"])).toContain("/webhooks/sms/http/");
  expect(await shown(["read", "pay"])).not.toMatch(/reportUrl|webhooks/);
});

describe("a test message", () => {
  it("goes to the given address or the merchant, and returns the words of the mail server", async () => {
    const { mailbox, env } = await withMail();
    const { node } = await start(["receipt", "alert"], { ...env, MERCHANT_EMAIL: "owner@example.com" });
    for (const name of ["receipt", "alert"]) {
      expect((await test(node, name)).body).toEqual({
        ...{ delivered: true, live: true, durationMs: expect.any(Number) },
        answer: expect.stringMatching(/^250 /),
      });
    }
    await test(node, "receipt", { to: "asha@example.com" });
    expect(mailbox.mails.map(({ to, subject }) => [to, subject])).toEqual([
      ["owner@example.com", expect.stringContaining("Test_mail")],
      ["owner@example.com", expect.stringContaining("Test_mail")],
      ["asha@example.com", expect.stringContaining("Test_mail")],
    ]);
    expect(new Set(mailbox.mails.map(({ messageId }) => messageId)).size).toBe(3);
  });

  it("returns why the mail server refuses it", async () => {
    const { env } = await withMail({
      onRcptTo: (_address: unknown, _session: unknown, done: (error: Error) => void) =>
        done(Object.assign(new Error("5.1.1 no such mailbox"), { responseCode: 550 })),
    });
    const { node } = await start(["receipt"], env);
    expect((await test(node, "receipt", { to: "nobody@example.com" })).body).toMatchObject({
      ...{ delivered: false, live: true, answer: "550 5.1.1 no such mailbox" },
      error: expect.stringContaining("RCPT TO 550"),
    });
  });

  it("goes to the given phone by the gateway, and returns its words", async () => {
    const gateway = await startScriptedProvider(() => ({ body: { accepted: true, id: "m-7" } }));
    const { node } = await start(["sms"], withGateway(gateway.url));
    expect((await test(node, "sms", { to: "+254 712 345 678" })).body).toMatchObject({
      ...{ delivered: true, live: true, answer: "m-7" },
    });
    expect(gateway.calls[0]?.body).toMatchObject({
      to: "+254712345678",
      text: "Test SMS from Asha's Books. Your payers receive receipts like this.",
    });
    gateway.respond = () => ({ body: { accepted: false, error: "no credit left" } });
    expect((await test(node, "sms", { to: "+254712345678" })).body).toMatchObject({
      ...{ delivered: false, error: "refused: by the gateway", answer: "no credit left" },
    });
    gateway.respond = () => "drop";
    expect((await test(node, "sms", { to: "+254712345678" })).body).toMatchObject({
      ...{ delivered: false, error: expect.stringMatching(/^unknown: /) },
    });
  });

  it("stays in the sandbox if nothing is configured", async () => {
    const { node } = await start(["receipt", "sms", "alert"], { SANDBOX: "daraja" });
    expect((await test(node, "alert")).body).toMatchObject({ delivered: true, live: false });
    expect((await test(node, "sms", { to: "+254712345677" })).body).toMatchObject({ delivered: true, live: false });
    const { mails } = (await call(`${node.url}/sandbox/inbox.json`)).body as unknown as { mails: object[] };
    expect(mails).toMatchObject([{ to: "merchant@example.com", subject: "Test mail – Asha's Books" }]);
    const { sms } = (await call(`${node.url}/sandbox/phone/0712345677/prompts`)).body as unknown as { sms: object[] };
    expect(sms).toHaveLength(1);
  });

  it("needs a usable recipient, and a notification that the node has", async () => {
    const { env } = await withMail();
    const gateway = await startScriptedProvider(() => ({ body: { accepted: true } }));
    const { node } = await start(["receipt", "sms"], { ...env, ...withGateway(gateway.url) });
    const fault = async (name: string, body?: object) => {
      const { status, body: problem } = await test(node, name, body);
      return [status, problem.code, problem.errors?.[0]?.path];
    };
    expect(await fault("receipt")).toEqual([400, "body_invalid", "to"]);
    expect(await fault("receipt", { to: "a@example.com, b@example.com" })).toEqual([400, "body_invalid", "to"]);
    expect(await fault("receipt", { from: "x" })).toEqual([400, "body_invalid", "from"]);
    for (const body of [undefined, { to: "0712345678" }, { to: "+2547" }, { to: "asha@example.com" }]) {
      expect(await fault("sms", body)).toEqual([400, "phone_invalid", "to"]);
    }
    expect(await fault("alert")).toEqual([404, "notification_unknown", undefined]);
    expect(gateway.calls).toEqual([]);
  });

  it("is sent at most ten times in a minute", async () => {
    const { mailbox, env } = await withMail();
    const { node } = await start(["receipt"], env);
    const statuses: number[] = [];
    for (let n = 0; n < 11; n += 1) statuses.push((await test(node, "receipt", { to: "a@example.com" })).status);
    expect(statuses).toEqual([...Array(10).fill(200), 429]);
    expect(mailbox.mails).toHaveLength(10);
  });
});
