/** MTN on a complete node: two currencies with different minor units, webhooks by PUT and POST, and a lost reply. */
import { beforeAll, describe, expect, it, vi } from "vitest";
import { referenceOf } from "../../server/provider/mtn/messages.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, call, pay, paymentBody, startNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { fixture } from "../support/sandbox.ts";
import { providerEnv, type ScriptedAnswer, startScriptedProvider } from "../support/scripted-provider.ts";
import { transportNames, watch } from "../support/watch.ts";

let databaseUrl: string;
beforeAll(async () => {
  const { url, drop } = await createDatabase();
  databaseUrl = url;
  return drop;
});

const env = { SANDBOX: "mtn" };
const from = (ending: string) => ({ provider: "mtn", phone: `+2567712345${ending}` });

describe.each([
  { currency: "UGX", amountMinor: 5_000 },
  { currency: "EUR", amountMinor: 1_050 },
])("a payment of $amountMinor in $currency", (money) => {
  it.each(transportNames)("succeeds for a watcher over %s", async (transport) => {
    const node = await startNode({ databaseUrl, env });
    const payer = from("00");
    const { order, watchToken: token } = await pay(node, { ...money, ...payer });
    const watching = watch(transport, { node, orderId: order.orderId, token });
    await watching.until(({ status }) => status === "processing");
    await answerPrompt(node, payer.phone, "approve");
    expect(await watching.until(({ settled }) => settled)).toMatchObject({
      ...money,
      status: "succeeded",
      version: 3,
      payment: { provider: "mtn", amountPaidMinor: money.amountMinor, receipt: expect.stringMatching(/^\d{10}$/) },
    });
    const { body } = await asMerchant(node, `/v1/orders/${order.orderId}`);
    expect(body.payments).toMatchObject([{ reference: referenceOf(order.payment.id) }]);
  });

  it("goes to review when another amount is paid (G8)", async () => {
    const node = await startNode({ databaseUrl, env });
    const { order, watchToken: token } = await pay(node, { ...money, ...from("10") });
    const end = await watch("long poll", { node, orderId: order.orderId, token }).until(({ settled }) => settled);
    const amountPaidMinor = money.amountMinor + (money.currency === "EUR" ? 100 : 1);
    expect(end).toMatchObject({ status: "review", reason: "amount_mismatch", payment: { amountPaidMinor } });
  });
});

/** Starts a payment of UGX 5,000 with a scripted MTN. */
async function start({ reply = fixture("mtn", "request-accepted") }: { reply?: ScriptedAnswer | "drop" } = {}) {
  const requested = Promise.withResolvers<string>();
  let found: ScriptedAnswer = fixture("mtn", "status-not-found");
  const provider = await startScriptedProvider(({ method, path, headers }) => {
    if (path.startsWith("/collection/token/")) return fixture("mtn", "token");
    if (method !== "POST") return found;
    requested.resolve(String(headers["x-callback-url"]));
    return reply;
  });
  const node = await startNode({ databaseUrl, env: providerEnv("mtn", provider.url) });
  const { order } = await pay(node, { ...from("00"), amountMinor: 5_000, currency: "UGX" });
  const webhookUrl = await requested.promise;
  const { id } = order.payment;
  const result = (name: string, fields: object = {}): object => ({
    ...fixture("mtn", name).body,
    externalId: id,
    financialTransactionId: `R-${id}`,
    ...fields,
  });
  const now = async () => (await asMerchant(node, `/v1/orders/${order.orderId}`)).body;
  return {
    id,
    now,
    /** Sets MTN's query answer. */
    answerWith(name: string) {
      found = { body: result(name) };
    },
    send: (method: "PUT" | "POST", fields: object = {}) =>
      call(webhookUrl, { method, body: JSON.stringify(result("webhook-successful", fields)) }),
    until: (status: string) =>
      vi.waitUntil(async () => (await now()).order.status === status && now(), { interval: 50 }),
  };
}

describe("MTN", () => {
  it("refuses a currency other than its account's before anything is stored", async () => {
    const node = await startNode({ databaseUrl, env });
    const answer = await asMerchant(node, "/v1/payments", paymentBody({ ...from("01"), currency: "KES" }));
    expect(answer).toMatchObject({ status: 400, body: { code: "currency_invalid" } });
  });

  it.each(["PUT", "POST"] as const)("applies a webhook by %s once (G6)", async (method) => {
    const ground = await start();
    await ground.until("processing");
    expect(await ground.send(method)).toMatchObject({ status: 200 });
    expect(await ground.send(method)).toMatchObject({ status: 200 });
    expect((await ground.now()).order).toMatchObject({ status: "succeeded", version: 3 });
  });

  it("sends a success in another currency to review (G8)", async () => {
    const ground = await start();
    await ground.until("processing");
    await ground.send("PUT", { currency: "EUR" });
    expect((await ground.now()).order).toMatchObject({ status: "review", reason: "currency_mismatch" });
  });

  it("takes a webhook about another payment only as a reason to query (G7)", async () => {
    const ground = await start();
    await ground.until("processing");
    await ground.send("PUT", { externalId: "0199f2c4-0000-7000-8000-00000000dead" });
    expect((await ground.now()).order.status).toBe("processing");
    ground.answerWith("status-successful");
    await ground.send("PUT", { externalId: "0199f2c4-0000-7000-8000-00000000dead" });
    await ground.until("succeeded");
  });

  it("finds a payment whose reply was lost by the reference that we chose", async () => {
    const ground = await start({ reply: "drop" });
    expect((await ground.now()).order.status).toBe("pending");
    ground.answerWith("status-pending");
    // Without the webhook, the first query would run after 10 s.
    await ground.send("POST", { externalId: "another" });
    const { order } = await ground.until("processing");
    expect(order.payment.action).toEqual({ type: "prompt", phone: "+2567*****500" });
    ground.answerWith("status-successful");
    await ground.send("POST", { externalId: "another" });
    const { payments } = await ground.until("succeeded");
    expect(payments).toMatchObject([{ reference: referenceOf(ground.id) }]);
  });
});
