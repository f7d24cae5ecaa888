/** bKash's notifications through Amazon SNS, on real nodes. A valid signature lifts the limits of unsigned webhooks. */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createBkash, fetchBkashToken } from "../../server/provider/bkash/adapter.ts";
import type { CreateProvider } from "../../server/provider/define.ts";
import { snsTopicArn, testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { providerEnv, startScriptedProvider } from "../support/scripted-provider.ts";
import { createSigner } from "../support/sns.ts";
import { startTcpProxy } from "../support/tcp-proxy.ts";

let databaseUrl: string;
let database: Database;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  database = openDatabase(url, () => undefined);
  return async () => {
    await database.close();
    await drop();
  };
});

const signer = createSigner();
const { body: notification } = fixture("bkash", "webhook-completed");
const { body: subscription } = fixture("bkash", "webhook-subscription");

/** A bKash server whose notifications `signer` signs. `fetchCertificate` supplies the certificate, or fails. */
const openSigned =
  (fetchCertificate: (url: URL) => Promise<string>): CreateProvider =>
  ({ baseUrl, client, accessToken }) => {
    const config = { ...testAccount("bkash"), SNS_TOPIC_ARN: snsTopicArn, baseUrl };
    const fetch = (refreshToken?: string) => fetchBkashToken(config, client, refreshToken);
    return createBkash(config, { client, accessToken: accessToken({ fetch }), sns: { fetchCertificate } });
  };

interface Options {
  fetchCertificate: (url: URL) => Promise<string>;
  databaseUrl: string;
  env: Record<string, string>;
}

interface Ground {
  node: TestNode;
  paymentId: string;
  /** The status in bKash's query answers; may be replaced at any time. */
  paid(): void;
  status(): Promise<string>;
  post(message: object): Promise<{ status: number; code?: string }>;
}

/** Starts a node and a payment that waits for its payer. */
async function start({ fetchCertificate = async () => signer.pem, ...own }: Partial<Options> = {}): Promise<Ground> {
  let isPaid = false;
  let created: Record<string, unknown> = {};
  const { url } = await startScriptedProvider(({ path, body }) => {
    if (path.includes("/token/")) return fixture("bkash", "token-granted");
    if (path.endsWith("/create")) created = body;
    const name = path.endsWith("/create") ? "create-accepted" : isPaid ? "query-completed" : "query-initiated";
    const { body: answer } = fixture("bkash", name);
    const paymentID = `TR${created.merchantInvoiceNumber}`;
    const { amount, merchantInvoiceNumber: merchantInvoice } = created;
    return { body: { ...answer, paymentID, amount, merchantInvoice, ...(isPaid && { trxID: `T${randomUUID()}` }) } };
  });
  const node = await startNode({
    databaseUrl: own.databaseUrl ?? databaseUrl,
    env: { ...providerEnv("bkash", url), ...own.env },
    open: { bkash: openSigned(fetchCertificate) },
  });
  const { order } = await pay(node, { provider: "bkash", currency: "BDT", phone: undefined });
  const status = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order.status;
  await vi.waitUntil(async () => (await status()) === "processing");
  return {
    node,
    paymentId: order.payment.id,
    paid() {
      isPaid = true;
    },
    status,
    async post(message) {
      const answer = await fetch(`${node.url}/webhooks/bkash`, {
        method: "POST",
        headers: { "content-type": "text/plain" },
        body: JSON.stringify(message),
      });
      const text = await answer.text();
      return { status: answer.status, ...(text.startsWith("{") && { code: JSON.parse(text).code }) };
    },
  };
}

const about = (paymentId: string): object => {
  const message = JSON.parse(String(notification.Message));
  return { ...notification, Message: JSON.stringify({ ...message, merchantInvoiceNumber: paymentId }) };
};

const rowsOf = async (paymentId: string) => {
  const { rows } = await database.pool.query<{ proof: string; result: string }>(
    "select proof, result from webhook where payment_id = $1 order by id",
    [paymentId],
  );
  return rows;
};

