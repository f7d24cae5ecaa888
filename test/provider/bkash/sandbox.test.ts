import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { describe, expect, onTestFinished, test } from "vitest";
import { bkashSandbox } from "../../../server/provider/bkash/sandbox.ts";
import { sandboxRoutes } from "../../../server/sandbox/server.ts";
import { snsTopicArn, testAccount } from "../../support/account.ts";
import { testSecret } from "../../support/node.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const account = testAccount("bkash");

interface Answer {
  status: number;
  body: Record<string, string>;
}

async function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === "" ? {} : JSON.parse(text) };
}

const credentials = { username: account.USERNAME, password: account.PASSWORD };
const app = { app_key: account.APP_KEY, app_secret: account.APP_SECRET };

const grant = ({ url }: TestSandbox, headers: Record<string, string> = credentials, body: object = app) =>
  post(`${url}/tokenized/checkout/token/grant`, body, headers);
const refresh = ({ url }: TestSandbox, refresh_token = "") =>
  post(`${url}/tokenized/checkout/token/refresh`, { ...app, refresh_token }, credentials);

interface Created {
  paymentID: string;
  bkashURL: string;
  body: Record<string, string>;
}

/** A client with a token. */
async function merchant(sandbox: TestSandbox) {
  const { id_token: authorization = "" } = (await grant(sandbox)).body;
  const headers = { authorization, "x-app-key": account.APP_KEY };
  const call = (verb: string, body: unknown, more: Record<string, string> = {}) =>
    post(`${sandbox.url}/tokenized/checkout/${verb}`, body, { ...headers, ...more });
  const create = async (fields: object = {}): Promise<Created> => {
    const { paymentID = "", bkashURL = "", ...body } = (await call("create", { ...asked(sandbox), ...fields })).body;
    return { paymentID, bkashURL, body: { paymentID, bkashURL, ...body } };
  };
  const execute = async (paymentID = "") => call("execute", { paymentID });
  const query = async (paymentID = "") => call("payment/status", { paymentID });
  return { call, create, execute, query };
}

/** Not a phone, so the payer pays on the page only. */
const asked = (sandbox: TestSandbox): object => ({
  mode: "0011",
  payerReference: "ORD-1001",
  callbackURL: `${sandbox.url}/nowhere`,
  amount: "150.00",
  currency: "BDT",
  intent: "sale",
  merchantInvoiceNumber: "0199f2c4-0000-7000-8000-000000000001",
});

const shapeOf = (name: string): string[] => Object.keys(fixture("bkash", name).body).sort();

