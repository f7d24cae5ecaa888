/**
 * Attacks on the sandbox of a public node. An unauthenticated client may use its pages and its phone only. The sandbox sends
 * requests to the node only, other origins cannot read its answers, and its memory is bounded.
 */
import Fastify from "fastify";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type ProviderName, providerNames, registry } from "../../server/provider/registry.ts";
import { createPhone, type Phone, promptsMax, promptsPerPhoneMax } from "../../server/sandbox/phone.ts";
import { createDelivery } from "../../server/sandbox/scenario.ts";
import type { Account, Sandbox } from "../../server/sandbox/server.ts";
import { sandboxAccount } from "../../server/sandbox/server.ts";
import { testAccount } from "../support/account.ts";
import { createDatabase } from "../support/database.ts";
import { asMerchant, pay, startNode, type TestNode } from "../support/node.ts";
import { answerPrompt } from "../support/payer.ts";
import { collectRoutes, type RegisteredRoute } from "../support/routes.ts";
import { type ScriptedProvider, startScriptedProvider } from "../support/scripted-provider.ts";
import { call, merchants, publicAccounts } from "./merchant.ts";

let databaseUrl: string;
beforeAll(async () => {
  const database = await createDatabase();
  databaseUrl = database.url;
  return database.drop;
});

const sandboxes = { SANDBOX: providerNames.join(",") };

const start = (env: Record<string, string> = {}): Promise<TestNode> =>
  startNode({ databaseUrl, env: { ...sandboxes, ...env } });

/** A server that must not get any request. */
const startForeignServer = (): Promise<ScriptedProvider> => startScriptedProvider(() => ({ body: {} }));

const apiOf = (node: TestNode, name: ProviderName): string => `${node.url}/sandbox/${name}`;

/** A client with the credentials of the node's account, or with others. */
async function enter(node: TestNode, name: ProviderName, account: Account = testAccount(name)) {
  const { headers, answer } = await merchants[name].enter(apiOf(node, name), account);
  const ask = (callback: string, phone = merchants[name].phone) =>
    merchants[name].ask(apiOf(node, name), { account, headers, phone, callback });
  return { answer, headers, ask };
}

const promptsOf = async (node: TestNode, phone: string): Promise<unknown[]> =>
  (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).body.prompts as unknown[];

describe.each(providerNames)("sandbox of %s", (name) => {
  const { phone, refusal } = merchants[name];

  it("refuses a foreign URL, shows no prompt, and sends requests only to the node", async () => {
    const [node, foreignServer] = await Promise.all([start(), startForeignServer()]);
    const { host } = new URL(node.url);
    const { host: foreign } = new URL(foreignServer.url);
    const { ask } = await enter(node, name);
    for (const callback of [
      `${foreignServer.url}/webhooks`,
      `http://${host}@${foreign}/`,
      `http://${host}.${foreign}/`,
    ]) {
      const answered = await ask(callback);
      if (refusal) expect(answered).toMatchObject(refusal);
      else await answerPrompt(node, phone, "approve");
      expect(await promptsOf(node, phone)).toEqual([]);
    }
    for (const own of [node.url, node.url.replace("127.0.0.1", "localhost")]) {
      expect(await ask(`${own}/webhooks/${name}`)).not.toMatchObject(refusal ?? { status: 400 });
      await answerPrompt(node, phone, "approve");
    }
    expect(foreignServer.calls).toEqual([]);
  });

  it("accepts only the account that is derived from the node's secret", async () => {
    const node = await start();
    const { sandbox }: { sandbox: Sandbox } = registry[name];
    const accounts = [
      publicAccounts[name],
      sandboxAccount(name, sandbox, ["the secret of some other node altogether"]),
    ];
    for (const account of accounts) {
      const { answer: entered, ask } = await enter(node, name, account);
      if (entered) expect(entered).toMatchObject(merchants[name].stranger);
      const { status } = await ask(node.url);
      expect(status).toBeGreaterThanOrEqual(400);
    }
    expect(await promptsOf(node, phone)).toEqual([]);
    const { ask } = await enter(node, name);
    await ask(`${node.url}/webhooks/${name}`);
    expect(await promptsOf(node, phone)).toHaveLength(1);
  });

  it("counts unauthenticated requests towards their address's limit, and never the node's", async () => {
    const node = await start({ LIMIT_IP: "4" });
    const { ask } = await enter(node, name);
    const knock = async (path: string) => (await call(apiOf(node, name) + path, { method: "POST" })).status;
    for (const path of ["/", "/x", "/tokenized/checkout/token/grant", "/payments"]) {
      expect(await knock(path)).not.toBe(429);
    }
    expect(await knock("/")).toBe(429);
    expect((await ask(`${node.url}/webhooks/${name}`)).status).toBeLessThan(300);
    expect((await ask(`${node.url}/webhooks/${name}`)).status).toBeLessThan(300);
    // The phone has a higher limit, because clients poll it.
    const phoneStatus = async () => (await call(`${node.url}/sandbox/phone/${phone}/prompts`)).status;
    for (let asked = 0; asked < 40; asked += 1) expect(await phoneStatus()).toBe(200);
    expect(await phoneStatus()).toBe(429);
    expect(await knock("/redirect/")).toBe(429);
  });
});

