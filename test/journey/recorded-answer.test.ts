/** Recorded and documented provider answers, over HTTP, from the request to the payer's next possible action. */
import { createHmac } from "node:crypto";
import pg from "pg";
import { beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { accountReferenceOf } from "../../server/provider/lipana/messages.ts";
import type { ProviderName } from "../../server/provider/registry.ts";
import { testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, startNode, type TestNode } from "../support/node.ts";
import { fixture } from "../support/sandbox.ts";
import { scrape } from "../support/scrape.ts";
import {
  providerEnv,
  type Respond,
  type ScriptedCall,
  type ScriptedProvider,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

const isToken = ({ path }: ScriptedCall): boolean => /oauth|\/token\//.test(path);
const tokensOf = (name: ProviderName) =>
  name === "bkash" ? fixture("bkash", "token-granted") : { body: { access_token: "t", expires_in: 3_600 } };

interface Ground {
  node: TestNode;
  script: ScriptedProvider;
  order: StatusEvent;
  state(): Promise<StatusEvent>;
  until(status: StatusEvent["status"]): Promise<StatusEvent>;
}

/** Starts a payment on a node with a scripted provider, by default in this file's database. */
async function start(
  name: ProviderName,
  respond: Respond,
  { url = databaseUrl, ...fields }: Record<string, unknown> & { url?: string },
): Promise<Ground> {
  const script = await startScriptedProvider((call) => (isToken(call) ? tokensOf(name) : respond(call)));
  const node = await startNode({ databaseUrl: url, env: providerEnv(name, script.url) });
  const { order } = await pay(node, { provider: name, ...fields });
  const state = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body.order;
  return {
    node,
    script,
    order,
    state,
    until: (status) => vi.waitUntil(async () => (await state()).status === status && state(), { interval: 20 }),
  };
}

const kes = { amountMinor: 15_000, currency: "KES", phone: "+254712345678" };

describe("a push that Safaricom refuses", () => {
  it.each([
    "error-invalid-payload",
    "error-invalid-authentication-header",
    "error-bad-request",
    "error-resource-not-found",
    "error-wrong-endpoint",
    "error-spike-arrest",
    "error-firewall",
    "push-refused",
  ])("fails the payment at once after %s, and allows another attempt at once", async (refusal) => {
    let pushes = 0;
    const ground = await start(
      "daraja",
      () => {
        pushes += 1;
        return pushes === 1 ? fixture("daraja", refusal) : fixture("daraja", "push-accepted");
      },
      kes,
    );
    expect(await ground.until("failed")).toMatchObject({ reason: "provider_error", version: 2 });
    const { order } = await pay(ground.node, { ...kes, orderId: ground.order.orderId });
    expect(order).toMatchObject({ status: "pending", payment: { attempt: 2 } });
    await ground.until("processing");
    expect(pushes).toBe(2);
  });

  it("is sent once more with a new access token after error-invalid-token-401, with one prompt", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    let pushes = 0;
    const ground = await start(
      "daraja",
      () => {
        pushes += 1;
        return fixture("daraja", pushes === 1 ? "error-invalid-token-401" : "push-accepted");
      },
      { ...kes, url },
    );
    await ground.until("processing");
    expect([pushes, ground.script.calls.filter(isToken).length]).toEqual([2, 2]);
  });
});

describe.each([
  ["payhero", kes, (path: string) => path === "/payments"],
  ["lipana", kes, (path: string) => path.endsWith("/push-stk")],
  [
    "zenopay",
    { amountMinor: 100_000, currency: "TZS", phone: "+255712345600" },
    (path: string) => path.includes("mobile_money"),
  ],
  ["bkash", { amountMinor: 15_000, currency: "BDT", phone: undefined }, (path: string) => path.endsWith("/create")],
  [
    "mtn",
    { amountMinor: 5_000, currency: "UGX", phone: "+256771234500" },
    (path: string) => path.endsWith("/requesttopay"),
  ],
] as const)("a request that %s surely refuses", (name, fields, isRequest) => {
  it.each([
    ["its firewall's page", fixture(name, "error-firewall")],
    ["too many requests", { status: 429, text: "" }],
  ])("fails at once with %s, and allows another attempt at once", async (_what, refusal) => {
    let requests = 0;
    const ground = await start(
      name,
      ({ path, method }) => {
        if (method === "POST" && isRequest(path)) requests += 1;
        return refusal;
      },
      fields,
    );
    expect(await ground.until("failed")).toMatchObject({ reason: "provider_error", version: 2 });
    const { order } = await pay(ground.node, { ...fields, provider: name, orderId: ground.order.orderId });
    expect(order).toMatchObject({ status: "pending", payment: { attempt: 2 } });
    await ground.until("failed");
    expect(requests).toBe(2);
  });
});

describe("a success whose webhook has no receipt", () => {
  it("gets its receipt by one query, and stays the same success", async () => {
    let queries = 0;
    const ground = await start(
      "payhero",
      ({ method }) => {
        if (method === "POST") return { ...fixture("payhero", "payment-queued"), status: 201 };
        queries += 1;
        return fixture("payhero", "query-success");
      },
      kes,
    );
    await ground.until("processing");
    const push = ground.script.calls.find(({ method }) => method === "POST");
    const webhook = fixture("payhero", "webhook-success").body as { response: object };
    const bare = {
      ...webhook,
      response: {
        ...webhook.response,
        Amount: 150,
        ExternalReference: ground.order.payment.id,
        MpesaReceiptNumber: "",
      },
    };
    const posted = await call(String(push?.body.callback_url), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(bare),
    });
    expect(posted.status).toBe(200);
    const paid = await ground.state();
    expect(paid).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 15_000 } });
    expect(paid.payment).not.toHaveProperty("receipt");
    const completed = await vi.waitUntil(async () => {
      const order = await ground.state();
      return order.payment.receipt !== undefined && order;
    });
    expect(completed).toMatchObject({
      status: "succeeded",
      version: paid.version + 1,
      payment: { receipt: "SKQ96C7K7H" },
    });
    const client = new pg.Client(databaseUrl);
    await client.connect();
    onTestFinished(() => client.end());
    const due = () => client.query("select from payment where id = $1 and check_at is not null", [paid.payment.id]);
    await vi.waitUntil(async () => (await due()).rowCount === 0);
    expect(queries).toBe(1);
  });
});

