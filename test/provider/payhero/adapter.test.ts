import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Payment } from "../../../server/order/order.ts";
import { createClient } from "../../../server/provider/http-client.ts";
import { payhero } from "../../../server/provider/payhero/adapter.ts";
import { type Claim, Declined, type Provider } from "../../../server/provider/provider.ts";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox } from "../../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedCall,
  startScriptedProvider,
} from "../../support/scripted-provider.ts";

const never = new AbortController().signal;
const urls = {
  webhook: new URL("https://pay.example/webhooks/payhero/secret-of-the-url"),
  return: new URL("https://pay.example/return/secret-of-the-url"),
};
const account = testAccount("payhero");
const basic = Buffer.from(`${account.USERNAME}:${account.PASSWORD}`).toString("base64");

/** The URLs of a payment whose webhooks go to the test's receiver. */
const at = (webhook: URL) => ({ ...urls, webhook });

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id: "0199f2c4-0000-7000-8000-000000000001",
  orderId: "ORD-1001",
  attempt: 1,
  provider: "payhero",
  amountMinor: 15_000n,
  currency: "KES",
  phone: "+254712345600",
  ...fields,
});

/** The reference of the fixtures. */
const reference = "E8UWT7CLUW";

interface ScriptedPayhero {
  provider: Provider;
  asked: ScriptedCall[];
}

/** A PayHero that returns these answers in turn. After the last one it closes each connection. */
async function script(...answers: ScriptedAnswer[]): Promise<ScriptedPayhero> {
  const { url, calls } = await startScriptedProvider(() => answers.shift() ?? "drop");
  return { provider: openProvider("payhero", url), asked: calls };
}

/** The adapter of another account. */
function openAccount(url: string, variables: Record<string, string>): Provider {
  const client = createClient();
  onTestFinished(() => client.close());
  const accessToken = () => expect.unreachable("there are no tokens");
  return payhero.configure(variables)({ baseUrl: () => url, client, accessToken });
}

/** The result of the request: accepted, declined with a reason, or unknown. */
async function initiated(provider: Provider, payment = paymentOf()): Promise<string> {
  try {
    return `accepted ${(await provider.initiate(payment, urls, never)).reference}`;
  } catch (error) {
    return error instanceof Declined ? `declined ${error.reason}` : "unknown";
  }
}

const claimOf = (body: unknown): Claim =>
  openAccount("", { ...account }).translate({
    paymentId: paymentOf().id,
    headers: {},
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
  });

/** A fixture's webhook with other fields, in `response` unless `outer`. */
const nested = (response: object, outer: object = {}): object => {
  const known = fixture("payhero", "webhook-success").body;
  return {
    ...known,
    response: { ...Object(known.response), ExternalReference: paymentOf().id, ...response },
    ...outer,
  };
};
const platform = (fields: object): object => ({
  ...fixture("payhero", "webhook-platform-success").body,
  external_reference: paymentOf().id,
  ...fields,
});

/** The claim of a webhook without proof. */
const hint = { paymentId: paymentOf().id, proof: "none" };

