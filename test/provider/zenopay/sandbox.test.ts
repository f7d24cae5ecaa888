import { describe, expect, test } from "vitest";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox, type TestSandbox } from "../../support/sandbox.ts";

const { API_KEY: apiKey } = testAccount("zenopay");

/** The order of ZenoPay's samples. */
const orderId = "3b9f407e-3ee8-4525-456f-ccb95de38250";

interface Answer {
  status: number;
  body: unknown;
}

async function call(url: string, init: RequestInit = {}, key: string = apiKey): Promise<Answer> {
  const response = await fetch(url, { ...init, headers: { "content-type": "application/json", "x-api-key": key } });
  return { status: response.status, body: await response.json() };
}

const fields = (sandbox: TestSandbox, other: object = {}): object => ({
  order_id: orderId,
  buyer_email: "customer@example.com",
  buyer_name: "John Doe",
  buyer_phone: "0712345600",
  amount: 1_000,
  webhook_url: sandbox.hookUrl.href,
  ...other,
});

const post = (sandbox: TestSandbox, body: object | string, key?: string): Promise<Answer> => {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return call(`${sandbox.url}/mobile_money_tanzania`, { method: "POST", body: text }, key);
};

const ask = (sandbox: TestSandbox, other: object = {}): Promise<Answer> => post(sandbox, fields(sandbox, other));

const query = (sandbox: TestSandbox, id = orderId, key?: string): Promise<Answer> =>
  call(`${sandbox.url}/order-status?order_id=${id}`, {}, key);

function promptOf(sandbox: TestSandbox): string {
  const [prompt] = sandbox.phone.prompts("0712345600");
  return prompt?.id ?? expect.unreachable("no prompt");
}

/** A documented reply, as status and body. */
function reply(name: string): Answer {
  const { status = 200, body } = fixture("zenopay", name);
  return { status, body };
}

/** A documented reply to a query, with patterns for generated values. */
function queryReply(name: string, row: object = {}): Answer {
  const { status, body } = fixture("zenopay", name);
  const reference = expect.stringMatching(/^\d{10}$/);
  const [sample] = body.data as [object];
  const creation_date = "2025-05-19 08:40:33";
  const data = [{ ...sample, reference, creation_date, msisdn: "255712345600", ...row }];
  return { status: status ?? 200, body: { ...body, reference, data } };
}

/** 08:30 in Tanzania, as in the sample. */
const now = () => new Date("2025-05-19T05:40:33Z");

