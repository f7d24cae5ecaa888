/** SMS of whole payments: in the sandbox to the payer's phone, live to a gateway, with two nodes, repeated webhooks, a late success and a killed node. */
import type pg from "pg";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { useDatabase } from "../support/database.ts";
import { openDeliveryDeployment, passTime } from "../support/delivery.ts";
import { deliver, type PushLog, success } from "../support/deployment.ts";
import { asMerchant, call, send, startNode, type TestNode } from "../support/node.ts";
import { startProcess } from "../support/process.ts";
import { startScriptedProvider } from "../support/scripted-provider.ts";

// 60 s, because two nodes and their payments take longer on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const file = useDatabase();

const voucher = { id: "v-1", kind: "voucher", title: "One hour", code: "4821-9931" };

interface Sms {
  from: string;
  text: string;
}

const phoneOf = async (node: Pick<TestNode, "url">, phone: string): Promise<Sms[]> => {
  const { body } = await call(`${node.url}/sandbox/phone/${phone}/prompts`);
  return (body as unknown as { sms: Sms[] }).sms;
};

/** Pays in the sandbox with a number that approves after a second, and gives the payer a code. */
async function payInSandbox(node: TestNode, orderId: string, phone: string, more: object = {}) {
  const body = { orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone, ...more };
  await send(node, "POST", "/v1/payments", body);
  await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === "succeeded", {
    timeout: 20_000,
  });
  expect((await send(node, "POST", `/v1/orders/${orderId}/results`, voucher)).status).toBe(201);
}

const smsRows = async (orderId: string) =>
  (
    await file.database.pool.query(
      `select s.status, s.provider, s.replays from sms s join "order" o on o.id = s.order_uuid where o.order_id = $1 order by s.replays`,
      [orderId],
    )
  ).rows;