describe("adapter at the sandbox", () => {
  test("gets a payment accepted, prompts the phone, and reads the whole success from the webhook", async () => {
    const sandbox = await startSandbox("payhero");
    const provider = openProvider("payhero", sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    const [prompt] = sandbox.phone.prompts("+254712345600");
    expect(prompt).toMatchObject({ amountMinor: 15_000, currency: "KES" });
    sandbox.phone.answer(prompt?.id ?? "", "approve");
    const claim = claimOf((await sandbox.nextWebhook()).text);
    const receipt = expect.stringMatching(/^[A-Z0-9]{10}$/);
    expect(claim).toEqual({
      paymentId: paymentOf().id,
      proof: "secret",
      outcome: { status: "succeeded", receipt, amountMinor: 15_000n, currency: "KES", source: "webhook" },
    });
    const asked = await provider.confirm(paymentOf({ reference }), never);
    expect(asked).toEqual({ status: "succeeded", receipt: claim.outcome?.receipt, source: "query" });
  });

  test.each([
    ["cancel", "failed", "cancelled"],
    ["wrong_pin", "failed", "wrong_pin"],
    ["insufficient_funds", "failed", "insufficient_funds"],
    ["ignore", "expired", "no_response"],
  ] as const)("reads the reason after %s only from the webhook: %s, %s", async (answer, status, reason) => {
    const sandbox = await startSandbox("payhero");
    const provider = openProvider("payhero", sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    const [prompt] = sandbox.phone.prompts("+254712345600");
    sandbox.phone.answer(prompt?.id ?? "", answer);
    expect(claimOf((await sandbox.nextWebhook()).text).outcome).toEqual({ status, reason, source: "webhook" });
    const asked = await provider.confirm(paymentOf({ reference }), never);
    expect(asked).toEqual({ status: "failed", reason: "declined", source: "query" });
  });

  test("reads an open payment as processing, and no evidence for an unknown one", async () => {
    const sandbox = await startSandbox("payhero");
    const provider = openProvider("payhero", sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    expect(await provider.confirm(paymentOf({ reference }), never)).toEqual({ status: "processing", source: "query" });
    expect(await provider.confirm(paymentOf({ reference: paymentOf().id }), never)).toBeUndefined();
  });

  test("reads another amount from the webhook", async () => {
    const sandbox = await startSandbox("payhero");
    const payment = paymentOf({ phone: "+254712345610" });
    await openProvider("payhero", sandbox.url).initiate(payment, at(sandbox.hookUrl), never);
    expect(claimOf((await sandbox.nextWebhook()).text).outcome).toMatchObject({ amountMinor: 15_100n });
  });

  test.each([`Basic ${basic}`, basic, `basic  ${basic} `])("accepts the ready-made header as %j", async (AUTH) => {
    const sandbox = await startSandbox("payhero");
    const provider = openAccount(sandbox.url, { AUTH, CHANNEL_ID: account.CHANNEL_ID });
    expect(await initiated(provider)).toMatch(/^accepted /);
  });

  test("declines with wrong credentials and another channel, without a prompt", async () => {
    const sandbox = await startSandbox("payhero");
    for (const wrong of [{ PASSWORD: "wrong" }, { CHANNEL_ID: "9" }]) {
      const provider = openAccount(sandbox.url, { ...account, ...wrong });
      expect(await initiated(provider)).toBe("declined provider_error");
    }
    expect(sandbox.phone.prompts("+254712345600")).toEqual([]);
  });

  test("reads a page as unknown", async () => {
    const sandbox = await startSandbox("payhero");
    const provider = openProvider("payhero", sandbox.url);
    expect(await initiated(provider, paymentOf({ phone: "+254712345612" }))).toBe("unknown");
  });
});

describe("initiate", () => {
  test("sends the documented fields", async () => {
    const { provider, asked } = await script(fixture("payhero", "payment-queued"));
    expect(await initiated(provider)).toBe(`accepted ${reference}`);
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatchObject({ method: "POST", path: "/payments", headers: { authorization: `Basic ${basic}` } });
    expect(asked[0]?.body).toEqual({
      amount: 150,
      phone_number: "254712345600",
      channel_id: 133,
      provider: "m-pesa",
      external_reference: paymentOf().id,
      callback_url: urls.webhook.href,
    });
  });

  const queued = fixture("payhero", "payment-queued").body;
  test.each<[string, ScriptedAnswer, string]>([
    ["a number for a reference", { body: { ...queued, reference: 4711 } }, "4711"],
    ["another word than QUEUED", { body: { ...queued, status: "PENDING" } }, reference],
    ["success as text", { body: { ...queued, success: "true" } }, reference],
    ["QUEUED alone", { body: { ...queued, success: undefined } }, reference],
    ["success alone", { body: { ...queued, status: undefined } }, reference],
  ])("accepts %s", async (_what, answer, expected) => {
    const { provider } = await script(answer);
    expect(await initiated(provider)).toBe(`accepted ${expected}`);
  });

  test.each<[string, ScriptedAnswer]>([
    ["an acceptance without a reference", { body: { success: true, status: "QUEUED" } }],
    ["a reference without an acceptance", { body: { reference } }],
    ["a reference that is none", { body: { ...queued, reference: "\u0000" } }],
    ["a reference and an unknown status", { body: { reference, status: "PENDING" } }],
    ["QUEUED without success", { body: { ...queued, success: false } }],
    ["an acceptance that failed", { body: { ...queued, status: "FAILED" } }],
    ["an acceptance under 500", { status: 500, body: queued }],
    ["an acceptance under 400", { status: 400, body: queued }],
    ["a refusal under 503", { ...fixture("payhero", "error-invalid-field"), status: 503 }],
    ["a time-out of PayHero's own", { ...fixture("payhero", "error-invalid-field"), status: 408 }],
    ["a clash with an earlier payment", { ...fixture("payhero", "error-invalid-field"), status: 409 }],
    ["400 with a page", { status: 400, text: "<html>Bad Request</html>" }],
    ["400 without a reason", { status: 400, body: {} }],
    ["null", { body: null }],
    ["a redirect", { status: 302, body: {} }],
  ])("reads %s as unknown, and sends one request (G10)", async (_what, answer) => {
    const { provider, asked } = await script(answer);
    expect(await initiated(provider)).toBe("unknown");
    expect(asked).toHaveLength(1);
  });

  test.each<[string, ScriptedAnswer]>([
    ["a page under 401", { status: 401, text: "<html>" }],
    ["nothing under 403", { status: 403, text: "" }],
    ["a reason by another name", { status: 422, body: { detail: "phone_number is required" } }],
    ["too many requests", { status: 429, body: { message: "Too many requests" } }],
  ])("reads %s as declined", async (_what, answer) => {
    const { provider, asked } = await script(answer);
    expect(await initiated(provider)).toBe("declined provider_error");
    expect(asked).toHaveLength(1);
  });

  test("reads silence and a lost connection as unknown, and sends no second request (G10)", async () => {
    const { url, calls } = await startScriptedProvider(() => new Promise(() => undefined));
    const asking = openProvider("payhero", url).initiate(paymentOf(), urls, AbortSignal.timeout(200));
    const error: unknown = await asking.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(Declined);
    expect(calls).toHaveLength(1);
    const { provider, asked } = await script();
    expect(await initiated(provider)).toBe("unknown");
    expect(asked).toHaveLength(1);
  });

  test("declines if PayHero cannot be reached, because nothing was sent", async () => {
    expect(await initiated(openProvider("payhero", "http://127.0.0.1:1"))).toBe("declined provider_error");
  });

  test("sends nothing for an amount with cents or a foreign phone", async () => {
    const { provider, asked } = await script();
    expect(await initiated(provider, paymentOf({ amountMinor: 15_050n }))).toBe("unknown");
    expect(await initiated(provider, paymentOf({ phone: "+255712345600" }))).toBe("unknown");
    expect(asked).toEqual([]);
  });

  test("quotes the reason without credentials, phones and URLs", async () => {
    const { provider } = await script(fixture("payhero", "error-empty-wallet"), {
      status: 400,
      body: { error_message: `bad callback_url ${urls.webhook.href} for 254712345600`, detail: `Basic ${basic}` },
    });
    await expect(provider.initiate(paymentOf(), urls, never)).rejects.toThrow("insufficient service wallet balance");
    const error: unknown = await provider.initiate(paymentOf(), urls, never).catch((thrown: unknown) => thrown);
    const shown = inspect(error, { depth: 20, showHidden: true });
    expect(shown).toContain("bad callback_url … for …");
    for (const secret of [basic, account.PASSWORD, urls.webhook.pathname, "254712345600"]) {
      expect(shown).not.toContain(secret);
    }
  });
});

describe("translate", () => {
  test.each<[string, object]>([
    ["names another payment", nested({ ExternalReference: "ORD-1001" })],
    ["names another payment beside ours", { ...nested({}), external_reference: "ORD-1001" }],
    ["names a payment by a number", nested({ ExternalReference: 1 })],
    ["names another payment, newer shape", platform({ external_reference: "test_ext" })],
    ["has a success against status false", nested({}, { status: false })],
    ["has a success against Failed", nested({ Status: "Failed" })],
    ["has a success and an unknown word", nested({ Status: "Queued" })],
    ["has a failure against Success", nested({ ResultCode: 1032 }, { status: false })],
    ["has two codes", { ...nested({}), ResultCode: 1032 }],
    ["has a code that decides nothing", nested({ ResultCode: 4999, Status: "Failed" }, { status: false })],
    ["has a code without a documented meaning", nested({ ResultCode: "2029", Status: "" }, { status: null })],
    ["has a word that is none", { ResultCode: 0, Status: { toString: 1 } }],
    ["has only an unknown word", { Status: "Queued" }],
    ["has nothing but a boolean", { status: true }],
    ["has nothing but a boolean as text", { status: "true" }],
    ["succeeded and did not, newer shape", platform({ success: false })],
    [
      "is about a payout that failed",
      platform({ transaction_type: "outbound_payment", success: false, status: "failed" }),
    ],
    ["is still queued", { success: true, status: "QUEUED", reference }],
  ])("proves nothing with a webhook that %s (G7)", (_what, body) => {
    expect(claimOf(body)).toEqual(hint);
  });

  test.each<[string, object, object]>([
    ["its code alone", { response: { ResultCode: "0" } }, { status: "succeeded" }],
    ["its word alone", { Status: "Success" }, { status: "succeeded" }],
    ["its word and a text", { Status: "FAILED", ResultDesc: "Request Cancelled" }, { reason: "cancelled" }],
    ["its word and a text that is none", { Status: "Failed", message: { toString: 1 } }, { reason: "declined" }],
    ["a code as text", nested({ ResultCode: "1032", Status: "Failed" }, { status: false }), { reason: "cancelled" }],
    ["a code with letters", { ResultCode: "SFC_IC0003" }, { status: "failed", reason: "provider_error" }],
    ["a code of a busy phone", { ResultCode: 1001 }, { status: "failed", reason: "busy" }],
    ["an unknown code", { ResultCode: 31337 }, { status: "failed", reason: "provider_error" }],
    ["a code like a property", { ResultCode: "constructor" }, { status: "failed", reason: "provider_error" }],
    ["an empty response", { ResultCode: 1032, response: {} }, { reason: "cancelled" }],
    ["no reference of ours", nested({ ExternalReference: "" }), { status: "succeeded" }],
    ["an amount as text", nested({ Amount: "150.00" }), { amountMinor: 15_000n, currency: "KES" }],
    ["an amount with a cent", nested({ Amount: 150.01 }), { amountMinor: 15_001n, currency: "KES" }],
    ["no money at all", nested({ Amount: 0 }), { amountMinor: 0n, currency: "KES" }],
  ])("decides by %s", (_what, body, outcome) => {
    const claim = claimOf(body);
    expect(claim).toMatchObject({ proof: "secret", outcome });
    expect(claim.reference).toBeUndefined();
  });

  test.each<[string, object]>([
    ["is missing", { Amount: undefined }],
    ["has no value", { Amount: null }],
    ["is empty", { Amount: "" }],
  ])("reads a success without an amount if its amount %s", (_what, fields) => {
    const { outcome } = claimOf(nested(fields));
    expect(outcome).toEqual({ status: "succeeded", receipt: "SAE3YULR0Y", source: "webhook" });
  });

  test.each([1.001, -150, "1,000", "1e3", { deep: 1 }, [10]])(
    "reads the unreadable amount %j as a mismatch (G8)",
    (Amount) => {
      const { outcome } = claimOf(nested({ Amount }));
      const reason = "amount_mismatch";
      expect(outcome).toEqual({ status: "succeeded", reason, receipt: "SAE3YULR0Y", source: "webhook" });
    },
  );

  test("ignores a receipt and a reference that cannot be stored", () => {
    const { outcome } = claimOf(nested({ MpesaReceiptNumber: "A\u0000" }));
    expect(outcome).toEqual({ status: "succeeded", amountMinor: 1_000n, currency: "KES", source: "webhook" });
    const { reference, outcome: newer } = claimOf(platform({ reference: "a b", provider_reference: 7 }));
    expect(reference).toBeUndefined();
    expect(newer).toEqual({ status: "succeeded", amountMinor: 100n, currency: "KES", source: "webhook" });
  });

  test("reads another currency without its amount, and an unreadable one as a mismatch (G8)", () => {
    const { outcome } = claimOf(platform({ currency: "UGX" }));
    expect(outcome).toMatchObject({ status: "succeeded", currency: "UGX" });
    expect(outcome).not.toHaveProperty("amountMinor");
    expect(claimOf(platform({ currency: 404 })).outcome).toMatchObject({ reason: "currency_mismatch" });
    expect(claimOf(platform({ currency: null })).outcome).toMatchObject({ amountMinor: 100n, currency: "KES" });
  });

  test("rejects a webhook without the right secret before reading it (G7)", () => {
    const provider = openAccount("", { ...account });
    for (const body of [JSON.stringify(nested({})), "<html>"]) {
      expect(() => provider.translate({ headers: {}, body: Buffer.from(body) })).toThrow(
        expect.objectContaining({ code: "webhook_rejected" }),
      );
    }
  });

  test.each<[string, string | object]>([
    ["nothing", ""],
    ["HTML", "<html>"],
    ["half of it", '{"response":{'],
    ["null", "null"],
    ["a list", []],
    ["another shape", { Body: { stkCallback: { ResultCode: 0 } } }],
    ["no result", { response: { Amount: 10, ExternalReference: paymentOf().id } }],
    ["a response that is none", { status: true, response: "Success" }],
    ["a result code that is none", nested({ ResultCode: { $ne: 1 } })],
    ["a result code without end", '{"response":{"ResultCode":1e999}}'],
    ["nesting without end", '{"response":'.repeat(10_000)],
  ])("refuses %s as unreadable", (_what, body) => {
    expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
  });

  test("ignores prototype keys in a body", () => {
    const text = '{"__proto__":{"ResultCode":0},"response":{"__proto__":{"ResultCode":0},"ResultCode":1032}}';
    expect(claimOf(text).outcome).toMatchObject({ status: "failed", reason: "cancelled" });
    expect("ResultCode" in {}).toBe(false);
  });

  const key = fc.constantFrom(
    "response",
    "ResultCode",
    "Status",
    "status",
    "success",
    "Amount",
    "message",
    "reference",
  );
  const noise = fc.oneof(
    fc.uint8Array().map((array) => Buffer.from(array)),
    fc.json(),
    fc.object({
      key,
      maxDepth: 3,
      values: [fc.integer(), fc.boolean(), fc.string(), fc.constantFrom("Failed", "1032")],
    }),
  );

  test("returns a claim or throws a HubError for any input", () => {
    fc.assert(
      fc.property(noise, (body) => {
        try {
          expect(claimOf(body).proof).toMatch(/^(secret|none)$/);
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
      }),
    );
  });

  test("makes no success of a failure with any other fields (G7)", () => {
    const failure = fc.constantFrom({ ResultCode: 1032 }, { ResultCode: "1" }, { Status: "Failed" }, { status: false });
    fc.assert(
      fc.property(failure, fc.boolean(), fc.object({ key, maxDepth: 2 }), (stated, isInner, others) => {
        const { response, ...outer } = others;
        const inner = typeof response === "object" ? response : {};
        const body = isInner
          ? { ...outer, response: { ...inner, ...stated } }
          : { ...outer, response: inner, ...stated };
        let claim: Claim | undefined;
        try {
          claim = claimOf(body);
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
        expect(claim?.outcome?.status).not.toBe("succeeded");
      }),
    );
  });

  test("makes a success only of a stated success (G7)", () => {
    const text = fc.string().filter((word) => !/^(success|true)$/i.test(word));
    const value = fc.oneof(text, fc.integer({ min: 1 }), fc.constant(false), fc.constant(null));
    const body = fc.record({ ResultCode: value, Status: value, status: value, success: value }, { requiredKeys: [] });
    fc.assert(
      fc.property(body, (fields) => {
        // "0" is M-Pesa's code of success.
        fc.pre(fields.ResultCode !== "0");
        let claim: Claim | undefined;
        try {
          claim = claimOf(fields);
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
        expect(claim?.outcome?.status).not.toBe("succeeded");
      }),
    );
  });
});

describe("confirm", () => {
  const payment = paymentOf({ reference });

  test("makes no call for a payment without a reference", async () => {
    const { provider, asked } = await script();
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  test("queries with PayHero's reference", async () => {
    const { provider, asked } = await script(fixture("payhero", "query-queued"), fixture("payhero", "query-queued"));
    await provider.confirm(payment, never);
    await provider.confirm(paymentOf({ reference: "a&b=c/%" }), never);
    expect(asked[0]).toMatchObject({ method: "GET", headers: { authorization: `Basic ${basic}` } });
    expect(asked.map(({ path }) => path)).toEqual([
      `/transaction-status?reference=${reference}`,
      "/transaction-status?reference=a%26b%3Dc%2F%25",
    ]);
  });

  const answered = fixture("payhero", "query-success").body;
  test.each<[string, ScriptedAnswer]>([
    ["a success of another payment", { body: { ...answered, reference: "OTHER" } }],
    ["a success of a query that did not succeed", { body: { ...answered, success: false } }],
    ["a failure of a query that did not succeed", { body: { success: false, status: "FAILED" } }],
    ["a status that it does not know", { body: { ...answered, status: "REVERSED" } }],
    ["no status", { body: { ...answered, status: undefined } }],
    ["a status that is none", { body: { ...answered, status: true } }],
    ["a success under 404", { status: 404, body: answered }],
    ["a success under a redirect", { status: 302, body: answered }],
  ])("reads no evidence from %s", async (_what, answer) => {
    const { provider } = await script(answer);
    expect(await provider.confirm(payment, never)).toBeUndefined();
  });

  test.each<[string, object]>([
    ["no reference", { reference: "" }],
    ["no receipt", { third_party_reference: "" }],
    ["a status in other letters", { status: "Success" }],
    ["no word of the query", { success: null }],
    ["a word of the query as text", { success: "true" }],
  ])("reads a success with %s", async (_what, fields) => {
    const { provider } = await script({ body: { ...answered, ...fields } });
    expect(await provider.confirm(payment, never)).toMatchObject({ status: "succeeded", source: "query" });
  });

  test.each<[string, ScriptedAnswer]>([
    ["a page", { status: 502, text: "<html>" }],
    ["a page under 200", { text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under 503", { status: 503, body: answered }],
  ])("throws if PayHero did not answer the query: %s", async (_what, answer) => {
    const { provider } = await script(answer);
    await expect(provider.confirm(payment, never)).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  test("throws after a lost connection and a refused connection", async () => {
    const { provider } = await script();
    await expect(provider.confirm(payment, never)).rejects.toThrow();
    await expect(openProvider("payhero", "http://127.0.0.1:1").confirm(payment, never)).rejects.toThrow();
  });
});
