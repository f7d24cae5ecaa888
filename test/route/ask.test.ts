/** `POST /v1/payments/:id/ask`: the provider's answer counts as evidence, at the provider's pace, whatever else happens. */
import { beforeEach, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import { lipanaWebhook } from "../support/lipana.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import {
  providerEnv,
  type ScriptedAnswer,
  type ScriptedProvider,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

const file = useDatabase();

let references = 0;
let provider: ScriptedProvider;
/** The answer to queries. */
let answer: () => ScriptedAnswer | "drop" | Promise<ScriptedAnswer | "drop">;
let reference: string;

const transaction = (fields: object): ScriptedAnswer => ({
  body: { success: true, data: { transactionId: reference, amount: 150, ...fields } },
});

beforeEach(async () => {
  references += 1;
  reference = `TXN${process.pid}A${references}`;
  answer = () => transaction({ status: "pending" });
  provider = await startScriptedProvider(({ method }) =>
    method === "POST" ? { body: { success: true, data: { transactionId: reference, status: "pending" } } } : answer(),
  );
});

const start = (env: Record<string, string> = {}): Promise<TestNode> =>
  startNode({
    databaseUrl: file.url,
    env: { ...providerEnv("lipana", provider.url), NODE_ENV: "development", ...env },
  });

/** Starts a payment that the provider has accepted. */
async function payAccepted(node: TestNode): Promise<{ orderId: string; paymentId: string }> {
  const { order } = await pay(node, { provider: "lipana", phone: "+254712345678" });
  await asMerchant(node, `/v1/orders/${order.orderId}/wait?after=1`);
  return { orderId: order.orderId, paymentId: order.payment.id };
}

const ask = (node: TestNode, paymentId: string) =>
  call(`${node.url}/v1/payments/${paymentId}/ask`, {
    method: "POST",
    headers: { authorization: "Bearer test-api-key-of-some-length" },
  });

const sendWebhook = (node: TestNode, status: "success" | "failed") => {
  const { body, headers } = lipanaWebhook({ reference, amountMinor: 15_000, receipt: `A${reference}` });
  if (status === "success") return call(`${node.url}/webhooks/lipana`, { method: "POST", body, headers });
  throw new Error("only successes are signed here");
};

/** The payment has expired long ago, so that the schedule asks no more. */
const expire = (paymentId: string) =>
  file.database.pool.query(
    `with p as (update payment set status = 'expired', reason = 'deadline', check_at = null where id = $1 returning order_uuid)
     update "order" set status = 'expired', reason = 'deadline' where id = (select order_uuid from p)`,
    [paymentId],
  );

describe("POST /v1/payments/:id/ask", () => {
  it("finds money that the schedule asks for no more, and answers what the provider said", async () => {
    const node = await start();
    const { orderId, paymentId } = await payAccepted(node);
    await expire(paymentId);
    answer = () => transaction({ status: "success", mpesaReceiptNumber: `R${reference}` });
    expect(await ask(node, paymentId)).toMatchObject({
      status: 200,
      body: {
        answer: { status: "succeeded", receipt: `R${reference}`, amountMinor: 15_000, currency: "KES" },
        changed: true,
        payment: { id: paymentId, orderId, status: "succeeded", reason: "late" },
        order: { orderId, status: "succeeded", reason: "late" },
      },
    });
    // Again: nothing changes.
    expect((await ask(node, paymentId)).body).toMatchObject({ changed: false, order: { version: 3 } });
    const { events } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    expect(events.at(-1)).toMatchObject({ source: "query", reason: "late" });
  });

  it("answers null if the provider knows no outcome, and changes nothing by one failure", async () => {
    const node = await start();
    const { paymentId } = await payAccepted(node);
    answer = () => ({ body: { success: true, data: { transactionId: "another" } } });
    expect((await ask(node, paymentId)).body).toMatchObject({
      answer: null,
      changed: false,
      order: { status: "processing" },
    });
    answer = () => transaction({ status: "failed" });
    expect((await ask(node, paymentId)).body).toMatchObject({
      answer: { status: "failed" },
      changed: false,
      order: { status: "processing" },
    });
  });

  it("keeps a success that a webhook brings while the provider answers that it failed (G2)", async () => {
    const node = await start();
    const { orderId, paymentId } = await payAccepted(node);
    const asked = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    answer = async () => {
      asked.resolve();
      await released.promise;
      return transaction({ status: "failed" });
    };
    const asking = ask(node, paymentId);
    await asked.promise;
    expect((await sendWebhook(node, "success")).status).toBe(200);
    released.resolve();
    expect((await asking).body).toMatchObject({
      answer: { status: "failed" },
      changed: false,
      order: { status: "succeeded" },
    });
    expect((await asMerchant(node, `/v1/orders/${orderId}`)).body.events).toHaveLength(3);
  });

  it("makes one event of a webhook and two answers that say the same at once (G6)", async () => {
    const node = await start();
    const { orderId, paymentId } = await payAccepted(node);
    answer = () => transaction({ status: "success", mpesaReceiptNumber: `A${reference}` });
    await Promise.all([ask(node, paymentId), sendWebhook(node, "success"), ask(node, paymentId)]);
    const { order, events } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    expect([order.status, events.map(({ status }) => status)]).toEqual([
      "succeeded",
      ["pending", "processing", "succeeded"],
    ]);
  });

  it("says that the provider does not answer, or takes no more questions", async () => {
    const node = await start();
    const { paymentId } = await payAccepted(node);
    answer = () => "drop";
    expect(await ask(node, paymentId)).toMatchObject({ status: 503, body: { code: "provider_unavailable" } });
    answer = () => ({ status: 429, body: { message: "Too many" }, headers: { "retry-after": "7" } });
    const slowed = await ask(node, paymentId);
    expect([slowed.status, slowed.body.code, slowed.headers.get("retry-after")]).toEqual([429, "rate_limited", "7"]);
    // All nodes wait for the pause.
    const paused = await ask(node, paymentId);
    expect([paused.status, paused.body.code]).toEqual([429, "rate_limited"]);
    await file.database.pool.query("delete from query_pace");
  });

  it("asks about a payment six times in a minute", async () => {
    const node = await start();
    const { paymentId } = await payAccepted(node);
    for (let times = 0; times < 6; times += 1) expect((await ask(node, paymentId)).status).toBe(200);
    const refused = await ask(node, paymentId);
    expect([refused.status, refused.body.code]).toEqual([429, "rate_limited"]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    // Another payment has its own turns.
    reference = `${reference}B`;
    expect((await ask(node, (await payAccepted(node)).paymentId)).status).toBe(200);
  });

  it("waits for the pace of all nodes", async () => {
    const node = await start({ LIPANA_QUERIES_PER_MINUTE: "1" });
    const { paymentId } = await payAccepted(node);
    await expire(paymentId);
    await file.database.pool.query(
      `insert into query_pace (provider, next_at) values ('lipana', now() - interval '1 hour')
       on conflict (provider) do update set next_at = excluded.next_at, halvings = 0`,
    );
    expect((await ask(node, paymentId)).status).toBe(200);
    const paced = await ask(node, paymentId);
    expect([paced.status, paced.body.code]).toEqual([429, "rate_limited"]);
    expect(Number(paced.headers.get("retry-after"))).toBeGreaterThan(30);
    await file.database.pool.query("delete from query_pace");
  });

  it("refuses what cannot be asked about, and says why", async () => {
    const node = await start();
    const { paymentId } = await payAccepted(node);
    const other = await startNode({ databaseUrl: file.url, env: { SANDBOX: "daraja" } });
    expect(await ask(other, paymentId)).toMatchObject({
      status: 409,
      body: { code: "not_askable", detail: "The provider lipana is not enabled on this node" },
    });
    const lost = await pay(other, { phone: "+254712345612" });
    expect(await ask(other, lost.order.payment.id)).toMatchObject({ status: 409, body: { code: "not_askable" } });
    await file.database.pool.query("update payment set reference = 'ws_CO_1******678' where id = $1", [paymentId]);
    expect((await ask(node, paymentId)).body).toMatchObject({
      code: "not_askable",
      detail: "The provider's reference is erased",
    });
    expect((await ask(node, "0199f2c4-0000-7000-8000-00000000ffff")).body).toMatchObject({ code: "payment_unknown" });
    expect((await ask(node, "x")).body).toMatchObject({ code: "body_invalid", errors: [{ path: "id" }] });
    expect((await call(`${node.url}/v1/payments/${paymentId}/ask`, { method: "POST" })).body).toMatchObject({
      code: "key_invalid",
    });
  });
});