describe("a signed notification", () => {
  it("causes a query at once, despite any number of unsigned webhooks, for this payment and others", async () => {
    const { paymentId, paid, status, post } = await start();
    const junk = async (): Promise<number> => {
      const messages = [about(paymentId), ...Array.from({ length: 49 }, () => about(randomUUID()))];
      const answers = await Promise.all(messages.map(post));
      return Math.max(...answers.map(({ status }) => status));
    };
    await vi.waitUntil(async () => (await junk()) === 429, { timeout: 30_000, interval: 1 });
    // Only a notification causes a query, because the schedule is disabled.
    await database.pool.query("update payment set check_at = clock_timestamp() + interval '1 hour'");
    paid();
    expect(await post(about(paymentId))).toMatchObject({ status: 429 });
    expect(await status()).toBe("processing");
    expect(await post(signer.sign(about(paymentId)))).toEqual({ status: 200 });
    await vi.waitUntil(async () => (await status()) === "succeeded");
    expect((await rowsOf(paymentId)).at(-1)).toEqual({ proof: "signature", result: "hint" });
  });

  it("proves nothing: the query decides (G7)", async () => {
    const { paymentId, status, post } = await start();
    expect(await post(signer.sign(about(paymentId), "2"))).toEqual({ status: 200 });
    expect(await status()).toBe("processing");
  });

  it("counts as unsigned when it was altered or its certificate is unavailable", async () => {
    const { paymentId, post } = await start();
    expect(await post({ ...about(paymentId), ...signer.sign(notification), ...about(paymentId) })).toEqual({
      status: 200,
    });
    const signature = signer.sign(about(randomUUID()));
    expect(await post({ ...signature, Message: Object(about(paymentId)).Message })).toEqual({ status: 200 });
    const other = await start({ fetchCertificate: () => Promise.reject(new Error("ENOTFOUND")) });
    expect(await other.post(signer.sign(about(other.paymentId)))).toEqual({ status: 200 });
    expect([...(await rowsOf(paymentId)), ...(await rowsOf(other.paymentId))]).toEqual(
      Array(3).fill({ proof: "none", result: "hint" }),
    );
  });

  it("of another channel of the merchant is stored, and not retried", async () => {
    const { post } = await start();
    const { body } = fixture("bkash", "webhook-other-channel");
    const message = { ...body, MessageId: randomUUID() };
    expect(await post(signer.sign(message))).toEqual({ status: 200 });
    const { rows } = await database.pool.query(
      "select proof, result, offer_at from webhook where convert_from(body, 'UTF8') like $1",
      [`%${message.MessageId}%`],
    );
    expect(rows).toEqual([{ proof: "signature", result: "nothing", offer_at: null }]);
  });
});

describe("a replayed signed notification of another channel", () => {
  it("is stored at most 300 times a minute, without using the limit of payments' notifications (G12)", async () => {
    const { paymentId, post } = await start();
    const { body } = fixture("bkash", "webhook-other-channel");
    const MessageId = randomUUID();
    const message = signer.sign({ ...body, MessageId });
    const answers: number[] = [];
    for (let more = 0; more < 7; more += 1) {
      answers.push(
        ...(await Promise.all(Array.from({ length: 100 }, () => post(message)))).map(({ status }) => status),
      );
    }
    // Twice 300, because a new minute may begin during the test.
    const refused = answers.filter((status) => status === 429).length;
    expect(refused).toBeGreaterThanOrEqual(100);
    const { rows } = await database.pool.query(
      "select count(*)::int as count from webhook where convert_from(body, 'UTF8') like $1",
      [`%${MessageId}%`],
    );
    expect(rows).toEqual([{ count: answers.filter((status) => status === 200).length }]);
    expect(await post(signer.sign(about(paymentId)))).toEqual({ status: 200 });
  });
});

describe("a notification during an outage of PostgreSQL", () => {
  it("is spooled when signed and causes a query afterwards, and gets 503 when unsigned", async () => {
    const dataDir = await mkdtemp(join(tmpdir(), "tukio-"));
    onTestFinished(() => rm(dataDir, { recursive: true, force: true }));
    const proxy = await startTcpProxy(databaseUrl);
    const { paymentId, paid, status, post } = await start({
      databaseUrl: proxy.url,
      env: { SPOOL: "on", DATA_DIR: dataDir },
    });
    await database.pool.query("update payment set check_at = clock_timestamp() + interval '1 hour'");
    paid();
    proxy.cut();
    expect(await post(about(paymentId))).toEqual({ status: 503, code: "store_unavailable" });
    expect(await post(signer.sign(about(paymentId)))).toEqual({ status: 200 });
    // A subscription needs a request to Amazon, which may fail, so Amazon has to repeat it.
    expect(await post(signer.sign(subscription))).toEqual({ status: 503, code: "store_unavailable" });
    proxy.restore();
    await vi.waitUntil(async () => (await status().catch(() => "")) === "succeeded", { timeout: 10_000 });
    expect(await rowsOf(paymentId)).toEqual([{ proof: "signature", result: "hint" }]);
  });
});

describe("a subscription request", () => {
  // This region does not exist, so the confirmation fails.
  const SubscribeURL = `https://sns.xx-nowhere-0.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${subscription.TopicArn}&Token=x`;
  const nowhere = { ...subscription, SubscribeURL };

  const failuresIn = (log: readonly string[]): number =>
    log.filter((line) => line.includes('"event":"webhook.subscription.unconfirmed"')).length;

  it("is stored and answered 503 when it cannot be confirmed", async () => {
    const { node, post } = await start();
    expect(await post(signer.sign(nowhere))).toEqual({ status: 503, code: "provider_unavailable" });
    expect(failuresIn(node.log)).toBe(1);
    // The URL is not requested again at once.
    expect(await post(signer.sign(nowhere))).toEqual({ status: 503, code: "provider_unavailable" });
    expect(failuresIn(node.log)).toBe(1);
  });

  it("is not confirmed when unsigned, and is answered 503 when its certificate is unavailable", async () => {
    const { node, post } = await start({ fetchCertificate: () => Promise.reject(new Error("ENOTFOUND")) });
    expect(await post(nowhere)).toEqual({ status: 401, code: "webhook_rejected" });
    expect(await post(signer.sign(nowhere))).toEqual({ status: 503, code: "provider_unavailable" });
    expect(failuresIn(node.log)).toBe(0);
  });
});