/** A return URL of a shop, and the query string of each visit that was not answered with 503. */
async function startShop(
  asksToWait = 0,
): Promise<{ url: string; visits: URLSearchParams[]; next(): Promise<URLSearchParams> }> {
  const visits: URLSearchParams[] = [];
  const waiting: ((query: URLSearchParams) => void)[] = [];
  let busy = asksToWait;
  const server = createServer(({ url = "" }, response) => {
    if (busy-- > 0) return response.writeHead(503).end();
    const { searchParams } = new URL(url, "http://shop");
    const next = waiting.shift();
    if (next) next(searchParams);
    else visits.push(searchParams);
    return response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const next = async () => visits.shift() ?? new Promise<URLSearchParams>((resolve) => waiting.push(resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/back`, visits, next };
}

/** A payer's browser on bKash's page. It does not follow the redirect to the shop. */
async function visit(bkashURL: string) {
  const token = new URL(bkashURL).searchParams.get("token") ?? "";
  const show = async () => (await fetch(bkashURL)).text();
  const send = async (fields: Record<string, string>): Promise<string> => {
    const url = new URL(bkashURL);
    url.search = "";
    const body = new URLSearchParams({ token, do: "go", ...fields });
    const response = await fetch(url, { method: "POST", body, redirect: "manual" });
    const location = response.headers.get("location") ?? "";
    return location.startsWith("?") ? show() : location;
  };
  return { show, send, type: (value: string) => send({ value }) };
}

describe("tokens", () => {
  test("are issued to the account by grant and refresh, in the documented shape", async () => {
    const sandbox = await startSandbox("bkash");
    const granted = await grant(sandbox);
    expect(granted).toMatchObject({
      status: 200,
      body: { statusCode: "0000", expires_in: 3_600, token_type: "Bearer" },
    });
    const refreshed = await refresh(sandbox, granted.body.refresh_token);
    for (const { body } of [granted, refreshed]) expect(Object.keys(body).sort()).toEqual(shapeOf("token-granted"));
    expect(refreshed.body.id_token).not.toBe(granted.body.id_token);
  });

  test("are refused as at bKash", async () => {
    const unauthorized = { status: 401, body: fixture("bkash", "error-unauthorized").body };
    const invalidKey = { status: 200, body: fixture("bkash", "error-invalid-app-key").body };
    const fresh = () => startSandbox("bkash");
    expect(await grant(await fresh(), { ...credentials, password: "wrong" })).toEqual(unauthorized);
    expect(await grant(await fresh(), {})).toEqual(unauthorized);
    expect(await grant(await fresh(), credentials, { ...app, app_secret: "wrong" })).toEqual(invalidKey);
    expect(await grant(await fresh(), credentials, {})).toEqual({
      status: 200,
      body: fixture("bkash", "error-missing-field").body,
    });
    expect(await refresh(await fresh(), "wrong")).toEqual(unauthorized);
    const sandbox = await fresh();
    const { id_token } = (await grant(sandbox)).body;
    expect(await refresh(sandbox, id_token)).toEqual(unauthorized);
  });

  test("are blocked for an hour after a third call in an hour", async () => {
    let now = new Date("2026-11-20T21:00:00Z");
    const sandbox = await startSandbox("bkash", { now: () => now });
    const blocked = { status: 429, body: fixture("bkash", "token-blocked").body };
    const { refresh_token } = (await grant(sandbox)).body;
    now = new Date("2026-11-20T21:55:00Z");
    expect(await refresh(sandbox, refresh_token)).toMatchObject({ body: { statusCode: "0000" } });
    expect(await grant(sandbox)).toEqual(blocked);
    now = new Date("2026-11-20T22:54:59Z");
    expect(await refresh(sandbox, refresh_token)).toEqual(blocked);
    now = new Date("2026-11-20T23:55:01Z");
    expect(await grant(sandbox)).toMatchObject({ body: { statusCode: "0000" } });
  });

  test("are valid for an hour, without Bearer, with the app key, and after a restart", async () => {
    let now = new Date("2026-11-20T21:00:00Z");
    const sandbox = await startSandbox("bkash", { now: () => now });
    const other = await startSandbox("bkash", { now: () => now });
    const { id_token = "" } = (await grant(sandbox)).body;
    const status = (authorization: string, key: string = account.APP_KEY) =>
      post(`${other.url}/tokenized/checkout/payment/status`, { paymentID: "x" }, { authorization, "x-app-key": key });
    const [header, , mac] = id_token.split(".");
    const forged = `${header}.${Buffer.from('{"jti":"x","use":"id","exp":9999999999}').toString("base64url")}.${mac}`;
    expect((await status(id_token)).body).toEqual(fixture("bkash", "error-invalid-payment-id").body);
    expect((await status(id_token, "wrong")).body).toEqual(fixture("bkash", "error-invalid-app-key").body);
    for (const wrong of [`Bearer ${id_token}`, forged, ""]) expect((await status(wrong)).status).toBe(401);
    now = new Date("2026-11-20T22:00:00Z");
    expect((await status(id_token)).status).toBe(401);
  });
});

describe("create", () => {
  test("accepts in the documented shape, with one signature in all three return URLs", async () => {
    const sandbox = await startSandbox("bkash", { now: () => new Date("2025-11-02T08:29:02.166Z") });
    const { create } = await merchant(sandbox);
    const { body } = await create({ callbackURL: "https://pay.example/return?a=1" });
    expect(Object.keys(body).sort()).toEqual(shapeOf("create-accepted"));
    expect(body).toMatchObject({
      transactionStatus: "Initiated",
      paymentCreateTime: "2025-11-02T14:29:02:166 GMT+0600",
    });
    const ways = (["success", "failure", "cancelled"] as const).map((way) => body[`${way}CallbackURL`] ?? "");
    const [signature] = ways.map((way) => new URL(way).searchParams.get("signature"));
    expect(ways).toEqual(
      ["success", "failure", "cancel"].map(
        (status) =>
          `https://pay.example/return?a=1&paymentID=${body.paymentID}&status=${status}&signature=${signature}`,
      ),
    );
  });

  test.each([
    ["mode", "0000", "2063"],
    ["payerReference", "<b>", "2048"],
    ["callbackURL", "ftp://shop.example", "2049"],
    ["amount", "0.00", "2006"],
    ["amount", "150", "2006"],
    ["amount", 150, "2006"],
    ["currency", "USD", "2007"],
    ["intent", "authorization", "2008"],
    ["merchantInvoiceNumber", "a&b", "2031"],
  ])("refuses %s when it is %j, with HTTP 200", async (field, value, statusCode) => {
    const sandbox = await startSandbox("bkash");
    const { call } = await merchant(sandbox);
    expect(await call("create", { ...asked(sandbox), [field]: value })).toMatchObject({
      status: 200,
      body: { statusCode },
    });
  });

  test("reports a missing field in the older error format, and a missing body in the newer one", async () => {
    const sandbox = await startSandbox("bkash");
    const { call } = await merchant(sandbox);
    expect((await call("create", { ...asked(sandbox), amount: undefined })).body).toEqual(
      fixture("bkash", "error-missing-field").body,
    );
    for (const body of ["", "{", "[]"])
      expect(await call("create", body)).toMatchObject({ body: { statusCode: "2025" } });
  });

  test("refuses if the scenario requires it", async () => {
    const sandbox = await startSandbox("bkash");
    const { call } = await merchant(sandbox);
    const from = (payerReference: string) => call("create", { ...asked(sandbox), payerReference });
    expect(await from("01712345620")).toEqual({ status: 200, body: fixture("bkash", "error-duplicate").body });
    expect(await from("01712345612")).toEqual({ status: 503, body: fixture("bkash", "error-unavailable").body });
    expect(sandbox.phone.prompts("01712345612")).toEqual([]);
  });
});

