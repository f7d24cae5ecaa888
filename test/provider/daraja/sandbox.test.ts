import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished, test } from "vitest";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const account = testAccount("daraja");

interface Answer {
  status: number;
  body: Record<string, string>;
}

const timestamp = "20261120235931";

const signed = {
  BusinessShortCode: account.SHORTCODE,
  Password: Buffer.from(account.SHORTCODE + account.PASSKEY + timestamp).toString("base64"),
  Timestamp: timestamp,
};

const basic = (secret: string): string =>
  `Basic ${Buffer.from(`${account.CONSUMER_KEY}:${secret}`).toString("base64")}`;

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, body: text === "" ? {} : JSON.parse(text) };
}

async function generate(url: string, authorization: string, grantType = "client_credentials"): Promise<Answer> {
  return read(await fetch(`${url}/oauth/v1/generate?grant_type=${grantType}`, { headers: { authorization } }));
}

async function tokenOf(sandbox: TestSandbox): Promise<string> {
  const { body } = await generate(sandbox.url, basic(account.CONSUMER_SECRET));
  return body.access_token ?? "";
}

async function post(url: string, token: string, body: object | string, contentType = "application/json") {
  return read(
    await fetch(url, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": contentType },
      body: typeof body === "string" ? body : JSON.stringify(body),
    }),
  );
}

const pushFields = (sandbox: TestSandbox, fields: object = {}): object => ({
  ...signed,
  TransactionType: "CustomerPayBillOnline",
  Amount: 150,
  PartyA: "254712345600",
  PartyB: account.SHORTCODE,
  PhoneNumber: "254712345600",
  CallBackURL: sandbox.hookUrl.href,
  AccountReference: "ORD-1001",
  TransactionDesc: "2 tickets",
  ...fields,
});

const from = (phone: string): object => ({ PartyA: phone, PhoneNumber: phone });

const push = (sandbox: TestSandbox, token: string, fields: object = {}): Promise<Answer> =>
  post(`${sandbox.url}/mpesa/stkpush/v1/processrequest`, token, pushFields(sandbox, fields));

const query = (sandbox: TestSandbox, token: string, reference = "", fields: object = {}): Promise<Answer> =>
  post(`${sandbox.url}/mpesa/stkpushquery/v1/query`, token, { ...signed, CheckoutRequestID: reference, ...fields });

function promptOf(sandbox: TestSandbox, phone = "254712345600"): string {
  const [prompt] = sandbox.phone.prompts(phone);
  return prompt?.id ?? expect.unreachable("no prompt");
}