describe("traffic between node and sandbox", () => {
  it("goes nowhere else and follows no redirect", async () => {
    const foreignServer = await startForeignServer();
    const own = await startScriptedProvider(() => ({
      status: 302,
      headers: { location: `${foreignServer.url}/onward` },
      body: {},
    }));
    const app = Fastify();
    onTestFinished(() => app.close());
    const deliver = createDelivery(app, { isOwn: (url) => new URL(url).origin === own.url });
    for (const method of ["GET", "POST", "PUT"] as const) {
      await deliver({ method, url: `${own.url}/${method}` });
      await deliver({ method, url: `${foreignServer.url}/${method}` });
    }
    expect(own.calls.map(({ path }) => path)).toEqual(["/GET", "/POST", "/PUT"]);
    expect(foreignServer.calls).toEqual([]);
  });

  it("does not follow the node's redirect to the shop after the payer's return", async () => {
    const [node, foreignServer] = await Promise.all([start(), startForeignServer()]);
    const paying = {
      provider: "bkash",
      currency: "BDT",
      phone: "+8801712345601",
      returnUrl: `${foreignServer.url}/back`,
    };
    // The requests that the first payment caused arrive before the second one is paid.
    for (const _ of [1, 2]) {
      const { order } = await pay(node, paying);
      const { body } = await asMerchant(node, `/v1/orders/${order.orderId}/wait?timeout=20`);
      expect(body).toMatchObject({ status: "succeeded" });
    }
    expect(foreignServer.calls).toEqual([]);
  });

  it("is not limited with an older token, although only the newest token is valid", async () => {
    const [node, other] = await Promise.all([start({ LIMIT_IP: "1" }), start()]);
    const { headers } = await enter(node, "daraja");
    await enter(other, "daraja");
    const given = { account: testAccount("daraja"), headers, phone: merchants.daraja.phone, callback: node.url };
    for (const _ of [1, 2, 3]) {
      const answered = await merchants.daraja.ask(apiOf(node, "daraja"), given);
      expect(answered).toMatchObject({ status: 404, body: { errorCode: "404.001.03" } });
    }
    const forged = { authorization: `Bearer ${"x".repeat(28)}` };
    const ask = () => merchants.daraja.ask(apiOf(node, "daraja"), { ...given, headers: forged });
    expect([(await ask()).status, (await ask()).status]).toEqual([404, 429]);
  });

  it("keeps bKash's limit of token calls to the merchant", async () => {
    const node = await start();
    const { headers: _, ...refused } = await enter(node, "bkash", publicAccounts.bkash);
    expect(refused.answer?.status).toBe(401);
    for (const _ of [1, 2, 3]) await enter(node, "bkash", publicAccounts.bkash);
    expect((await enter(node, "bkash")).answer).toMatchObject({ status: 200, body: { statusCode: "0000" } });
  });
});

/** A URL of this route, with a value for each parameter. */
const addressOf = (node: TestNode, { url }: RegisteredRoute): string =>
  node.url + url.replace(/:(\w+)/g, "254712345600");

const listSandbox = async (env: Record<string, string> = {}) => {
  const { started: node, routes } = await collectRoutes(() => start(env));
  const below = routes.filter(({ url }) => url.startsWith("/sandbox"));
  // The routes cover each provider and the phone.
  for (const name of [...providerNames, "phone"]) expect(below.some(({ url }) => url.includes(`/${name}`))).toBe(true);
  return { node, routes: below };
};

/** The headers of an answer as soon as they arrive, because a stream does not end. */
async function headersOf(url: string, init: RequestInit): Promise<{ status: number; names: string[] }> {
  const enough = new AbortController();
  const { status, headers } = await fetch(url, { ...init, redirect: "manual", signal: enough.signal });
  enough.abort();
  return { status, names: [...headers.keys()] };
}

const otherOrigin = "https://elsewhere.example";
const isCors = (name: string): boolean => name.startsWith("access-control-");