describe("execute and query", () => {
  test("move the money once after the payer's approval, in bKash's shapes", async () => {
    const sandbox = await startSandbox("bkash");
    const { create, execute, query } = await merchant(sandbox);
    const { paymentID, bkashURL } = await create();
    expect((await execute(paymentID)).body).toEqual(fixture("bkash", "error-not-finished").body);
    const open = await query(paymentID);
    expect(Object.keys(open.body).sort()).toEqual(shapeOf("query-initiated"));
    expect(open.body.transactionStatus).toBe("Initiated");
    const page = await visit(bkashURL);
    for (const typed of ["01770618575", "123456", "12121"]) await page.type(typed);
    // The payer's approval moves no money.
    expect((await query(paymentID)).body.transactionStatus).toBe("Initiated");
    const [first, second] = await Promise.all([execute(paymentID), execute(paymentID)]);
    expect(Object.keys(first.body).sort()).toEqual(shapeOf("execute-completed"));
    expect(first.body).toMatchObject({ transactionStatus: "Completed", amount: "150.00", payerAccount: "01770618575" });
    expect(second.body).toEqual(fixture("bkash", "error-already-completed").body);
    const paid = await query(paymentID);
    expect(Object.keys(paid.body).sort()).toEqual(shapeOf("query-completed"));
    expect(paid.body).toMatchObject({ transactionStatus: "Completed", trxID: first.body.trxID });
    expect((await execute("TR0011x")).body).toEqual(fixture("bkash", "error-invalid-payment-id").body);
  });

  test.each([
    ["01823074817", "error-insufficient-balance"],
    ["01823074818", "error-debit-party-state"],
    ["01712345604", "error-wrong-pin"],
    ["01712345605", "error-pin-time-expired"],
  ])("return for wallet %s: %s, once", async (wallet, name) => {
    const { create, execute, query } = await merchant(await startSandbox("bkash"));
    const { paymentID, bkashURL } = await create();
    const page = await visit(bkashURL);
    for (const typed of [wallet, "123456", "12121"]) await page.type(typed);
    expect((await execute(paymentID)).body).toEqual(fixture("bkash", name).body);
    expect((await execute(paymentID)).body).toEqual(fixture("bkash", "error-already-executed").body);
    expect((await query(paymentID)).body.transactionStatus).toBe("Initiated");
  });

  test("refuse to execute a cancelled payment, and one that is a day old", async () => {
    let now = new Date("2026-11-20T21:00:00Z");
    const sandbox = await startSandbox("bkash", { now: () => now });
    const { create, execute } = await merchant(sandbox);
    const invalid = fixture("bkash", "error-invalid-payment-state").body;
    const cancelled = await create();
    await (await visit(cancelled.bkashURL)).send({ do: "cancel" });
    expect((await execute(cancelled.paymentID)).body).toEqual(invalid);
    const old = await create();
    now = new Date("2026-11-21T21:00:01Z");
    const { execute: later } = await merchant(sandbox);
    expect((await later(old.paymentID)).body).toEqual(invalid);
    expect((await fetch(old.bkashURL)).status).toBe(404);
  });

  test("report a missing paymentID in the older error format", async () => {
    const { call } = await merchant(await startSandbox("bkash"));
    for (const verb of ["execute", "payment/status"]) {
      expect((await call(verb, {})).body).toEqual(fixture("bkash", "error-missing-field").body);
    }
  });
});

