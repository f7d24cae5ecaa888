import { describe, expect, test } from "vitest";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const account = testAccount("payhero");

interface Answer {
  status: number;
  body: Record<string, unknown>;
}

const basic = (password: string = account.PASSWORD): string =>
  `Basic ${Buffer.from(`${account.USERNAME}:${password}`).toString("base64")}`;

async function call(url: string, init: RequestInit = {}, authorization = basic()): Promise<Answer> {
  const response = await fetch(url, { ...init, headers: { authorization, ...init.headers } });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

const headers = { "content-type": "application/json" };

const fieldsOf = (sandbox: TestSandbox, fields: object = {}): object => ({
  amount: 150,
  phone_number: "254712345600",
  channel_id: Number(account.CHANNEL_ID),
  provider: "m-pesa",
  external_reference: "INV-009",
  callback_url: sandbox.hookUrl.href,
  ...fields,
});

const ask = (sandbox: TestSandbox, fields: object = {}): Promise<Answer> =>
  call(`${sandbox.url}/payments`, { method: "POST", headers, body: JSON.stringify(fieldsOf(sandbox, fields)) });

const query = (sandbox: TestSandbox, reference: unknown): Promise<Answer> =>
  call(`${sandbox.url}/transaction-status?reference=${reference}`);

function promptOf(sandbox: TestSandbox, phone = "254712345600"): string {
  const [prompt] = sandbox.phone.prompts(phone);
  return prompt?.id ?? expect.unreachable("no prompt");
}

const receipt = expect.stringMatching(/^[A-Z0-9]{10}$/);

describe("sandbox of PayHero", () => {
  describe("payment", () => {
    test("is queued, with the documented fields and a reference in either form", async () => {
      const sandbox = await startSandbox("payhero", { now: () => new Date("2024-01-14T07:35:43.427Z") });
      const { status, body } = await ask(sandbox);
      const known = fixture("payhero", "payment-queued");
      expect(status).toBe(known.status);
      expect(Object.keys(body)).toEqual(Object.keys(known.body));
      expect(body).toEqual({
        success: true,
        status: "QUEUED",
        reference: expect.stringMatching(/^([A-Z0-9]{10}|[0-9a-f-]{36})$/),
        CheckoutRequestID: "ws_CO_14012024103543427712345600",
      });
    });

    test("prompts the payer's phone in local and international form", async () => {
      const sandbox = await startSandbox("payhero");
      await ask(sandbox);
      await ask(sandbox, { phone_number: "0712345600", amount: 1 });
      const prompt = { id: expect.any(String), provider: "payhero", phone: "+254712345600", currency: "KES" };
      expect(sandbox.phone.prompts("0712345600")).toMatchObject([
        { ...prompt, amountMinor: 15_000 },
        { ...prompt, amountMinor: 100 },
      ]);
    });

    test.each([
      ["amount", 1.5],
      ["amount", 0],
      ["amount", "150"],
      ["amount", 250_001],
      ["phone_number", "+254712345600"],
      ["phone_number", "255712345600"],
      ["channel_id", 134],
      ["channel_id", account.CHANNEL_ID],
      ["provider", "sasapay"],
      ["external_reference", 9],
      ["callback_url", "ftp://shop.example"],
    ])("refuses %s when it is %j", async (field, value) => {
      const sandbox = await startSandbox("payhero");
      expect(await ask(sandbox, { [field]: value })).toMatchObject({
        status: 400,
        body: { error_code: "BAD_REQUEST" },
      });
      expect(sandbox.phone.prompts("254712345600")).toEqual([]);
    });

    test.each(["", "{", "null", "[]"])("refuses a body that is %j", async (body) => {
      const { url } = await startSandbox("payhero");
      expect(await call(`${url}/payments`, { method: "POST", headers, body })).toMatchObject({
        status: 400,
        body: { error_code: "BAD_REQUEST" },
      });
    });

    test("is answered with a page and without a prompt while PayHero is down", async () => {
      const sandbox = await startSandbox("payhero");
      const body = JSON.stringify(fieldsOf(sandbox, { phone_number: "254712345612" }));
      const authorized = { ...headers, authorization: basic() };
      const response = await fetch(`${sandbox.url}/payments`, { method: "POST", headers: authorized, body });
      expect(response.status).toBe(503);
      expect(await response.text()).toContain("<html>");
      expect(sandbox.phone.prompts("254712345612")).toEqual([]);
    });
  });

  test("accepts only its merchant", async () => {
    const { url } = await startSandbox("payhero");
    const { status, body } = fixture("payhero", "error-wrong-credentials");
    for (const authorization of [basic("wrong"), "", `Bearer ${basic().slice(6)}`, basic().slice(6)]) {
      const payment = { method: "POST", headers, body: "{}" };
      expect(await call(`${url}/payments`, payment, authorization)).toEqual({ status, body });
      expect(await call(`${url}/transaction-status?reference=x`, {}, authorization)).toEqual({ status, body });
    }
  });

  test("refuses a too large body", async () => {
    const { url } = await startSandbox("payhero");
    const body = JSON.stringify("x".repeat(2 ** 20));
    expect(await call(`${url}/payments`, { method: "POST", headers, body })).toMatchObject({ status: 413 });
  });

  test("answers an unknown path in its own error format", async () => {
    const { url } = await startSandbox("payhero");
    expect(await call(`${url}/other`)).toMatchObject({ status: 404, body: { error_code: "NOT_FOUND" } });
  });

  describe("webhook", () => {
    test("has a success in `response`, without PayHero's reference", async () => {
      const sandbox = await startSandbox("payhero");
      const { body } = await ask(sandbox);
      sandbox.phone.answer(promptOf(sandbox), "approve");
      const { text, headers } = await sandbox.nextWebhook();
      const known = fixture("payhero", "webhook-success").body;
      expect(headers["content-type"]).toBe("application/json");
      expect(text).not.toContain(String(body.reference));
      expect(JSON.parse(text)).toEqual({
        ...known,
        response: {
          ...Object(known.response),
          Amount: 150,
          CheckoutRequestID: body.CheckoutRequestID,
          MerchantRequestID: expect.stringMatching(/^\d+-\d+-1$/),
          MpesaReceiptNumber: receipt,
          Phone: "+254712345600",
        },
      });
    });

    test.each([
      ["cancel", "webhook-cancelled"],
      ["wrong_pin", "webhook-wrong-pin"],
      ["insufficient_funds", "webhook-insufficient-funds"],
      ["ignore", "webhook-no-response"],
    ] as const)("has %s as %s, with an empty receipt", async (answer, name) => {
      const sandbox = await startSandbox("payhero");
      const { CheckoutRequestID } = (await ask(sandbox)).body;
      sandbox.phone.answer(promptOf(sandbox), answer);
      const known = fixture("payhero", name).body;
      const own = { Amount: 150, CheckoutRequestID, MerchantRequestID: expect.any(String), Phone: "+254712345600" };
      expect(JSON.parse((await sandbox.nextWebhook()).text)).toEqual({
        ...known,
        response: { ...Object(known.response), ...own },
      });
    });

    test("is sent three times for a phone ending in 07", async () => {
      const sandbox = await startSandbox("payhero");
      await ask(sandbox, { phone_number: "254712345607" });
      const [first, second, third] = [
        await sandbox.nextWebhook(),
        await sandbox.nextWebhook(),
        await sandbox.nextWebhook(),
      ];
      expect([second.text, third.text]).toEqual([first.text, first.text]);
    });

    test("is sent and answered before the payment for a phone ending in 08", async () => {
      const order: string[] = [];
      const sandbox = await startSandbox("payhero", { onWebhook: () => order.push("webhook") && 200 });
      await ask(sandbox, { phone_number: "254712345608" });
      order.push("reply");
      expect(order).toEqual(["webhook", "reply"]);
    });

    test("states another amount for a phone ending in 10", async () => {
      const sandbox = await startSandbox("payhero");
      await ask(sandbox, { phone_number: "254712345610" });
      expect(JSON.parse((await sandbox.nextWebhook()).text)).toMatchObject({ response: { Amount: 151 } });
    });

    test("is not sent without a URL", async () => {
      const sandbox = await startSandbox("payhero");
      const { reference } = (await ask(sandbox, { callback_url: undefined })).body;
      sandbox.phone.answer(promptOf(sandbox), "approve");
      await expect.poll(() => query(sandbox, reference)).toMatchObject({ body: { status: "SUCCESS" } });
      expect(sandbox.waiting).toBe(0);
    });
  });

  describe("query", () => {
    const now = () => new Date("2024-02-01T08:40:27.991Z");

    test.each([
      [undefined, "query-queued"],
      ["approve", "query-success"],
      ["cancel", "query-failed"],
      ["ignore", "query-failed"],
    ] as const)("answers %s as %s, without amount and reason", async (answer, name) => {
      const sandbox = await startSandbox("payhero", { now });
      const { reference } = (await ask(sandbox)).body;
      if (answer) {
        sandbox.phone.answer(promptOf(sandbox), answer);
        await sandbox.nextWebhook();
      }
      const known = fixture("payhero", name);
      const receipts = { third_party_reference: receipt, provider_reference: receipt };
      const own = { reference, merchant: expect.any(String), ...(answer === "approve" && receipts) };
      expect(await query(sandbox, reference)).toEqual({ status: known.status, body: { ...known.body, ...own } });
    });

    test("answers with the receipt even if no webhook was sent", async () => {
      const sandbox = await startSandbox("payhero");
      const { reference } = (await ask(sandbox, { phone_number: "254712345606" })).body;
      await expect.poll(() => query(sandbox, reference)).toMatchObject({ body: { third_party_reference: receipt } });
      expect(sandbox.waiting).toBe(0);
    });

    test("finds a payment by PayHero's reference only", async () => {
      const sandbox = await startSandbox("payhero");
      const { CheckoutRequestID } = (await ask(sandbox)).body;
      const { status, body } = fixture("payhero", "query-not-found");
      for (const other of ["INV-009", CheckoutRequestID, "", "x&reference=y"]) {
        expect(await query(sandbox, other)).toEqual({ status, body });
      }
    });
  });
});