describe("sandbox of Daraja", () => {
  describe("tokens", () => {
    test("issues a token for the consumer key and secret, with its lifetime as text", async () => {
      const sandbox = await startSandbox("daraja");
      const { status, body } = await generate(sandbox.url, basic(account.CONSUMER_SECRET));
      expect(status).toBe(200);
      expect(body).toEqual({ access_token: expect.stringMatching(/^\S{28}$/), expires_in: "3599" });
    });

    test("answers wrong credentials without a body, and names other errors", async () => {
      const { url } = await startSandbox("daraja");
      expect(await generate(url, basic("wrong"))).toEqual({ status: 400, body: {} });
      expect(await generate(url, "Bearer x")).toMatchObject({ status: 400, body: { errorCode: "400.008.01" } });
      const grant = await generate(url, basic(account.CONSUMER_SECRET), "password");
      expect(grant).toMatchObject({ status: 400, body: { errorCode: "400.008.02" } });
    });

    test("accepts only the newest token", async () => {
      const sandbox = await startSandbox("daraja");
      const [first, second] = [await tokenOf(sandbox), await tokenOf(sandbox)];
      const refused = await push(sandbox, first);
      const { requestId, ...body } = refused.body;
      const { requestId: _, ...expected } = fixture("daraja", "error-invalid-token").body;
      expect({ ...refused, body }).toEqual({ status: 404, body: expected });
      expect(requestId).toBeTypeOf("string");
      expect(await push(sandbox, second)).toMatchObject({ status: 200 });
    });

    test("refuses an expired token", async () => {
      let now = new Date("2026-11-20T21:00:00Z");
      const sandbox = await startSandbox("daraja", { now: () => now });
      const token = await tokenOf(sandbox);
      now = new Date("2026-11-20T21:59:59Z");
      expect(await push(sandbox, token)).toMatchObject({ status: 404, body: { errorCode: "404.001.03" } });
    });
  });

  describe("push", () => {
    test("accepts with the documented fields, all text", async () => {
      const sandbox = await startSandbox("daraja");
      const { status, body } = await push(sandbox, await tokenOf(sandbox));
      expect(status).toBe(200);
      expect(Object.keys(body)).toEqual(Object.keys(fixture("daraja", "push-accepted").body));
      expect(body).toMatchObject({ ResponseCode: "0", CheckoutRequestID: expect.stringMatching(/^ws_CO_\d+$/) });
    });

    test("prompts the payer's phone with the requested amount", async () => {
      const sandbox = await startSandbox("daraja");
      await push(sandbox, await tokenOf(sandbox));
      expect(sandbox.phone.prompts("0712345600")).toMatchObject([
        { id: expect.any(String), provider: "daraja", phone: "+254712345600", amountMinor: 15_000, currency: "KES" },
      ]);
    });

    test.each([
      ["BusinessShortCode", "12"],
      ["Timestamp", "now"],
      ["TransactionType", "CustomerPayLater"],
      ["Amount", 1.5],
      ["Amount", 0],
      ["Amount", 250_001],
      ["PartyA", "0712345600"],
      ["PartyB", ""],
      ["PhoneNumber", "+254712345600"],
      ["CallBackURL", "ftp://shop.example"],
      ["AccountReference", "longer than twelve"],
      ["TransactionDesc", "longer than 13"],
    ])("refuses %s when it is %j", async (field, value) => {
      const sandbox = await startSandbox("daraja");
      expect(await push(sandbox, await tokenOf(sandbox), { [field]: value })).toMatchObject({
        status: 400,
        body: { errorCode: "400.002.02" },
      });
      expect(sandbox.phone.prompts("254712345600")).toEqual([]);
    });

    test.each([
      ["is not declared as JSON", "text/plain", "{}"],
      ["is not JSON", "application/json", "{"],
      ["is no object", "application/json", "null"],
    ])("refuses a body that %s", async (_what, contentType, body) => {
      const sandbox = await startSandbox("daraja");
      const url = `${sandbox.url}/mpesa/stkpush/v1/processrequest`;
      expect(await post(url, await tokenOf(sandbox), body, contentType)).toMatchObject({
        status: 400,
        body: { errorCode: "400.002.02" },
      });
    });

    test("refuses a password with another timestamp, and an unknown merchant", async () => {
      const sandbox = await startSandbox("daraja");
      const token = await tokenOf(sandbox);
      expect(await push(sandbox, token, { Timestamp: "20261120235932" })).toMatchObject({
        status: 500,
        body: { errorCode: "500.001.1001", errorMessage: "Wrong credentials" },
      });
      expect(await push(sandbox, token, { BusinessShortCode: "600000" })).toMatchObject({
        status: 500,
        body: { errorCode: "500.001.1001", errorMessage: "Merchant does not exist" },
      });
    });

    test("refuses a phone ending in 20 as busy, and prompts any other phone several times", async () => {
      const sandbox = await startSandbox("daraja");
      const token = await tokenOf(sandbox);
      expect(await push(sandbox, token, from("254712345720"))).toMatchObject({
        status: 500,
        body: { errorCode: "500.001.1001", errorMessage: expect.stringContaining("Unable to lock subscriber") },
      });
      for (const _ of [1, 2]) expect(await push(sandbox, token)).toMatchObject({ status: 200 });
    });
  });

  describe("webhook", () => {
    test("sends a success in Safaricom's types: numbers, a decimal amount, a balance without value", async () => {
      const sandbox = await startSandbox("daraja", { now: () => new Date("2026-11-20T20:59:31Z") });
      const { body } = await push(sandbox, await tokenOf(sandbox));
      sandbox.phone.answer(promptOf(sandbox), "approve");
      const { text, headers } = await sandbox.nextWebhook();
      expect(headers["content-type"]).toBe("application/json;charset=UTF-8");
      expect(text).toContain('{"Name":"Amount","Value":150.00}');
      expect(JSON.parse(text)).toEqual({
        Body: {
          stkCallback: {
            MerchantRequestID: body.MerchantRequestID,
            CheckoutRequestID: body.CheckoutRequestID,
            ResultCode: 0,
            ResultDesc: "The service request is processed successfully.",
            CallbackMetadata: {
              Item: [
                { Name: "Amount", Value: 150 },
                { Name: "MpesaReceiptNumber", Value: expect.stringMatching(/^[A-Z0-9]{10}$/) },
                { Name: "Balance" },
                { Name: "TransactionDate", Value: 20_261_120_235_931 },
                { Name: "PhoneNumber", Value: 254_712_345_600 },
              ],
            },
          },
        },
      });
    });

    test.each([
      ["cancel", "webhook-cancelled"],
      ["wrong_pin", "webhook-wrong-pin"],
      ["insufficient_funds", "webhook-insufficient-funds"],
      ["ignore", "webhook-no-response"],
    ] as const)("sends %s as %s, without metadata", async (answer, name) => {
      const sandbox = await startSandbox("daraja");
      const { body } = await push(sandbox, await tokenOf(sandbox));
      sandbox.phone.answer(promptOf(sandbox), answer);
      const { MerchantRequestID, CheckoutRequestID } = body;
      const known = fixture("daraja", name).body as { Body: { stkCallback: object } };
      expect(JSON.parse((await sandbox.nextWebhook()).text)).toEqual({
        Body: { stkCallback: { ...known.Body.stkCallback, MerchantRequestID, CheckoutRequestID } },
      });
    });

    test("is sent once, even if the node answers with an error", async () => {
      const sandbox = await startSandbox("daraja", { onWebhook: () => 500 });
      const token = await tokenOf(sandbox);
      for (const phone of ["254712345600", "254712345700"]) {
        await push(sandbox, token, from(phone));
        sandbox.phone.answer(promptOf(sandbox, phone), "approve");
        await sandbox.nextWebhook();
      }
      // A second copy of the first webhook would arrive before the second payment's.
      expect(sandbox.waiting).toBe(0);
    });

    test("is sent three times for a phone ending in 07", async () => {
      const sandbox = await startSandbox("daraja");
      await push(sandbox, await tokenOf(sandbox), from("254712345607"));
      const [first, second, third] = [
        await sandbox.nextWebhook(),
        await sandbox.nextWebhook(),
        await sandbox.nextWebhook(),
      ];
      expect([second.text, third.text]).toEqual([first.text, first.text]);
    });

    test("is sent and answered before the push for a phone ending in 08", async () => {
      const order: string[] = [];
      const sandbox = await startSandbox("daraja", { onWebhook: () => order.push("webhook") && 200 });
      await push(sandbox, await tokenOf(sandbox), from("254712345608"));
      order.push("reply");
      expect(order).toEqual(["webhook", "reply"]);
    });

    test("states another amount for a phone ending in 10", async () => {
      const sandbox = await startSandbox("daraja");
      await push(sandbox, await tokenOf(sandbox), from("254712345610"));
      expect((await sandbox.nextWebhook()).text).toContain('"Amount","Value":151.00');
    });

    test("is aborted when the sandbox closes", async () => {
      const hook = createServer();
      hook.listen(0, "127.0.0.1");
      await once(hook, "listening");
      onTestFinished(() => void hook.close());
      const sandbox = await startSandbox("daraja");
      const CallBackURL = `http://127.0.0.1:${(hook.address() as AddressInfo).port}/`;
      const called = once(hook, "request");
      await push(sandbox, await tokenOf(sandbox), { ...from("254712345601"), CallBackURL });
      const [, response] = (await called) as [IncomingMessage, ServerResponse];
      const abandoned = once(response, "close");
      await sandbox.close();
      await abandoned;
      expect(response.writableEnded).toBe(false);
    });
  });

  describe("query", () => {
    test("answers an open push in both of Safaricom's forms", async () => {
      const sandbox = await startSandbox("daraja");
      const token = await tokenOf(sandbox);
      const { CheckoutRequestID } = (await push(sandbox, token)).body;
      expect(await query(sandbox, token, CheckoutRequestID)).toMatchObject({
        status: 200,
        body: { ResultCode: "4999", CheckoutRequestID },
      });
      expect(await query(sandbox, token, CheckoutRequestID)).toMatchObject({
        status: 500,
        body: { errorCode: "500.001.1001", errorMessage: "The transaction is being processed" },
      });
    });

    test.each([
      ["approve", "query-success"],
      ["cancel", "query-cancelled"],
      ["ignore", "query-no-response"],
    ] as const)("answers %s in text only, as %s", async (answer, name) => {
      const sandbox = await startSandbox("daraja");
      const token = await tokenOf(sandbox);
      const { CheckoutRequestID = "", MerchantRequestID = "" } = (await push(sandbox, token)).body;
      sandbox.phone.answer(promptOf(sandbox), answer);
      await sandbox.nextWebhook();
      expect(await query(sandbox, token, CheckoutRequestID)).toEqual({
        status: 200,
        body: { ...fixture("daraja", name).body, CheckoutRequestID, MerchantRequestID },
      });
    });

    test("refuses an unknown push", async () => {
      const sandbox = await startSandbox("daraja");
      expect(await query(sandbox, await tokenOf(sandbox), "ws_CO_1")).toMatchObject({
        status: 400,
        body: { errorCode: "400.002.02" },
      });
    });

    test("requires a token and the password", async () => {
      const sandbox = await startSandbox("daraja");
      const token = await tokenOf(sandbox);
      expect(await query(sandbox, "other", "ws_CO_1")).toMatchObject({ status: 404 });
      expect(await query(sandbox, token, "ws_CO_1", { Password: "other" })).toMatchObject({
        status: 500,
        body: { errorMessage: "Wrong credentials" },
      });
    });
  });

  test("answers an unknown path in its own error format", async () => {
    const sandbox = await startSandbox("daraja");
    expect(await read(await fetch(`${sandbox.url}/mpesa/other`))).toMatchObject({
      status: 404,
      body: { errorCode: "404.001.01" },
    });
  });
});