describe("payer on the phone", () => {
  const start = async (ending: string, asksToWait = 0) => {
    const sandbox = await startSandbox("bkash");
    const shop = await startShop(asksToWait);
    const api = await merchant(sandbox);
    const created = await api.create({ payerReference: `017123456${ending}`, callbackURL: shop.url });
    return { sandbox, shop, ...api, ...created };
  };

  test.each([
    ["01", "success", "0000"],
    ["02", "cancel", "2056"],
    ["03", "success", "2023"],
    ["04", "success", "2014"],
    ["05", "success", "2019"],
  ])("returns for %s with %s, and Execute answers %s", async (ending, status, statusCode) => {
    const { shop, execute, paymentID } = await start(ending);
    const back = await shop.next();
    expect(Object.fromEntries(back)).toEqual({
      paymentID,
      status,
      signature: expect.stringMatching(/^\w{10}$/),
      apiVersion: "1.2.0-beta/",
    });
    expect((await execute(paymentID)).body.statusCode).toBe(statusCode);
  });

  test("reloads the return page while it answers 503", async () => {
    const { shop, paymentID } = await start("01", 2);
    expect((await shop.next()).get("paymentID")).toBe(paymentID);
  });

  test("gets a prompt for 00, and returns after the answer", async () => {
    const { sandbox, shop } = await start("00");
    expect(sandbox.phone.prompts("01712345600")).toMatchObject([
      { id: expect.any(String), provider: "bkash", phone: "+8801712345600", amountMinor: 15_000, currency: "BDT" },
    ]);
    sandbox.phone.answer(sandbox.phone.prompts("01712345600")[0]?.id ?? "", "cancel");
    expect((await shop.next()).get("status")).toBe("cancel");
  });

  test("pays for 06, but loses the answer of Execute and sends no notification", async () => {
    const { sandbox, shop, execute, query, paymentID } = await start("06");
    await shop.next();
    expect(await execute(paymentID)).toEqual({ status: 504, body: fixture("bkash", "error-timeout").body });
    expect((await query(paymentID)).body.transactionStatus).toBe("Completed");
    expect(sandbox.waiting).toBe(0);
  });

  test("returns three times for 07, with three notifications after the answer", async () => {
    const { sandbox, shop, execute, paymentID } = await start("07");
    for (const _ of [1, 2, 3]) expect((await shop.next()).get("paymentID")).toBe(paymentID);
    await execute(paymentID);
    for (const _ of [1, 2, 3]) await sandbox.nextWebhook();
  });

  test("gets the notification for 08 before the answer of Execute", async () => {
    const { sandbox, shop, execute, paymentID } = await start("08");
    await shop.next();
    await execute(paymentID);
    expect(sandbox.waiting).toBe(1);
  });

  test("pays another amount for 10", async () => {
    const { shop, execute, query, paymentID } = await start("10");
    await shop.next();
    expect((await execute(paymentID)).body.amount).toBe("151.00");
    expect((await query(paymentID)).body.amount).toBe("151.00");
  });

  test("loses the prompt after paying on the page, and returns once", async () => {
    const { sandbox, shop, execute, bkashURL, paymentID } = await start("00");
    const page = await visit(bkashURL);
    for (const typed of ["01770618575", "123456", "12121"]) await page.type(typed);
    expect(sandbox.phone.prompts("01712345600")).toEqual([]);
    expect((await execute(paymentID)).body).toMatchObject({ statusCode: "0000", payerAccount: "01770618575" });
    await sandbox.nextWebhook();
    expect(shop.visits).toEqual([]);
  });
});

describe("notification", () => {
  test("is an SNS message as text, with an amount without decimals", async () => {
    const sandbox = await startSandbox("bkash", { now: () => new Date("2025-11-02T08:30:31.900Z") });
    const { create, execute } = await merchant(sandbox);
    const { paymentID, bkashURL, body } = await create();
    const page = await visit(bkashURL);
    for (const typed of ["01770618575", "123456", "12121"]) await page.type(typed);
    const { trxID } = (await execute(paymentID)).body;
    const { headers, text } = await sandbox.nextWebhook();
    expect(headers).toMatchObject({
      "content-type": "text/plain; charset=UTF-8",
      "x-amz-sns-message-type": "Notification",
    });
    const envelope = JSON.parse(text);
    expect(Object.keys(envelope).sort()).toEqual(shapeOf("webhook-completed"));
    expect(envelope.TopicArn).toBe(snsTopicArn);
    const message = JSON.parse(envelope.Message);
    const known = JSON.parse(String(fixture("bkash", "webhook-completed").body.Message));
    expect(Object.keys(message)).toEqual(Object.keys(known));
    expect(message).toMatchObject({
      dateTime: "20251102143031",
      debitMSISDN: "8801770618575",
      trxID,
      amount: "150",
      merchantInvoiceNumber: body.merchantInvoiceNumber,
    });
  });
});