describe("sandbox of ZenoPay", () => {
  describe("request", () => {
    test("accepts with the texts of the sample, and prompts the payer's phone", async () => {
      const sandbox = await startSandbox("zenopay");
      expect(await ask(sandbox)).toEqual(reply("accepted"));
      expect(sandbox.phone.prompts("0712345600")).toMatchObject([
        { id: expect.any(String), provider: "zenopay", phone: "+255712345600", amountMinor: 100_000, currency: "TZS" },
      ]);
    });

    test("requires the key for each path", async () => {
      const sandbox = await startSandbox("zenopay");
      const refused = reply("error-invalid-key");
      expect(await post(sandbox, fields(sandbox), "wrong")).toEqual(refused);
      expect(await query(sandbox, orderId, "wrong")).toEqual(refused);
      expect(await call(`${sandbox.url}/other`, {}, "")).toEqual(refused);
      expect(sandbox.phone.prompts("0712345600")).toEqual([]);
    });

    test.each([
      ["order_id", ""],
      ["buyer_email", "nobody"],
      ["buyer_name", ""],
      ["buyer_phone", "+255712345600"],
      ["buyer_phone", "0812345600"],
      ["amount", 0],
      ["amount", "1000"],
      ["amount", 10.5],
      ["webhook_url", "ftp://shop.example"],
      ["metadata", []],
    ])("refuses %s when it is %j", async (field, value) => {
      const sandbox = await startSandbox("zenopay");
      expect(await ask(sandbox, { [field]: value })).toMatchObject({ status: 400, body: { status: "error" } });
      expect(sandbox.phone.prompts("0712345600")).toEqual([]);
    });

    test("refuses a phone with the country code", async () => {
      const sandbox = await startSandbox("zenopay");
      expect(await ask(sandbox, { buyer_phone: "255712345600" })).toEqual(reply("error-invalid-phone"));
    });

    test.each(["", "{", "null", "[]"])("refuses a body that is %j", async (body) => {
      const sandbox = await startSandbox("zenopay");
      expect(await post(sandbox, body)).toMatchObject({ status: 400, body: { status: "error" } });
    });

    test("accepts each order once, and prompts once", async () => {
      const sandbox = await startSandbox("zenopay");
      await ask(sandbox);
      expect(await ask(sandbox, { amount: 2_000 })).toEqual(reply("error-repeated-order"));
      expect(sandbox.phone.prompts("0712345600")).toMatchObject([{ amountMinor: 100_000 }]);
    });

    test("is down for a phone ending in 12, and has no such order", async () => {
      const sandbox = await startSandbox("zenopay");
      expect(await ask(sandbox, { buyer_phone: "0712345612" })).toEqual(reply("error-unavailable"));
      expect(await query(sandbox)).toEqual(reply("query-unknown-order"));
    });
  });

  describe("webhook", () => {
    test("has COMPLETED, the metadata and the merchant's key, but neither amount nor phone", async () => {
      const sandbox = await startSandbox("zenopay");
      const { body } = fixture("zenopay", "webhook-completed");
      await ask(sandbox, { metadata: body.metadata });
      sandbox.phone.answer(promptOf(sandbox), "approve");
      const { text, headers } = await sandbox.nextWebhook();
      expect(JSON.parse(text)).toEqual({ ...body, reference: expect.stringMatching(/^\d{10}$/) });
      expect(headers["x-api-key"]).toBe(apiKey);
    });

    test("has no metadata if the request had none", async () => {
      const sandbox = await startSandbox("zenopay");
      await ask(sandbox);
      sandbox.phone.answer(promptOf(sandbox), "approve");
      const { body } = fixture("zenopay", "webhook-bare");
      expect(JSON.parse((await sandbox.nextWebhook()).text)).toEqual({ ...body, reference: expect.any(String) });
    });

    test("is not sent without a URL, or for a phone ending in 06", async () => {
      const sandbox = await startSandbox("zenopay");
      await ask(sandbox, { order_id: "a", buyer_phone: "0712345601", webhook_url: undefined });
      await ask(sandbox, { order_id: "b", buyer_phone: "0712345606" });
      for (const id of ["a", "b"]) {
        await expect
          .poll(() => query(sandbox, id))
          .toMatchObject({ body: { data: [{ payment_status: "COMPLETED" }] } });
      }
      expect(sandbox.waiting).toBe(0);
    });

    test("is sent three times for a phone ending in 07", async () => {
      const sandbox = await startSandbox("zenopay");
      await ask(sandbox, { buyer_phone: "0712345607" });
      const first = await sandbox.nextWebhook();
      const more = [await sandbox.nextWebhook(), await sandbox.nextWebhook()];
      expect(more.map(({ text }) => text)).toEqual([first.text, first.text]);
    });

    test("is sent and answered before the request for a phone ending in 08", async () => {
      const order: string[] = [];
      const sandbox = await startSandbox("zenopay", { onWebhook: () => order.push("webhook") && 200 });
      await ask(sandbox, { buyer_phone: "0712345608" });
      order.push("reply");
      expect(order).toEqual(["webhook", "reply"]);
    });
  });

  describe("query", () => {
    test("answers an open order with its amount as text and its time without a zone", async () => {
      const sandbox = await startSandbox("zenopay", { now });
      await ask(sandbox);
      expect(await query(sandbox)).toEqual(queryReply("query-pending"));
    });

    test.each([
      ["approve", "query-completed", { transid: expect.stringMatching(/^[A-Z0-9]{11}$/) }],
      ["cancel", "query-cancelled", {}],
      ["wrong_pin", "query-failed", {}],
      ["insufficient_funds", "query-failed", {}],
    ] as const)("answers %s as %s, with the same result of the lookup", async (answer, name, row) => {
      const sandbox = await startSandbox("zenopay", { now });
      await ask(sandbox);
      sandbox.phone.answer(promptOf(sandbox), answer);
      await expect.poll(() => query(sandbox)).toEqual(queryReply(name, row));
      // A failure sends no webhook; one would have arrived by now.
      if (answer !== "approve") expect(sandbox.waiting).toBe(0);
    });

    test("answers an unanswered order as open", async () => {
      const sandbox = await startSandbox("zenopay", { now });
      await ask(sandbox);
      sandbox.phone.answer(promptOf(sandbox), "ignore");
      expect(sandbox.phone.prompts("0712345600")).toEqual([]);
      expect(await query(sandbox)).toEqual(queryReply("query-pending"));
    });

    test("states another amount for a phone ending in 10", async () => {
      const sandbox = await startSandbox("zenopay");
      await ask(sandbox, { buyer_phone: "0712345610" });
      await sandbox.nextWebhook();
      expect(await query(sandbox)).toMatchObject({ body: { data: [{ amount: "1001" }] } });
    });

    test("returns no data for an unknown order, and requires the order's id", async () => {
      const sandbox = await startSandbox("zenopay");
      expect(await query(sandbox)).toEqual(reply("query-unknown-order"));
      expect(await query(sandbox, "")).toMatchObject({ status: 400, body: { status: "error" } });
    });
  });

  test("refuses a too large body", async () => {
    const { url } = await startSandbox("zenopay");
    const body = JSON.stringify("x".repeat(2 ** 20));
    expect(await call(`${url}/mobile_money_tanzania`, { method: "POST", body })).toMatchObject({ status: 413 });
  });

  test("answers an unknown path in its own error format", async () => {
    const sandbox = await startSandbox("zenopay");
    expect(await call(`${sandbox.url}/other`)).toMatchObject({ status: 404, body: { status: "error" } });
  });
});