describe("a payment in the sandbox", () => {
  it.each([
    [{}, "africastalking"],
    [
      { SMS_PROVIDER: "beem", SMS_API_KEY: "k", SMS_API_SECRET: "s", SMS_FROM: "ASHA", SMS_URL: "http://127.0.0.1:1" },
      "beem",
    ],
    [{ SMS_PROVIDER: "http", SMS_API_KEY: "k", SMS_URL: "http://127.0.0.1:1" }, "http"],
  ])("brings the text to the phone by any node, once, and stores its delivery (%j)", async (env, provider) => {
    const nodes = [1, 2].map(() =>
      startNode({ databaseUrl: file.url, env: { SHOP_NAME: "Asha’s Books", SANDBOX: "daraja", ...env } }),
    );
    const [first, second] = await Promise.all(nodes);
    if (!first || !second) throw new Error("no nodes");
    const orderId = `SMS-${provider}`;
    await payInSandbox(first, orderId, "0712345601");
    await vi.waitUntil(async () => (await smsRows(orderId))[0]?.status === "delivered", { timeout: 20_000 });
    expect(await smsRows(orderId)).toEqual([{ status: "delivered", provider, replays: 0 }]);
    const sent = {
      status: "delivered",
      attempt: 1,
      sms: { status: "delivered", parts: 1, reportedAt: expect.any(String) },
    };
    expect(
      (await asMerchant(second, `/v1/notifications/sms/deliveries?status=delivered&orderId=${orderId}`)).body.data,
    ).toMatchObject([sent]);
    expect((await asMerchant(second, `/v1/orders/${orderId}/notifications`)).body.data).toContainEqual({
      name: "sms",
      latest: expect.objectContaining({ ...sent, sms: expect.objectContaining(sent.sms) }),
    });
    for (const node of [first, second]) {
      const texts = (await phoneOf(node, "0712345601")).map(({ text }) => text);
      expect(texts).toEqual([
        expect.stringMatching(/^(KES|Ksh) 150\.00 paid to Asha's Books\. M-Pesa receipt \w{10}\. Code: 4821-9931$/),
      ]);
    }
    await Promise.all([first.close(), second.close()]);
    await file.database.pool.query("update endpoint set is_deleted = true where notification is not null");
  });

  it("writes the payer's language, and sends again when the merchant asks for it", async () => {
    const node = await startNode({ databaseUrl: file.url, env: { SHOP_NAME: "Duka", SANDBOX: "daraja" } });
    await payInSandbox(node, "SMS-SW", "0712345701", { lang: "sw" });
    await vi.waitUntil(async () => (await phoneOf(node, "0712345701")).length === 1, { timeout: 20_000 });
    expect((await send(node, "POST", "/v1/orders/SMS-SW/notifications/sms")).status).toBe(202);
    await vi.waitUntil(async () => (await phoneOf(node, "0712345701")).length === 2, { timeout: 20_000 });
    const texts = (await phoneOf(node, "0712345701")).map(({ text }) => text);
    expect(texts[0]).toContain("imelipwa kwa Duka. Risiti ya M-Pesa");
    expect(texts[1]).toBe(texts[0]);
    const delivered = async () =>
      (await asMerchant(node, "/v1/notifications/sms/deliveries?status=delivered")).body.data;
    await vi.waitUntil(async () => (await delivered()).length === 2, { timeout: 20_000 });
    await file.database.pool.query("update endpoint set is_deleted = true where notification is not null");
  });

  it.each([
    ["30", { status: "failed", sms: { status: "failed" } }, "refused for good"],
    ["31", { status: "failed", sms: { status: "unknown" } }, "without an answer"],
    ["32", { status: "delivered", sms: { status: "failed", reportedAt: expect.any(String) } }, "reported as failed"],
  ])("shows the merchant the state of a text to a number with %s", async (digits, wanted, _what) => {
    const node = await startNode({ databaseUrl: file.url, env: { SHOP_NAME: "Duka", SANDBOX: "daraja" } });
    const [orderId, phone] = [`SMS-STATE-${digits}`, `07123457${digits}`];
    await send(node, "POST", "/v1/payments", {
      ...{ orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone },
    });
    const prompts = async () => (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).body.prompts;
    await vi.waitUntil(async () => (await prompts()).length === 1, { timeout: 20_000 });
    const [prompt] = await prompts();
    await send(node, "POST", `/sandbox/phone/prompts/${prompt?.id}`, { answer: "approve" });
    await vi.waitUntil(async () => (await asMerchant(node, `/v1/orders/${orderId}`)).body.order.status === "succeeded");
    await send(node, "POST", `/v1/orders/${orderId}/results`, voucher);
    await vi.waitFor(
      async () => {
        const { body } = await asMerchant(node, `/v1/orders/${orderId}/notifications`);
        const notifications = body.data as unknown as { name: string; latest?: object }[];
        expect(notifications.find(({ name }) => name === "sms")?.latest).toMatchObject(wanted);
      },
      { timeout: 30_000 },
    );
    await file.database.pool.query("update endpoint set is_deleted = true where notification is not null");
  });

  it("has no gateway without a sandbox", async () => {
    const node = await startNode({ databaseUrl: file.url, env: { SANDBOX: "" } });
    expect((await call(`${node.url}/sandbox/sms/africastalking/version1/messaging`, { method: "POST" })).status).toBe(
      404,
    );
    expect((await asMerchant(node, "/v1/notifications")).body.data).toEqual([]);
  });
});

const gatewayEnv = (url: string) => ({ SMS_PROVIDER: "http", SMS_API_KEY: "a-key", SMS_URL: url, SHOP_NAME: "Asha" });

/** Starts a live payment that the provider accepts. */
async function beginLive(node: Pick<TestNode, "url">, pushLog: PushLog, orderId: string) {
  const payment = { orderId, amountMinor: 15_000, currency: "KES", provider: "daraja", phone: "0712345678" };
  const { body } = await send(node, "POST", "/v1/payments", payment);
  const push = await pushLog.push(body.order.payment.id);
  push.accept();
  return push;
}

const statusesOf = async (database: Pick<pg.Client, "query">): Promise<string[]> =>
  (await database.query<{ status: string }>("select status from sms order by replays")).rows.map(
    ({ status }) => status,
  );

describe("a live payment", () => {
  it("sends one text for repeated webhooks on two nodes, and answers them while the gateway is slow", async () => {
    const { databaseUrl, database, env, pushLog } = await openDeliveryDeployment();
    const held = Promise.withResolvers<void>();
    const gateway = await startScriptedProvider(async () => {
      await held.promise;
      return { body: { accepted: true, id: "m-1" } };
    });
    const start = () => startNode({ databaseUrl, env: { ...env, ...gatewayEnv(gateway.url) } });
    const [first, second] = [await start(), await start()];
    const push = await beginLive(first, pushLog, "SMS-LIVE");
    const webhook = success();
    for (const node of [first, second, first, second]) await deliver(node, push, webhook);
    await send(second, "POST", "/v1/orders/SMS-LIVE/results", voucher);
    await vi.waitUntil(() => gateway.calls.length > 0, { timeout: 20_000 });
    // The gateway has not answered yet.
    for (const node of [first, second]) await deliver(node, push, webhook);
    expect(await statusesOf(database)).toEqual(["sending"]);
    held.resolve();
    await vi.waitUntil(async () => (await statusesOf(database))[0] === "sent", { timeout: 20_000 });
    await passTime(database, 3_600);
    for (const node of [first, second]) await deliver(node, push, webhook);
    await send(first, "POST", "/v1/orders/SMS-LIVE/results", { ...voucher, code: "0000" });
    await vi.waitUntil(
      async () => (await database.query("select from delivery where due_version is not null")).rows.length === 0,
      { timeout: 20_000 },
    );
    expect(gateway.calls).toHaveLength(1);
    const { body } = await asMerchant(second, "/v1/notifications");
    const own = (body.data as unknown as { name: string; live: boolean; reportUrl?: string }[]).find(
      ({ name }) => name === "sms",
    );
    expect(own?.live).toBe(true);
    const report = { id: gateway.calls[0]?.body.id, status: "delivered" };
    const path = new URL(own?.reportUrl ?? "").pathname;
    const reported = await call(first.url + path, { method: "POST", body: JSON.stringify(report) });
    expect(reported.status).toBe(200);
    expect(await statusesOf(database)).toEqual(["delivered"]);
    expect((await call(`${first.url}${path.slice(0, -1)}x`, { method: "POST", body: "{}" })).status).toBe(401);
    expect(gateway.calls[0]?.body).toMatchObject({
      to: "+254712345678",
      text: expect.stringMatching(/Code: 4821-9931$/),
    });
    const lines = [...first.log, ...second.log].join("");
    expect(lines).not.toContain("254712345678");
    expect(lines).not.toContain("a-key");
    expect(lines).not.toContain(path);
  });

  it("that succeeds after its deadline has one text", async () => {
    const { databaseUrl, database, env, pushLog } = await openDeliveryDeployment();
    const gateway = await startScriptedProvider(() => ({ body: { accepted: true, id: "m-1" } }));
    const node = await startNode({ databaseUrl, env: { ...env, ...gatewayEnv(gateway.url) } });
    const push = await beginLive(node, pushLog, "SMS-LATE");
    await vi.waitUntil(async () => (await asMerchant(node, "/v1/orders/SMS-LATE")).body.order.version === 2);
    await database.query("update payment set expires_at = clock_timestamp(), check_at = clock_timestamp()");
    const isExpired = async () => (await asMerchant(node, "/v1/orders/SMS-LATE")).body.order.status === "expired";
    await vi.waitUntil(isExpired, { timeout: 20_000 });
    for (let times = 0; times < 2; times += 1) await deliver(node, push, success());
    expect((await send(node, "POST", "/v1/orders/SMS-LATE/results", voucher)).status).toBe(201);
    await vi.waitUntil(async () => (await statusesOf(database))[0] === "sent", { timeout: 20_000 });
    expect(gateway.calls).toHaveLength(1);
  });

  it("has one text although the node is killed while the gateway sends it", async () => {
    const { databaseUrl, database, env, pushLog } = await openDeliveryDeployment();
    const gateway = await startScriptedProvider(() => new Promise(() => undefined));
    const all = { ...env, ...gatewayEnv(gateway.url) };
    const doomed = await startProcess(all);
    onTestFinished(doomed.close);
    const push = await beginLive(doomed, pushLog, "SMS-KILL");
    await deliver(doomed, push, success());
    expect((await send(doomed, "POST", "/v1/orders/SMS-KILL/results", voucher)).status).toBe(201);
    await vi.waitUntil(() => gateway.calls.length === 1, { timeout: 20_000 });
    await doomed.end("SIGKILL");
    expect(await statusesOf(database)).toEqual(["sending"]);
    gateway.respond = () => ({ body: { accepted: true, id: "m-1" } });
    // The lease of the attempt, and the time in which it may still be in flight, have passed.
    await database.query("update sms set at = at - interval '36 seconds'");
    await database.query("update delivery set attempt_at = now(), claimed_until = now() where due_version is not null");
    const other = await startNode({ databaseUrl, env: all });
    await vi.waitUntil(async () => (await statusesOf(database))[0] === "unknown", { timeout: 20_000 });
    const { body } = await asMerchant(other, "/v1/notifications/sms/deliveries?status=failed");
    expect(body.data).toMatchObject([{ error: expect.stringMatching(/^unknown: the process ended/) }]);
    expect(gateway.calls).toHaveLength(1);
    expect((await send(other, "POST", "/v1/orders/SMS-KILL/notifications/sms")).status).toBe(202);
    await vi.waitUntil(async () => (await statusesOf(database)).includes("sent"), { timeout: 20_000 });
    expect(gateway.calls).toHaveLength(2);
  });
});