describe("page", () => {
  const start = async (fields: object = {}) => {
    const sandbox = await startSandbox("bkash");
    const { create, execute } = await merchant(sandbox);
    const created = await create(fields);
    return { page: await visit(created.bkashURL), execute, ...created };
  };

  test("asks for the wallet, the code and the PIN, and then redirects the payer", async () => {
    const { page, body } = await start();
    expect(await page.show()).toContain("Step 1 of 3");
    expect(await page.type("12")).toContain("This is not a wallet");
    expect(await page.type("+880 1770-618575")).toMatch(/Step 2 of 3 · 01770618575/);
    expect(await page.type("000000")).toContain("2 tries left");
    expect(await page.type("123456")).toContain("Step 3 of 3");
    expect(await page.type("1")).toContain("2 tries left");
    expect(await page.type("12121")).toBe(`${body.successCallbackURL}&apiVersion=1.2.0-beta%2F`);
    // Going back shows the same link to the shop, and another entry changes nothing.
    expect(await page.show()).toContain("You are done here");
    expect(await page.send({ do: "cancel" })).toContain("status=success");
  });

  test.each([
    ["cancel", "cancel"],
    ["fail", "failure"],
  ])("lets the payer %s at each step", async (what, status) => {
    const { page } = await start();
    await page.type("01770618575");
    expect(await page.send({ do: what })).toContain(`status=${status}`);
  });

  test("fails after three wrong entries", async () => {
    const { page, execute, paymentID } = await start();
    await page.type("01770618575");
    await page.type("123456");
    for (const _ of [1, 2]) expect(await page.type("00000")).toContain("left.");
    expect(await page.type("00000")).toContain("status=failure");
    expect((await execute(paymentID)).body).toEqual(fixture("bkash", "error-invalid-payment-state").body);
  });

  test("fills in the payer reference, and escapes all values", async () => {
    const { page } = await start({ payerReference: "01712345699", merchantInvoiceNumber: `"'x` });
    const html = await page.show();
    expect(html).toContain('value="01712345699"');
    expect(html).toContain("Invoice &#34;&#39;x");
  });

  test("allows no script, no frame and no cache", async () => {
    const { bkashURL } = await start();
    const { headers } = await fetch(bkashURL);
    expect(headers.get("content-security-policy")).toMatch(
      /^default-src 'none'; base-uri 'none'; style-src 'sha256-[^']+'; frame-ancestors 'none'$/,
    );
    expect(headers.get("cache-control")).toBe("no-store");
  });

  test("has the public URL, not the node's local one", async () => {
    const server = Fastify();
    onTestFinished(() => server.close());
    const hubUrl = () => "http://127.0.0.1:9";
    const publicUrl = () => "https://pay.example/hub";
    const sandboxed = [{ name: "bkash", sandbox: bkashSandbox, deadlineS: () => 300 }];
    const rest = {
      admit: async () => undefined,
      secrets: [testSecret],
      prefix: "/sandbox",
    };
    server.register(sandboxRoutes, { sandboxed, hubUrl, publicUrl, ...rest });
    const ask = async (verb: string, payload: object, headers: Record<string, string>) =>
      (
        await server.inject({ method: "POST", url: `/sandbox/bkash/tokenized/checkout/${verb}`, payload, headers })
      ).json();
    const { id_token } = await ask("token/grant", app, credentials);
    const fields = { ...asked(await startSandbox("bkash")), callbackURL: "https://pay.example/hub/return/x" };
    const { bkashURL } = await ask("create", fields, { authorization: id_token, "x-app-key": account.APP_KEY });
    expect(bkashURL).toMatch(/^https:\/\/pay\.example\/hub\/sandbox\/bkash\/redirect\/\?token=/);
  });

  test("refuses an unknown payment, and other bodies than forms", async () => {
    const { bkashURL } = await start();
    const unknown = await fetch(`${bkashURL}x`);
    expect(unknown.status).toBe(404);
    const page = await visit(`${bkashURL}x`);
    expect(await page.send({})).toBe("");
    expect((await fetch(bkashURL, { method: "POST", body: "{}" })).ok).toBe(false);
  });
});

test("sandbox answers an unknown path as the gateway does", async () => {
  const { url } = await startSandbox("bkash");
  expect(await post(`${url}/nowhere`, {})).toMatchObject({ status: 403, body: { message: expect.any(String) } });
});