describe("a signed webhook of Lipana with only our account reference", () => {
  it("causes a query that finds the transaction although the reply to the push was lost", async () => {
    let listed: object[] = [];
    const ground = await start(
      "lipana",
      ({ method }) => (method === "POST" ? "drop" : { body: { transactions: listed, pagination: { pages: 1 } } }),
      kes,
    );
    await vi.waitUntil(() => ground.script.calls.some(({ method }) => method === "POST"));
    const accountReference = accountReferenceOf(ground.order.payment.id);
    const [transaction] = (fixture("lipana", "list").body.transactions as object[]).slice(1);
    listed = [{ ...transaction, accountReference, amount: 150 }];
    const body = JSON.stringify({ ...fixture("lipana", "webhook-own-reference").body, reference: accountReference });
    const signature = createHmac("sha256", testAccount("lipana").WEBHOOK_SECRET).update(body).digest("hex");
    const answer = await call(`${ground.node.url}/webhooks/lipana`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-lipana-signature": signature },
      body,
    });
    expect(answer.status).toBe(200);
    expect(await ground.until("succeeded")).toMatchObject({
      payment: { amountPaidMinor: 15_000, receipt: "SAE3YULR0Y" },
    });
  });
});

describe("a webhook of ZenoPay, which has no amount", () => {
  const tzs = { amountMinor: 100_000, currency: "TZS", phone: "+255712345600" };

  /** Starts a payment that is paid. The query's answer waits for `held` if present. */
  const startPaid = async () => {
    let held: Promise<void> | undefined;
    let ours = {};
    const ground = await start(
      "zenopay",
      async ({ path, body }) => {
        if (path === "/mobile_money_tanzania") {
          ours = { order_id: body.order_id, transid: `R-${body.order_id}` };
          return { body: { ...fixture("zenopay", "accepted").body, order_id: body.order_id } };
        }
        await held;
        const { body: sample } = fixture("zenopay", "query-completed");
        return { body: { ...sample, data: (sample.data as object[]).map((row) => ({ ...row, ...ours })) } };
      },
      tzs,
    );
    await ground.until("processing");
    const url = String(ground.script.calls.find(({ method }) => method === "POST")?.body.webhook_url);
    const post = () =>
      call(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...fixture("zenopay", "webhook-completed").body, ...ours }),
      });
    const hold = (): (() => void) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    };
    return { ...ground, post, hold };
  };

  it("is answered after the query, so that the state is stored before the answer", async () => {
    const ground = await startPaid();
    expect((await ground.post()).status).toBe(200);
    expect(await ground.state()).toMatchObject({ status: "succeeded", payment: { amountPaidMinor: 100_000 } });
  });

  it("is answered without the query's result when the query is slow, and the state follows", async () => {
    const ground = await startPaid();
    const release = ground.hold();
    expect((await ground.post()).status).toBe(200);
    expect(await ground.state()).toMatchObject({ status: "processing" });
    release();
    await ground.until("succeeded");
  });
});

/** Safaricom's acceptance of the nth push, with a new reference. */
const acceptedPush = (nth: number) => ({
  body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID: `ws_CO_${nth}` },
});

