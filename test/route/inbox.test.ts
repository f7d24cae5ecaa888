/** The inbox of webhooks for the merchant: the list, and unmatched ones that a person assigns. */
import { beforeEach, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import { lipanaWebhook, signLipana } from "../support/lipana.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { providerEnv, type ScriptedProvider, startScriptedProvider } from "../support/scripted-provider.ts";

const file = useDatabase();

let provider: ScriptedProvider;
let node: TestNode;
beforeEach(async () => {
  await file.database.pool.query("delete from webhook");
  // No push is answered, and the list of transactions is empty: only the webhook knows the reference.
  provider = await startScriptedProvider(({ method }) =>
    method === "POST" ? "drop" : { body: { success: true, data: { transactions: [] } } },
  );
  node = await startNode({
    databaseUrl: file.url,
    env: { ...providerEnv("lipana", provider.url), SANDBOX: "daraja", NODE_ENV: "development" },
  });
});

let transactions = 0;

/** Sends a signed webhook of a transaction that nobody knows. Returns its id in the inbox. */
async function sendUnmatched(fields: { amountMinor?: number; receipt?: string } = {}): Promise<number> {
  transactions += 1;
  const reference = `TXN${process.pid}X${transactions}`;
  const { body, headers } = lipanaWebhook({
    reference,
    amountMinor: 15_000,
    receipt: `L${process.pid}${transactions}`,
    ...fields,
  });
  expect((await call(`${node.url}/webhooks/lipana`, { method: "POST", body, headers })).status).toBe(200);
  const { data } = (await asMerchant(node, "/v1/webhooks?result=unmatched&limit=1")).body as unknown as {
    data: { id: number }[];
  };
  return data[0]?.id ?? 0;
}

/** Starts a payment whose answer is lost. */
async function payLost(): Promise<{ orderId: string; paymentId: string }> {
  const { order } = await pay(node, { provider: "lipana", phone: "+254712345678" });
  return { orderId: order.orderId, paymentId: order.payment.id };
}

const apply = (id: number | string, paymentId: string) => asMerchant(node, `/v1/webhooks/${id}/apply`, { paymentId });

describe("GET /v1/webhooks", () => {
  it("lists webhooks newest first, by result, provider and payment, without phones, on every page", async () => {
    const ids = [await sendUnmatched(), await sendUnmatched(), await sendUnmatched()];
    await call(`${node.url}/webhooks/lipana`, { method: "POST", body: "{}" });
    const list = async (query: string) =>
      (await asMerchant(node, `/v1/webhooks?${query}`)).body as unknown as {
        data: { id: number; result: string; body: string; proof: string; headers: Record<string, string> }[];
        nextCursor: string | null;
      };
    const { data } = await list("");
    expect(data.map(({ result }) => result)).toEqual(["refused", "unmatched", "unmatched", "unmatched"]);
    expect(data.map(({ id }) => id).slice(1)).toEqual(ids.toReversed());
    expect(data[1]).toMatchObject({
      provider: "lipana",
      proof: "signature",
      body: expect.stringContaining("+2547*****678"),
    });
    expect(JSON.stringify(data)).not.toMatch(/712345678/);
    expect(data[1]?.headers["x-lipana-signature"]).toBe("***");
    const first = await list("result=unmatched&limit=2");
    const second = await list(`result=unmatched&limit=2&cursor=${first.nextCursor}`);
    expect([...first.data, ...second.data].map(({ id }) => id)).toEqual(ids.toReversed());
    expect(second.nextCursor).toBeNull();
    expect((await list("provider=daraja")).data).toEqual([]);
    const { paymentId, orderId } = await payLost();
    await apply(ids[0] ?? 0, paymentId);
    expect((await list(`paymentId=${paymentId}`)).data).toMatchObject([{ id: ids[0], result: "applied", orderId }]);
  });

  it.each([
    ["result=none", "result"],
    ["paymentId=x", "paymentId"],
    ["cursor=x", "cursor"],
    ["status=paid", "status"],
  ])("refuses %s, naming the field", async (query, field) => {
    const { status, body } = await asMerchant(node, `/v1/webhooks?${query}`);
    expect([status, body.code, body.errors?.map(({ path }) => path)]).toEqual([400, "body_invalid", [field]]);
    expect((await call(`${node.url}/v1/webhooks?${query}`)).body).toMatchObject({ code: "key_invalid" });
  });
});

describe("POST /v1/webhooks/:id/apply", () => {
  it("pays the payment as the webhook would have, once: the second time it is settled", async () => {
    const { orderId, paymentId } = await payLost();
    const id = await sendUnmatched();
    const applied = await apply(id, paymentId);
    expect(applied).toMatchObject({
      status: 200,
      body: {
        result: "applied",
        payment: { id: paymentId, status: "succeeded", amountPaidMinor: 15_000 },
        order: { orderId, status: "succeeded" },
      },
    });
    const { events } = (await asMerchant(node, `/v1/orders/${orderId}`)).body;
    expect(events.at(-1)).toMatchObject({ status: "succeeded", source: "webhook" });
    expect(await apply(id, paymentId)).toMatchObject({ status: 409, body: { code: "webhook_settled" } });
  });

  it("reviews another amount, and a receipt of another payment", async () => {
    const first = await payLost();
    expect((await apply(await sendUnmatched({ amountMinor: 10_000 }), first.paymentId)).body).toMatchObject({
      result: "applied",
      order: { status: "review", reason: "amount_mismatch" },
    });
    const [second, third] = [await payLost(), await payLost()];
    const receipt = `SAME${process.pid}`;
    await apply(await sendUnmatched({ receipt }), second.paymentId);
    expect((await apply(await sendUnmatched({ receipt }), third.paymentId)).body).toMatchObject({
      order: { status: "review", reason: "receipt_reused" },
    });
  });

  it("only makes the node ask the provider about a webhook that proves nothing (G7)", async () => {
    const { paymentId, orderId } = await payLost();
    const body = JSON.stringify({
      ...fixture("lipana", "webhook-contradiction").body,
      transaction_id: `TXN${process.pid}C`,
    });
    await call(`${node.url}/webhooks/lipana`, { method: "POST", body, headers: signLipana(body) });
    const { data } = (await asMerchant(node, "/v1/webhooks?result=unmatched")).body as unknown as {
      data: { id: number; proof: string }[];
    };
    expect(data).toMatchObject([{ proof: "none" }]);
    const before = provider.calls.length;
    expect((await apply(data[0]?.id ?? 0, paymentId)).body).toMatchObject({
      result: "hint",
      order: { orderId, status: "pending" },
    });
    await expect.poll(() => provider.calls.length).toBeGreaterThan(before);
  });

  it("lets one of two people assign a webhook to two payments at once", async () => {
    const [one, other] = [await payLost(), await payLost()];
    const id = await sendUnmatched();
    const second = await startNode({
      databaseUrl: file.url,
      env: { ...providerEnv("lipana", provider.url), SANDBOX: "daraja", NODE_ENV: "development" },
    });
    // Both wait for the webhook's row, on two nodes.
    const client = await file.database.pool.connect();
    await client.query("begin");
    await client.query("select from webhook where id = $1 for update", [id]);
    const answers = [
      apply(id, one.paymentId),
      asMerchant(second, `/v1/webhooks/${id}/apply`, { paymentId: other.paymentId }),
    ];
    for (let waiting = 0; waiting < 2; ) {
      const { rows } = await file.database.pool.query(
        "select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      waiting = rows[0].waiting;
    }
    await client.query("commit");
    client.release();
    const statuses = (await Promise.all(answers)).map(({ status, body }) => [status, body.code ?? "applied"]);
    expect(statuses.toSorted()).toEqual([
      [200, "applied"],
      [409, "webhook_settled"],
    ]);
    const { rows } = await file.database.pool.query(
      "select status from payment where id = any ($1::uuid[]) order by status",
      [[one.paymentId, other.paymentId]],
    );
    expect(rows.map(({ status }) => status)).toEqual(["pending", "succeeded"]);
  });

  it("refuses an unknown webhook, an unknown payment, another provider's payment and wrong ids, naming the field", async () => {
    const { paymentId } = await payLost();
    const id = await sendUnmatched();
    const other = (await pay(node, { provider: "daraja" })).order.payment.id;
    const unknown = "0199f2c4-0000-7000-8000-00000000ffff";
    const refusal = async (webhook: number | string, payment: string) => {
      const { status, body } = await apply(webhook, payment);
      return [status, body.code, body.errors?.map(({ path }) => path)];
    };
    expect(await refusal(999_999_999, paymentId)).toEqual([404, "webhook_unknown", undefined]);
    expect(await refusal(id, unknown)).toEqual([404, "payment_unknown", undefined]);
    expect(await refusal(id, other)).toEqual([400, "body_invalid", ["paymentId"]]);
    expect(await refusal(id, "x")).toEqual([400, "body_invalid", ["paymentId"]]);
    expect(await refusal("x", paymentId)).toEqual([400, "body_invalid", ["id"]]);
    await file.database.pool.query("update webhook set body = '' where id = $1", [id]);
    expect(await refusal(id, paymentId)).toEqual([409, "webhook_settled", undefined]);
    expect((await call(`${node.url}/v1/webhooks/${id}/apply`, { method: "POST" })).body).toMatchObject({
      code: "key_invalid",
    });
  });
});
