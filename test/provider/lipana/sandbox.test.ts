import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const { SECRET_KEY, WEBHOOK_SECRET } = testAccount("lipana");
const phone = "+254712345600";

interface Transaction {
  id: string;
  transactionId: string;
  amount: number;
  status: string;
  mpesaReceiptNumber?: string;
}

/** The fields of all answers. */
interface Answer {
  status: number;
  body: Transaction & { data: Transaction; transactions: Transaction[]; pagination: object; code: string };
}

async function ask(url: string, init: RequestInit = {}, key: string = SECRET_KEY): Promise<Answer> {
  const response = await fetch(url, { ...init, headers: { "x-api-key": key, ...init.headers } });
  return { status: response.status, body: JSON.parse(await response.text()) };
}

const post = (url: string, body: unknown): Promise<Answer> =>
  ask(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });

const push = (sandbox: TestSandbox, fields: object = {}): Promise<Answer> =>
  post(`${sandbox.url}/transactions/push-stk`, {
    phone,
    amount: 150,
    accountReference: "0123456789ab",
    transactionDesc: "2 tickets",
    ...fields,
  });

const statusOf = (sandbox: TestSandbox, id: string): Promise<Answer> => ask(`${sandbox.url}/transactions/${id}`);

function answer(sandbox: TestSandbox, as: Parameters<TestSandbox["phone"]["answer"]>[1], from = phone): void {
  const [prompt] = sandbox.phone.prompts(from);
  sandbox.phone.answer(prompt?.id ?? expect.unreachable("no prompt"), as);
}

/** Pushes, answers the prompt, and returns the transaction's id and its webhook. */
async function pushAndAnswer(sandbox: TestSandbox, as: Parameters<typeof answer>[1]) {
  const { transactionId } = (await push(sandbox)).body.data;
  answer(sandbox, as);
  const { headers, text } = await sandbox.nextWebhook();
  return { transactionId, headers, text, message: JSON.parse(text) };
}

