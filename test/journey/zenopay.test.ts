/** ZenoPay on a complete node: its webhook only causes a query, and its API key is neither stored nor logged. */
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
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

/** Starts a payment that ZenoPay accepts, or whose reply is lost. */
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
    /** ZenoPay's query answer; may be replaced at any time. */
    answerWith(status: "COMPLETED" | "PENDING") {
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
  it("is answered OK and causes a query, whose result counts (G7)", async () => {
    const ground = await start();
    await ground.until("processing");
    const { queries: before } = ground;
    expect(await ground.post(headers)).toMatchObject({ status: 200, body: "OK" });
    await vi.waitUntil(() => ground.queries > before, { timeout: 5_000 });
    expect((await ground.now()).order).toMatchObject({ status: "processing", version: 2 });
    ground.answerWith("COMPLETED");
    await ground.post(headers);
    const { order } = await ground.until("succeeded");
    expect(order.payment).toMatchObject({ amountPaidMinor: 100_000, receipt: `R-${ground.paymentId}` });
  });
});

describe("ZenoPay", () => {
  it("finds a payment whose reply was lost, and keeps its reference", async () => {
    const ground = await start({ reply: false });
    ground.answerWith("COMPLETED");
    // Without the webhook, the first query would run after 10 s.
    await ground.post({});
    const { payments } = await ground.until("succeeded");
    expect(payments).toMatchObject([{ reference: ground.paymentId }]);
  });

  it("neither stores nor logs the key that its webhooks carry", async () => {
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
});
