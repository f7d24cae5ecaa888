/** Alerts to the merchant: which events lead to one, and how mails group them. */
import type { SMTPServerOptions } from "smtp-server";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { addEndpoint, startBackend } from "../support/backend.ts";
import { createDatabase } from "../support/database.ts";
import { connect } from "../support/delivery.ts";
import { createCleanups, deliver, failure, openPushLog, type PushLog, success } from "../support/deployment.ts";
import { type Mailbox, startMailbox } from "../support/mailbox.ts";
import { asMerchant, call, pay, send, startNode, type TestNode } from "../support/node.ts";
import { freePort } from "../support/redis.ts";
import { darajaEnv } from "../support/scripted-daraja.ts";

interface Ground {
  node: TestNode;
  mailbox: Mailbox;
  pushLog: PushLog;
  query(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
}

const settings = { MAIL_FROM: "shop@example.com", MERCHANT_EMAIL: "owner@example.com" };

// A database for each test, because an hour is between two mails of a kind.
let databaseUrl: string;
beforeEach(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

/** A node with a mail server, and a provider that moves money. */
async function start(options: SMTPServerOptions = {}): Promise<Ground> {
  const cleanups = createCleanups();
  onTestFinished(cleanups.runAll);
  const pushLog = await openPushLog(cleanups);
  const mailbox = await startMailbox(options);
  const node = await startNode({ databaseUrl, env: { ...pushLog.env, SMTP_URL: mailbox.url, ...settings } });
  await active(node);
  const client = await connect(databaseUrl);
  return { node, mailbox, pushLog, query: async (text, values = []) => (await client.query(text, values)).rows };
}

/** Waits for the first pass of the engine, which creates the rows of notifications. */
const active = (node: TestNode) =>
  vi.waitUntil(async () => JSON.stringify((await asMerchant(node, "/v1/notifications")).body).includes('"alert"'), {
    timeout: 10_000,
  });

async function openOrder({ node, pushLog }: Ground, fields: Record<string, unknown> = {}) {
  const { order } = await pay(node, fields);
  const push = await pushLog.push(order.payment.id);
  push.accept();
  const isAccepted = async (): Promise<boolean> =>
    (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "processing";
  await vi.waitUntil(isAccepted);
  return { order, push };
}

/** Opens an order that is paid with another amount. */
async function openReview(ground: Ground): Promise<string> {
  const { order, push } = await openOrder(ground);
  await deliver(ground.node, push, success(100));
  return order.orderId;
}

const mailed = ({ mailbox }: Ground, count: number) =>
  vi.waitUntil(() => mailbox.mails.length === count, { timeout: 20_000 });

/** Lets an hour pass since the last mail of each kind. */
async function passHour({ query }: Ground): Promise<void> {
  await query("update alert_mail set sent_at = sent_at - interval '1 hour', tried_at = tried_at - interval '1 hour'");
  await query(
    "update delivery set attempt_at = now() where kind = 'alert' and claim is null and attempt_at is not null",
  );
}

/** The alerts that wait for a mail. */
const waiting = async ({ query }: Ground): Promise<number> =>
  (await query("select from alert where mail is null")).length;

/** Waits until the next mail is put off. */
const dueLater = ({ query }: Ground) =>
  vi.waitUntil(
    async () =>
      (await query("select from delivery where kind = 'alert' and claim is null and attempt_at > now()")).length === 1,
    { timeout: 10_000 },
  );

const textOf = (source = ""): string => source.replaceAll("=\r\n", "");

describe("alert", () => {
  it("mails the first order in review at once, and those of the next hour together after it", async () => {
    const ground = await start();
    const first = await openReview(ground);
    await mailed(ground, 1);
    const later = [await openReview(ground), await openReview(ground)];
    await vi.waitUntil(async () => (await waiting(ground)) === 2, { timeout: 10_000 });
    await dueLater(ground);
    expect(ground.mailbox.mails).toHaveLength(1);
    await passHour(ground);
    await mailed(ground, 2);
    const [one, two] = ground.mailbox.mails;
    expect([one?.to, two?.to]).toEqual([settings.MERCHANT_EMAIL, settings.MERCHANT_EMAIL]);
    expect([one?.messageId, two?.messageId]).toEqual([
      "<alert.review.live.1@example.com>",
      "<alert.review.live.2@example.com>",
    ]);
    expect(textOf(one?.source)).toContain(first);
    for (const orderId of later) expect(textOf(two?.source)).toContain(orderId);
    expect(textOf(two?.source)).not.toContain(first);
    expect(await waiting(ground)).toBe(0);
  });

  it("mails an order that was paid twice once, however often it changes", async () => {
    const ground = await start();
    const { node, pushLog } = ground;
    const { order, push } = await openOrder(ground);
    await deliver(node, push, failure);
    await vi.waitUntil(
      async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status === "failed",
    );
    const again = await pay(node, { orderId: order.orderId });
    const second = await pushLog.push(again.order.payment.id);
    second.accept();
    await deliver(node, second, success());
    await deliver(node, push, success());
    await mailed(ground, 1);
    expect(ground.mailbox.mails[0]).toMatchObject({ messageId: "<alert.paid_twice.live.1@example.com>" });
    const result = { id: "t", kind: "text", title: "T", text: "seat 1" };
    await asMerchant(node, `/v1/orders/${order.orderId}/results`, result);
    await openReview(ground);
    await mailed(ground, 2);
    expect((await ground.query("select from alert where kind = 'paid_twice'")).length).toBe(1);
  });

  it("mails an endpoint that answered 410", async () => {
    const ground = await start();
    const backend = await startBackend();
    backend.answer = (response) => response.writeHead(410).end();
    await addEndpoint(ground.node, backend);
    const { push } = await openOrder(ground);
    await deliver(ground.node, push, success());
    await mailed(ground, 1);
    expect(ground.mailbox.mails[0]).toMatchObject({ messageId: "<alert.endpoint_disabled.live.1@example.com>" });
    expect(textOf(ground.mailbox.mails[0]?.source)).toContain(backend.url);
  });

  it("mails once in an hour that calls to a provider fail", async () => {
    const mailbox = await startMailbox();
    const nowhere = darajaEnv(`http://127.0.0.1:${await freePort()}`);
    const node = await startNode({ databaseUrl, env: { ...nowhere, SMTP_URL: mailbox.url, ...settings } });
    await active(node);
    for (let n = 0; n < 10; n += 1) {
      const { order } = await pay(node);
      await asMerchant(node, `/v1/orders/${order.orderId}/wait?after=1`);
    }
    await vi.waitUntil(() => mailbox.mails.length > 0, { timeout: 20_000 });
    const client = await connect(databaseUrl);
    expect((await client.query("select subject, live from alert where kind = 'provider_failing'")).rows).toEqual([
      { subject: "daraja", live: true },
    ]);
    expect(mailbox.mails.map(({ messageId }) => messageId)).toEqual(["<alert.provider_failing.live.1@example.com>"]);
    expect(textOf(mailbox.mails[0]?.source)).toContain("M-Pesa");
  });

  it("sends the same mail again if its record was lost", async () => {
    const ground = await start();
    await openReview(ground);
    await mailed(ground, 1);
    // As if the process had ended between the mail and its record.
    await ground.query("update alert_mail set sent_at = null, tried_at = null");
    const other = await openReview(ground);
    await mailed(ground, 2);
    const [one, two] = ground.mailbox.mails;
    expect(two?.messageId).toBe(one?.messageId);
    expect(textOf(two?.source)).not.toContain(other);
    expect(await waiting(ground)).toBe(1);
    await dueLater(ground);
    await passHour(ground);
    await mailed(ground, 3);
    expect(textOf(ground.mailbox.mails[2]?.source)).toContain(other);
  });

  it("is attempted once in an hour for an address that is refused for good, and keeps the alerts for the next mail", async () => {
    let isRefused = true;
    let attempts = 0;
    const ground = await start({
      onRcptTo(_address, _session, done) {
        attempts += 1;
        done(isRefused ? Object.assign(new Error("unknown"), { responseCode: 550 }) : null);
      },
    });
    const refused = [await openReview(ground)];
    await vi.waitUntil(async () => attempts === 1 && (await waiting(ground)) === 1, { timeout: 10_000 });
    for (const count of [2, 3]) {
      refused.push(await openReview(ground));
      await vi.waitUntil(async () => (await waiting(ground)) === count, { timeout: 10_000 });
      await dueLater(ground);
    }
    expect(attempts).toBe(1);
    isRefused = false;
    await passHour(ground);
    await mailed(ground, 1);
    const text = textOf(ground.mailbox.mails[0]?.source);
    for (const orderId of refused) expect(text).toContain(orderId);
    expect(attempts).toBe(2);
  });

  it("is attempted at most once in 5 min by a mail server that refuses it for now, however many alerts follow", async () => {
    let attempts = 0;
    const ground = await start({
      onRcptTo(_address, _session, done) {
        attempts += 1;
        done(attempts > 1 ? null : Object.assign(new Error("busy"), { responseCode: 451 }));
      },
    });
    const first = await openReview(ground);
    await vi.waitUntil(() => attempts === 1, { timeout: 10_000 });
    for (const count of [1, 2]) {
      await openReview(ground);
      await vi.waitUntil(async () => (await waiting(ground)) === count, { timeout: 10_000 });
    }
    await vi.waitUntil(
      async () =>
        (
          await ground.query(
            "select from delivery where kind = 'alert' and claim is null and attempt_at > now() + interval '4 minutes'",
          )
        ).length === 1,
      { timeout: 10_000 },
    );
    expect(attempts).toBe(1);
    await passHour(ground);
    await mailed(ground, 1);
    expect(textOf(ground.mailbox.mails[0]?.source)).toContain(first);
  });

  it("is no delivery of orders that need nobody", async () => {
    const ground = await start();
    const { order, push } = await openOrder(ground);
    await deliver(ground.node, push, success());
    const reviewed = await openReview(ground);
    await mailed(ground, 1);
    const rows = await ground.query(
      `select o.order_id from delivery d join endpoint e on e.id = d.endpoint_id join "order" o on o.id = d.subject_id where e.notification = 'alert'`,
    );
    expect(rows).toEqual([{ order_id: reviewed }]);
    expect(rows).not.toContainEqual({ order_id: order.orderId });
  });

  it("mails an order again on request", async () => {
    const ground = await start();
    const orderId = await openReview(ground);
    await mailed(ground, 1);
    expect(await send(ground.node, "POST", `/v1/orders/${orderId}/notifications/alert`)).toMatchObject({ status: 202 });
    await vi.waitUntil(async () => (await waiting(ground)) === 1, { timeout: 10_000 });
    await passHour(ground);
    await mailed(ground, 2);
    expect(textOf(ground.mailbox.mails[1]?.source)).toContain(orderId);
  });

  it.each([
    ["without a mail server", () => ({})],
    ["without the merchant's address", ({ url }: Mailbox) => ({ SMTP_URL: url, MAIL_FROM: settings.MAIL_FROM })],
  ])("waits for a node that can send it while one %s has the notification for its sandbox", async (_, envOf) => {
    const ground = await start();
    const { query, mailbox } = ground;
    await openReview(ground);
    await mailed(ground, 1);
    const orderId = await openReview(ground);
    await dueLater(ground);
    await ground.node.close();
    const other = await startNode({ databaseUrl, env: { ...ground.pushLog.env, SANDBOX: "mtn", ...envOf(mailbox) } });
    await passHour(ground);
    await dueLater(ground);
    expect(await waiting(ground)).toBe(1);
    await other.close();
    await startNode({ databaseUrl, env: { ...ground.pushLog.env, SMTP_URL: mailbox.url, ...settings } });
    await query("update delivery set attempt_at = now() where kind = 'alert'");
    await mailed(ground, 2);
    expect(mailbox.mails[1]?.to).toBe(settings.MERCHANT_EMAIL);
    expect(textOf(mailbox.mails[1]?.source)).toContain(orderId);
  });

  it("keeps the mails about test payments in the sandbox's inbox", async () => {
    const mailbox = await startMailbox();
    const node = await startNode({ databaseUrl, env: { SMTP_URL: mailbox.url, ...settings } });
    await active(node);
    const { order } = await pay(node, { phone: "+254712345610" });
    const kept = async () =>
      ((await call(`${node.url}/sandbox/inbox.json`)).body as unknown as { mails: { to: string; text: string }[] })
        .mails;
    await vi.waitUntil(async () => (await kept()).some(({ to }) => to === settings.MERCHANT_EMAIL), {
      timeout: 20_000,
    });
    expect((await kept()).find(({ to }) => to === settings.MERCHANT_EMAIL)?.text).toContain(order.orderId);
    expect(mailbox.mails).toEqual([]);
  });
});