describe("page of another origin", () => {
  it("reads no answer of the sandbox, and gets no answer to a preflight", async () => {
    const { node, routes } = await listSandbox();
    // The node's own API allows the origin.
    const open = await headersOf(`${node.url}/v1/orders/X`, { headers: { origin: otherOrigin } });
    expect(open.names.filter(isCors)).not.toEqual([]);
    for (const route of routes) {
      const url = addressOf(node, route);
      for (const address of [url, url.replace("/sandbox", "/%73andbox")]) {
        const { names } = await headersOf(address, { method: route.method, headers: { origin: otherOrigin } }).catch(
          // `fetch` supports fewer methods than HTTP, and so do pages.
          () => ({ names: [] }),
        );
        expect([route, names.filter(isCors)]).toEqual([route, []]);
        const preflight = await headersOf(address, {
          method: "OPTIONS",
          headers: { origin: otherOrigin, "access-control-request-method": "POST" },
        });
        expect([route, preflight.names.filter(isCors)]).toEqual([route, []]);
      }
    }
  });

  it("cannot frame an answer of the sandbox, or read it as another type", async () => {
    const { node } = await listSandbox();
    for (const path of ["/sandbox/phone", "/sandbox/inbox", "/sandbox/bkash/redirect/", "/sandbox/daraja/nowhere"]) {
      const { headers } = await call(node.url + path);
      expect([path, headers.get("x-content-type-options")]).toEqual([path, "nosniff"]);
      expect(headers.get("content-security-policy")).toMatch(/frame-ancestors '(none|self)'/);
    }
  });
});

describe("sandbox in production", () => {
  const production = { NODE_ENV: "production", PUBLIC_URL: "https://pay.example/hub" };

  it("lets an unauthenticated client reach the pages, the phone and the inbox, and nothing else", async () => {
    const { node, routes } = await listSandbox({ ...production, DATABASE_URL: databaseUrl });
    const reached = new Set<string>();
    for (const route of routes.filter(({ method }) => ["GET", "POST", "PUT", "DELETE", "PATCH"].includes(method))) {
      const body = route.method === "GET" ? {} : { body: "{}", headers: { "content-type": "application/json" } };
      const { status } = await headersOf(addressOf(node, route), { method: route.method, ...body });
      if (status < 400) reached.add(`${route.method} ${route.url}`);
    }
    expect([...reached].toSorted()).toEqual([
      "GET /sandbox/inbox",
      "GET /sandbox/inbox.json",
      "GET /sandbox/inbox/mails",
      "GET /sandbox/phone",
      "GET /sandbox/phone/:msisdn/prompts",
    ]);
  });

  it.each(providerNames)("accepts the node's public and local address at %s, and no other", async (name) => {
    const node = await start({ ...production, DATABASE_URL: databaseUrl });
    const { phone, refusal } = merchants[name];
    const { ask } = await enter(node, name);
    if (refusal) {
      for (const address of ["http://pay.example/hub/x", "https://pay.example:8443/x", "https://hub.pay.example/x"]) {
        expect(await ask(address)).toMatchObject(refusal);
      }
    }
    await ask("https://pay.example/hub/webhooks/x");
    await ask(`${node.url}/webhooks/x`);
    expect(await promptsOf(node, phone)).toHaveLength(2);
  });
});

describe("memory of the phone", () => {
  const openPhone = (): Phone => {
    const phone = createPhone();
    onTestFinished(() => phone.close());
    return phone;
  };
  const ringFor = (digits: number) => ({
    provider: "daraja",
    phone: `+2547${digits}`,
    amountMinor: 1,
    currency: "KES",
  });

  it("is bounded: the oldest prompt ends with its default answer, or without one (G12)", async () => {
    const phone = openPhone();
    const first = phone.prompt(ringFor(10_000_000));
    const second = phone.prompt(ringFor(10_000_001));
    // A prompt of a test number ends with the automatic answer.
    const others = Array.from({ length: promptsMax - 2 }, (_, index) =>
      phone.prompt(ringFor(20_000_000 + index * 100)),
    );
    expect(phone.prompts("+254710000000")).toHaveLength(1);
    phone.prompt(ringFor(30_000_000));
    // A prompt that waits for a person ends without an answer: the payment's deadline ends the payment.
    expect(await Promise.race([first.answer, "no word"])).toBe("no word");
    expect(phone.prompts("+254710000000")).toEqual([]);
    phone.prompt(ringFor(30_000_000));
    expect(await second.answer).toBe("approve");
    expect(phone.prompts("+254720000000").map(({ id }) => id)).toEqual([others[0]?.id]);
  });

  it("is bounded for one number: a new prompt beyond the limit ends the oldest (G12)", () => {
    const phone = openPhone();
    const rung = Array.from({ length: promptsPerPhoneMax + 1 }, () => phone.prompt(ringFor(10_000_000)));
    const ids = phone.prompts("+254710000000").map(({ id }) => id);
    expect(ids).toEqual(rung.slice(1).map(({ id }) => id));
  });

  it("is not searched for an invalid number", async () => {
    const node = await start();
    for (const length of [65, 15_000]) {
      expect(await call(`${node.url}/sandbox/phone/${"7".repeat(length)}/prompts`)).toMatchObject({
        status: 400,
        body: { code: "body_invalid", errors: [{ path: "msisdn" }] },
      });
    }
  });
});