describe("a provider that throttles queries, as Safaricom's sandbox does", () => {
  it("gets fewer queries from both nodes, and every payment ends as the provider reports", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const count = 12;
    let allowed = 2;
    let refused = 0;
    const answered = new Set<string>();
    let pushes = 0;
    const script = await startScriptedProvider((call) => {
      if (isToken(call)) return tokensOf("daraja");
      if (call.path.includes("/stkpush/")) {
        pushes += 1;
        return acceptedPush(pushes);
      }
      // After the first two, one query is answered for each that is throttled.
      if (allowed === 0) {
        refused += 1;
        allowed = 1;
        return fixture("daraja", "error-spike-arrest");
      }
      allowed -= 1;
      const reference = String(call.body.CheckoutRequestID);
      answered.add(reference);
      return { body: { ...fixture("daraja", "query-success").body, CheckoutRequestID: reference } };
    });
    const env = { ...providerEnv("daraja", script.url), DARAJA_DEADLINE_S: "3600" };
    const nodes = await Promise.all([1, 2].map(() => startNode({ databaseUrl: url, env })));
    const [node] = nodes as [TestNode, TestNode];
    const orders: StatusEvent[] = [];
    for (let nth = 0; nth < count; nth += 1) orders.push((await pay(node, kes)).order);
    const client = new pg.Client(url);
    await client.connect();
    onTestFinished(() => client.end());
    const states = async () =>
      Promise.all(orders.map(async ({ orderId }) => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order));
    await vi.waitUntil(async () => (await states()).every(({ status }) => status === "processing"));
    await client.query("update payment set check_at = clock_timestamp()");
    const metric = async (name: string) => (await scrape(node)).value(name, { provider: "daraja" });
    await vi.waitUntil(() => refused > 0);
    await vi.waitUntil(async () => (await metric("tukio_queries_per_minute")) !== undefined);
    expect(await metric("tukio_queries_due")).toBeGreaterThan(0);
    // Moves the pace's clock forward, because each pause lasts ten seconds or more.
    await vi.waitUntil(async () => {
      await client.query("update query_pace set next_at = next_at - interval '5 seconds'");
      return (await states()).every(({ status }) => status === "succeeded");
    });
    expect(answered.size).toBe(count);
    // The number of payments must not grow with each throttled query, because the pace is lowered instead.
    expect(refused).toBeLessThan(count);
    expect(await metric("tukio_queries_due")).toBe(0);
  });
});

describe("a configured query pace", () => {
  it("checks the payment with the nearest deadline first, and Daraja not before 30 s", async () => {
    const { url, drop } = await createDatabase();
    onTestFinished(drop);
    const queried: string[] = [];
    let pushes = 0;
    const script = await startScriptedProvider((call) => {
      if (isToken(call)) return tokensOf("daraja");
      if (call.path.includes("/stkpush/")) {
        pushes += 1;
        return acceptedPush(pushes);
      }
      queried.push(String(call.body.CheckoutRequestID));
      return { body: { ...fixture("daraja", "query-success").body, CheckoutRequestID: call.body.CheckoutRequestID } };
    });
    const env = { ...providerEnv("daraja", script.url), DARAJA_QUERIES_PER_MINUTE: "1" };
    const nodes = await Promise.all([1, 2].map(() => startNode({ databaseUrl: url, env })));
    const [node] = nodes as [TestNode, TestNode];
    for (let nth = 0; nth < 3; nth += 1) {
      await pay(node, kes);
      await vi.waitUntil(() => pushes === nth + 1);
    }
    const client = new pg.Client(url);
    await client.connect();
    onTestFinished(() => client.end());
    const known = () => client.query("select reference from payment where reference is not null");
    await vi.waitUntil(async () => (await known()).rowCount === 3);
    const { rows } = await client.query("select extract(epoch from check_at - started_at)::int as s from payment");
    expect(rows).toEqual([{ s: 30 }, { s: 30 }, { s: 30 }]);
    // The second payment has the nearest deadline.
    await client.query(
      `update payment set check_at = clock_timestamp(),
         expires_at = expires_at - case reference when 'ws_CO_2' then interval '60 seconds' else interval '0' end`,
    );
    const due = () => client.query("select from payment where check_at <= clock_timestamp()");
    await vi.waitUntil(() => queried.length > 0);
    expect(queried).toEqual(["ws_CO_2"]);
    expect((await due()).rowCount).toBe(2);
    expect((await scrape(node)).value("tukio_queries_per_minute", { provider: "daraja" })).toBe(1);
    await client.query("update query_pace set next_at = clock_timestamp()");
    await vi.waitUntil(() => queried.length === 2);
  });
});
