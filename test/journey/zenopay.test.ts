/** ZenoPay at a whole node: its webhook is never more than a reason to ask, and its key stays with us. */
import pg from "pg";
import { beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { providerEnv, type Respond, startScriptedProvider } from "../support/scripted-provider.ts";

const { API_KEY: apiKey } = testAccount("zenopay");

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

/** A payment that ZenoPay has accepted, or was asked for without a reply. */
async function start({ reply = true } = {}) {
  let paymentId = "";
  let word = "PENDING";
  let queries = 0;
  const requested = Promise.withResolvers<string>();
  const respond: Respond = ({ path, body }) => {
    if (path === "/mobile_money_tanzania") {
      requested.resolve(String(body.webhook_url));
      return reply ? { body: { ...fixture("zenopay", "accepted").body, order_id: body.order_id } } : "drop";
    }
    queries += 1;
    const { body: sample } = fixture("zenopay", "query-completed");
    const own = { order_id: paymentId, payment_status: word, transid: `R-${paymentId}` };
    return { body: { ...sample, data: (sample.data as object[]).map((row) => ({ ...row, ...own })) } };
  };
  const provider = await startScriptedProvider(respond);
  const node = await startNode({ databaseUrl, env: providerEnv("zenopay", provider.url) });
  const phone = "+255712345600";
  const { order } = await pay(node, { provider: "zenopay", amountMinor: 100_000, currency: "TZS", phone });
  paymentId = order.payment.id;
  const webhookUrl = await requested.promise;
  const now = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body;
  return {
    node,
    paymentId,
    now,
    /** What the query says from now on. */
    says(status: "COMPLETED" | "PENDING") {
      word = status;
    },
    get queries() {
      return queries;
    },
    post: (headers: Record<string, string>) =>
      call(webhookUrl, {
        method: "POST",
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify({ ...fixture("zenopay", "webhook-completed").body, order_id: paymentId }),
      }),
    until: (status: string) =>
      vi.waitUntil(async () => (await now()).order.status === status && now(), { interval: 50 }),
  };
}

describe.each([
  ["with the key", { "x-api-key": apiKey }],
  ["without the key", {}],
])("a webhook %s", (_what, headers: Record<string, string>) => {
  test("is answered OK and makes us ask, and what the query says is what counts", async () => {
    const ground = await start();
    await ground.until("processing");
    const { queries: before } = ground;
    expect(await ground.post(headers)).toMatchObject({ status: 200, body: "OK" });
    await vi.waitUntil(() => ground.queries > before, { timeout: 5_000 });
    expect((await ground.now()).order).toMatchObject({ status: "processing", version: 2 });
    ground.says("COMPLETED");
    await ground.post(headers);
    const { order } = await ground.until("succeeded");
    expect(order.payment).toMatchObject({ amountPaidMinor: 100_000, receipt: `R-${ground.paymentId}` });
  });
});

test("a payment whose request was never answered is found paid, and keeps its reference", async () => {
  const ground = await start({ reply: false });
  ground.says("COMPLETED");
  // By itself the first question comes after 10 s.
  await ground.post({});
  const { payments } = await ground.until("succeeded");
  expect(payments).toMatchObject([{ reference: ground.paymentId }]);
});

test("the key that comes with webhooks is neither kept nor logged", async () => {
  const ground = await start();
  await ground.until("processing");
  await ground.post({ "x-api-key": apiKey });
  const pool = new pg.Pool({ connectionString: databaseUrl });
  onTestFinished(() => pool.end());
  const { rows } = await pool.query("select headers::text from webhook where payment_id = $1", [ground.paymentId]);
  expect(rows).toHaveLength(1);
  expect(JSON.stringify(rows)).not.toContain(apiKey);
  expect(ground.node.log.join("")).not.toContain(apiKey);
});