/** The keys and types of a message. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== "object" || value === null) return value === null ? null : typeof value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shapeOf(inner)]));
}

const shape = (name: string): unknown => shapeOf(fixture("lipana", name).body);

describe("sandbox of Lipana", () => {
  describe("API key", () => {
    test("is required by each route", async () => {
      const { url } = await startSandbox("lipana");
      for (const path of ["/transactions", "/transactions/TXN1", "/transactions/push-stk", "/other"]) {
        expect(await ask(url + path, {}, "lip_sk_test_other")).toEqual({
          status: 401,
          body: fixture("lipana", "error-authentication").body,
        });
      }
      expect((await fetch(`${url}/transactions`)).status).toBe(401);
    });
  });

  describe("push", () => {
    test("is accepted as pending, in Lipana's envelope", async () => {
      const sandbox = await startSandbox("lipana");
      const { status, body } = await push(sandbox);
      expect(status).toBe(200);
      expect(shapeOf(body)).toEqual(shape("push-accepted"));
      expect(body.data).toMatchObject({ transactionId: expect.stringMatching(/^TXN[0-9A-Z]{12}$/), status: "pending" });
    });

    test("prompts the payer's phone with the requested amount", async () => {
      const sandbox = await startSandbox("lipana");
      await push(sandbox);
      expect(sandbox.phone.prompts("0712345600")).toMatchObject([
        { id: expect.any(String), provider: "lipana", phone, amountMinor: 15_000, currency: "KES" },
      ]);
    });

    test.each([
      ["phone", "0712345600"],
      ["phone", "254712345600"],
      ["phone", undefined],
      ["amount", 9],
      ["amount", 150_001],
      ["amount", 10.5],
      ["amount", "150"],
      ["accountReference", 1],
      ["transactionDesc", {}],
    ])("reports the field %s if it is %j", async (field, value) => {
      const sandbox = await startSandbox("lipana");
      const { status, body } = await push(sandbox, { [field]: value });
      expect(status).toBe(400);
      expect(shapeOf(body)).toEqual(shape("error-validation"));
      expect(body).toMatchObject({ code: "VALIDATION_ERROR", errors: [{ field }] });
      expect(sandbox.phone.prompts(phone)).toEqual([]);
    });

    test.each(["", "{", "<html>", "null", "[]"])("refuses a body that is %j", async (body) => {
      const { url } = await startSandbox("lipana");
      const { status, body: message } = await post(`${url}/transactions/push-stk`, body);
      expect({ status, message }).toMatchObject({ status: 400, message: { success: false, code: "VALIDATION_ERROR" } });
    });

    test("shows no prompt for a phone ending in 12, because it is down", async () => {
      const sandbox = await startSandbox("lipana");
      const { status, body } = fixture("lipana", "error-unavailable");
      expect(await push(sandbox, { phone: "+254712345612" })).toEqual({ status, body });
      expect(sandbox.phone.prompts("+254712345612")).toEqual([]);
      expect((await ask(`${sandbox.url}/transactions`)).body.transactions).toEqual([]);
    });
  });

  describe("webhook", () => {
    test("goes to the account's URL, signed over its bytes", async () => {
      const sandbox = await startSandbox("lipana");
      const { headers, text } = await pushAndAnswer(sandbox, "approve");
      expect(headers["x-lipana-signature"]).toBe(createHmac("sha256", WEBHOOK_SECRET).update(text).digest("hex"));
      expect(headers["content-type"]).toBe("application/json");
    });

    test("alternates between both shapes for successes, of which one has a receipt", async () => {
      const sandbox = await startSandbox("lipana", { now: () => new Date("2026-01-05T10:00:00Z") });
      const [first, second, third] = [
        await pushAndAnswer(sandbox, "approve"),
        await pushAndAnswer(sandbox, "approve"),
        await pushAndAnswer(sandbox, "approve"),
      ];
      for (const { message, transactionId } of [first, third]) {
        expect(shapeOf(message)).toEqual(shape("webhook-b-success"));
        expect(message).toMatchObject({
          event: "transaction.success",
          transaction_id: transactionId,
          phone,
          amount: 150,
          reference: "0123456789ab",
          mpesa_receipt_number: expect.stringMatching(/^[0-9A-Z]{10}$/),
          result_code: 0,
        });
      }
      expect(second.message).toEqual({
        event: "payment.success",
        data: {
          transactionId: second.transactionId,
          amount: 150,
          currency: "KES",
          status: "success",
          phone,
          timestamp: "2026-01-05T10:00:00.000Z",
        },
      });
      expect(shapeOf(second.message)).toEqual(shape("webhook-a-success"));
    });

    test.each([
      ["cancel", "webhook-b-cancelled"],
      ["wrong_pin", "webhook-b-wrong-pin"],
      ["insufficient_funds", "webhook-b-insufficient-funds"],
      ["ignore", "webhook-b-no-response"],
    ] as const)("sends %s as %s with its code", async (as, name) => {
      const sandbox = await startSandbox("lipana");
      for (const _ of [1, 2]) {
        const { message, transactionId } = await pushAndAnswer(sandbox, as);
        expect(shapeOf(message)).toEqual(shape(name));
        const { event, mpesa_receipt_number, result_code, result_desc } = fixture("lipana", name).body;
        expect(message).toMatchObject({ event, mpesa_receipt_number, result_code, result_desc });
        expect(message.transaction_id).toBe(transactionId);
      }
    });

    test("is sent three times for a phone ending in 07, and never for one ending in 06", async () => {
      const sandbox = await startSandbox("lipana");
      const silent = (await push(sandbox, { phone: "+254712345606" })).body.data.transactionId;
      await expect.poll(async () => (await statusOf(sandbox, silent)).body.status).toBe("success");
      await push(sandbox, { phone: "+254712345607" });
      const texts = [];
      for (const _ of [1, 2, 3]) texts.push((await sandbox.nextWebhook()).text);
      expect(new Set(texts).size).toBe(1);
      expect(texts[0]).not.toContain(silent);
      expect(sandbox.waiting).toBe(0);
    });

    test("is sent and answered before the push for a phone ending in 08", async () => {
      const order: string[] = [];
      const sandbox = await startSandbox("lipana", { onWebhook: () => order.push("webhook") && 200 });
      await push(sandbox, { phone: "+254712345608" });
      order.push("reply");
      expect(order).toEqual(["webhook", "reply"]);
    });

    test("states another amount for a phone ending in 10, like the status", async () => {
      const sandbox = await startSandbox("lipana");
      const { transactionId } = (await push(sandbox, { phone: "+254712345610" })).body.data;
      expect(JSON.parse((await sandbox.nextWebhook()).text)).toMatchObject({ amount: 151 });
      expect((await statusOf(sandbox, transactionId)).body).toMatchObject({ amount: 151, status: "success" });
    });

    test("is sent for a phone ending in 11 without an answer to the push, and the list has the transaction", async () => {
      const sandbox = await startSandbox("lipana");
      const gaveUp = new AbortController();
      const pushing = fetch(`${sandbox.url}/transactions/push-stk`, {
        method: "POST",
        headers: { "x-api-key": SECRET_KEY, "content-type": "application/json" },
        body: JSON.stringify({ phone: "+254712345611", amount: 150, accountReference: "0123456789ab" }),
        signal: gaveUp.signal,
      }).catch(() => "gave up");
      const { transaction_id: transactionId } = JSON.parse((await sandbox.nextWebhook()).text);
      expect((await ask(`${sandbox.url}/transactions`)).body.transactions).toMatchObject([
        { transactionId, accountReference: "0123456789ab", status: "success" },
      ]);
      gaveUp.abort();
      expect(await pushing).toBe("gave up");
    });
  });

  describe("status", () => {
    test.each([
      ["approve", "status-success"],
      ["cancel", "status-cancelled"],
      ["wrong_pin", "status-failed"],
      ["insufficient_funds", "status-failed"],
      ["ignore", "status-failed"],
    ] as const)("answers %s as %s", async (as, name) => {
      const sandbox = await startSandbox("lipana");
      const { transactionId } = await pushAndAnswer(sandbox, as);
      const { status, body } = await statusOf(sandbox, transactionId);
      expect(status).toBe(200);
      expect(shapeOf(body)).toEqual(shape(name));
      expect(body).toMatchObject({ transactionId, amount: 150, status: fixture("lipana", name).body.status });
    });

    test("answers an open push by either of its ids", async () => {
      const sandbox = await startSandbox("lipana");
      const { transactionId } = (await push(sandbox)).body.data;
      const { body } = await statusOf(sandbox, transactionId);
      expect(shapeOf(body)).toEqual(shape("status-pending"));
      expect(await statusOf(sandbox, body.id)).toEqual({ status: 200, body });
    });

    test("answers 404 for an unknown push and an unknown path", async () => {
      const sandbox = await startSandbox("lipana");
      const { status, body } = fixture("lipana", "error-not-found");
      expect(await statusOf(sandbox, "TXN1")).toEqual({ status, body });
      expect(await ask(`${sandbox.url}/payouts`)).toMatchObject({ status: 404, body: { code: "NOT_FOUND" } });
    });
  });

  describe("list", () => {
    test("has the newest transactions first, in pages", async () => {
      const sandbox = await startSandbox("lipana");
      for (const amount of [11, 12, 13]) await push(sandbox, { amount });
      const list = async (query: string) => {
        const { body } = await ask(`${sandbox.url}/transactions${query}`);
        return [body.transactions.map(({ amount }) => amount), body.pagination];
      };
      expect(await list("")).toEqual([[13, 12, 11], { page: 1, limit: 10, total: 3, pages: 1 }]);
      expect(await list("?page=2&limit=2")).toEqual([[11], { page: 2, limit: 2, total: 3, pages: 2 }]);
      expect(await list("?page=3&limit=2")).toEqual([[], { page: 3, limit: 2, total: 3, pages: 2 }]);
      expect(await list("?status=success")).toEqual([[], { page: 1, limit: 10, total: 0, pages: 0 }]);
      expect((await ask(`${sandbox.url}/transactions?page=0`)).status).toBe(400);
    });

    test("has the shape of the SDK's types", async () => {
      const sandbox = await startSandbox("lipana");
      await pushAndAnswer(sandbox, "approve");
      await push(sandbox);
      const { body } = await ask(`${sandbox.url}/transactions?limit=100`);
      expect(shapeOf(body)).toEqual(shape("list"));
    });
  });
});
