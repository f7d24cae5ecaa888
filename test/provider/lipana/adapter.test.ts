import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Outcome, Payment } from "../../../server/order/order.ts";
import { createClient } from "../../../server/provider/http-client.ts";
import { lipana } from "../../../server/provider/lipana/adapter.ts";
import { type Claim, Declined, type Provider } from "../../../server/provider/provider.ts";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox } from "../../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedProvider,
  startScriptedProvider,
} from "../../support/scripted-provider.ts";

const never = new AbortController().signal;
const urls = { webhook: new URL("https://pay.example/webhooks/x/1"), return: new URL("https://pay.example/return/2") };
const { SECRET_KEY, WEBHOOK_SECRET } = testAccount("lipana");
const reference = "TXN1735725600ABC";

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id: "0199f2c4-0000-7000-8000-0123456789ab",
  orderId: "ORD-1001",
  attempt: 1,
  provider: "lipana",
  amountMinor: 15_000n,
  currency: "KES",
  phone: "+254712345600",
  ...fields,
});

const sign = (body: Buffer | string, secret: string = WEBHOOK_SECRET): string =>
  createHmac("sha256", secret).update(body).digest("hex");

const bytesOf = (body: unknown): Buffer =>
  Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body));

const offline = (): Provider => openProvider("lipana", "http://127.0.0.1:1");

/** The claim of a webhook with a valid signature. */
function claimOf(body: unknown, signature = sign(bytesOf(body))): Claim {
  return offline().translate({ headers: { "x-lipana-signature": signature }, body: bytesOf(body) });
}

/** A Lipana that returns these answers in turn. After the last one it is silent. */
async function script(...answers: (ScriptedAnswer | "drop")[]): Promise<ScriptedProvider & { provider: Provider }> {
  const started = await startScriptedProvider(() => answers.shift() ?? new Promise<never>(() => undefined));
  return Object.assign(started, { provider: openProvider("lipana", started.url) });
}

/** The adapter with a shorter deadline. */
function impatient(url: string, deadlineMs = 50): Provider {
  const client = createClient();
  onTestFinished(() => client.close());
  const hurried = {
    ...client,
    call: (call: Parameters<typeof client.call>[0]) => client.call({ ...call, deadlineMs }),
  };
  const open = lipana.configure(testAccount("lipana"));
  const accessToken = () => expect.unreachable("Lipana has no tokens");
  return open({ baseUrl: () => url, client: hurried, accessToken });
}

/** The result of the push: accepted, declined with a reason, or unknown. */
async function initiated(provider: Provider, payment = paymentOf()): Promise<string> {
  try {
    return `accepted ${(await provider.initiate(payment, urls, never)).reference}`;
  } catch (error) {
    return error instanceof Declined ? `declined ${error.reason}` : "unknown";
  }
}

/** The transaction of this payment in the list. */
const listed = (fields: object = {}): object => ({
  ...fixture("lipana", "status-success").body,
  amount: 150,
  accountReference: "0123456789ab",
  ...fields,
});

const listOf = (transactions: unknown[], pages = 1): ScriptedAnswer => ({
  body: { transactions, pagination: { page: 1, limit: 100, total: transactions.length, pages } },
});

const found: Outcome = {
  status: "succeeded",
  reference,
  receipt: "SAE3YULR0Y",
  amountMinor: 15_000n,
  currency: "KES",
  source: "query",
};

describe("adapter at the sandbox", () => {
  test("gets a push accepted, prompts the phone, and reads the whole success from webhook and status in both shapes", async () => {
    const sandbox = await startSandbox("lipana");
    const provider = openProvider("lipana", sandbox.url);
    const receipts: unknown[] = [];
    for (const _ of ["B", "A"]) {
      const { reference } = await provider.initiate(paymentOf(), urls, never);
      const [prompt] = sandbox.phone.prompts("+254712345600");
      expect(prompt).toMatchObject({ provider: "lipana", amountMinor: 15_000, currency: "KES" });
      sandbox.phone.answer(prompt?.id ?? "", "approve");
      const { headers, text } = await sandbox.nextWebhook();
      const claim = provider.translate({ headers, body: Buffer.from(text) });
      const whole = { status: "succeeded", amountMinor: 15_000n, currency: "KES" };
      expect(claim).toMatchObject({
        reference,
        proof: "signature",
        outcome: { ...whole, reference, source: "webhook" },
      });
      expect(claim).not.toHaveProperty("paymentId");
      receipts.push(claim.outcome?.receipt);
      const receipt = expect.stringMatching(/^[A-Z0-9]{10}$/);
      const asked = await provider.confirm(paymentOf({ reference }), never);
      expect(asked).toEqual({ ...whole, receipt, source: "query" });
    }
    expect(receipts).toEqual([expect.any(String), undefined]);
  });

  test.each([
    ["cancel", ["failed", "cancelled"], "cancelled"],
    ["wrong_pin", ["failed", "wrong_pin"], "declined"],
    ["insufficient_funds", ["failed", "insufficient_funds"], "declined"],
    ["ignore", ["expired", "no_response"], "declined"],
  ] as const)(
    "reads the reason from the webhook after %s, and only the failure from the status",
    async (answer, [status, reason], asked) => {
      const sandbox = await startSandbox("lipana");
      const provider = openProvider("lipana", sandbox.url);
      const { reference } = await provider.initiate(paymentOf(), urls, never);
      sandbox.phone.answer(sandbox.phone.prompts("+254712345600")[0]?.id ?? "", answer);
      const { headers, text } = await sandbox.nextWebhook();
      const { outcome } = provider.translate({ headers, body: Buffer.from(text) });
      expect(outcome).toEqual({ status, reason, reference, source: "webhook" });
      const queried = await provider.confirm(paymentOf({ reference }), never);
      expect(queried).toEqual({ status: "failed", reason: asked, source: "query" });
    },
  );

  test("reads an open payment as processing, also by its account reference", async () => {
    const sandbox = await startSandbox("lipana");
    const provider = openProvider("lipana", sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), urls, never);
    await provider.initiate(paymentOf({ id: crypto.randomUUID() }), urls, never);
    const processing = { status: "processing", source: "query" };
    expect(await provider.confirm(paymentOf({ reference }), never)).toEqual(processing);
    expect(await provider.confirm(paymentOf(), never)).toEqual({ ...processing, reference });
    expect(await provider.confirm(paymentOf({ amountMinor: 20_000n }), never)).toBeUndefined();
  });

  test("declines with a wrong key, and the query throws", async () => {
    const sandbox = await startSandbox("lipana");
    const client = createClient();
    onTestFinished(() => client.close());
    const open = lipana.configure({ SECRET_KEY: "lip_sk_test_wrong", WEBHOOK_SECRET });
    const accessToken = () => expect.unreachable("Lipana has no tokens");
    const provider = open({ baseUrl: () => sandbox.url, client, accessToken });
    expect(await initiated(provider)).toBe("declined provider_error");
    await expect(provider.confirm(paymentOf({ reference }), never)).rejects.toMatchObject({
      code: "provider_unavailable",
    });
    expect(sandbox.phone.prompts("+254712345600")).toEqual([]);
  });
});

describe("initiate", () => {
  const accepted = fixture("lipana", "push-accepted");

  test("sends the phone with its plus, whole shillings, and the end of the payment's id", async () => {
    const { provider, calls } = await script(accepted);
    await provider.initiate(paymentOf({ description: "Café für zwei – Büfett" }), urls, never);
    const [call] = calls;
    expect(call).toMatchObject({ method: "POST", path: "/transactions/push-stk" });
    expect(call?.headers).toMatchObject({ "x-api-key": SECRET_KEY, "content-type": "application/json" });
    expect(call?.body).toEqual({
      phone: "+254712345600",
      amount: 150,
      accountReference: "0123456789ab",
      transactionDesc: "Cafe fur zwei",
    });
  });

  test("sends the order's id if the description has no allowed characters", async () => {
    const { provider, calls } = await script(accepted, accepted);
    await provider.initiate(paymentOf(), urls, never);
    await provider.initiate(paymentOf({ description: "दो टिकट" }), urls, never);
    expect(calls.map(({ body }) => body.transactionDesc)).toEqual(["ORD-1001", "ORD-1001"]);
  });

  test.each<[string, ScriptedAnswer, string]>([
    ["201", { status: 201, body: accepted.body }, `accepted ${reference}`],
    ["snake_case", { body: { success: true, data: { transaction_id: reference } } }, `accepted ${reference}`],
    ["a reference within a refusal", { body: { ...accepted.body, success: false } }, "unknown"],
    ["a reference under HTTP 500", { status: 500, body: accepted.body }, "unknown"],
    ["a reference that cannot be stored", { body: { data: { transactionId: "TXN\u0000" } } }, "unknown"],
    ["a reference that is none", { body: { data: { transactionId: 17 } } }, "unknown"],
    ["an acceptance without a reference", { body: { success: true, data: { status: "pending" } } }, "unknown"],
    ["an id that is not the transaction's", { body: { success: true, data: { id: "1" } } }, "unknown"],
    ["a refusal under HTTP 200", { body: { success: false, message: "no" } }, "unknown"],
    ["a refusal's code under HTTP 500", { status: 500, body: fixture("lipana", "error-validation").body }, "unknown"],
    ["HTTP 400 with an error in another form", { status: 400, body: { error: "no" } }, "declined provider_error"],
    ["HTTP 400 without an error", { status: 400, body: {} }, "unknown"],
    ["a refusal that names a transaction", { status: 429, body: accepted.body }, "unknown"],
    ["a redirect", { status: 302, body: {} }, "unknown"],
  ])("reads %s, and sends one request", async (_what, answer, expected) => {
    const { provider, calls } = await script(answer);
    expect(await initiated(provider)).toBe(expected);
    expect(calls).toHaveLength(1);
  });

  test("reads silence until the deadline as unknown, and sends no second request (G10)", async () => {
    const { url, calls } = await script();
    expect(await initiated(impatient(url, 200))).toBe("unknown");
    expect(calls).toHaveLength(1);
  });

  test("declines if Lipana cannot be reached, because nothing was sent", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address() as AddressInfo;
    gone.close();
    await once(gone, "close");
    expect(await initiated(openProvider("lipana", `http://127.0.0.1:${port}`))).toBe("declined provider_error");
  });

  test("sends nothing for an amount with cents or a foreign phone", async () => {
    const { provider, calls } = await script();
    expect(await initiated(provider, paymentOf({ amountMinor: 15_050n }))).toBe("unknown");
    expect(await initiated(provider, paymentOf({ phone: "+255712345600" }))).toBe("unknown");
    expect(calls).toEqual([]);
  });

  test("keeps both secrets out of its errors", async () => {
    const { provider } = await script(
      fixture("lipana", "error-authentication"),
      { status: 502, text: "<html>" },
      "drop",
    );
    const errors = [];
    for (const _ of [1, 2, 3]) errors.push(await provider.initiate(paymentOf(), urls, never).catch((thrown) => thrown));
    errors.push(await provider.confirm(paymentOf({ reference }), AbortSignal.timeout(50)).catch((thrown) => thrown));
    try {
      claimOf({}, "0".repeat(64));
    } catch (error) {
      errors.push(error);
    }
    expect(errors).toHaveLength(5);
    for (const error of errors) {
      expect(error).toBeInstanceOf(Error);
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of [SECRET_KEY, WEBHOOK_SECRET]) expect(shown).not.toContain(secret);
    }
  });
});

describe("translate", () => {
  const full = { status: "succeeded", amountMinor: 10_000n, currency: "KES" } as const;

  test("reads both references, and accepts no foreign one as ours", () => {
    const { body } = fixture("lipana", "webhook-b-success");
    expect(claimOf({ ...body, reference: "0123456789ab" })).toMatchObject({
      reference,
      ownReference: "0123456789ab",
      proof: "signature",
    });
    expect(claimOf(body)).not.toHaveProperty("ownReference");
  });

  test("reads a signature in upper-case hex", () => {
    const bytes = bytesOf(fixture("lipana", "webhook-b-success").body);
    const headers = { "x-lipana-signature": sign(bytes).toUpperCase() };
    expect(offline().translate({ headers, body: bytes })).toMatchObject({ reference, proof: "signature" });
  });

  const { body: shapeA } = fixture("lipana", "webhook-a-success");
  const { body: shapeB } = fixture("lipana", "webhook-b-success");
  const a = (fields: object, event = "payment.success"): object => ({
    event,
    data: { ...(shapeA.data as object), ...fields },
  });
  const b = (fields: object): object => ({ ...shapeB, ...fields });

  test("reads no outcome from a pending payment with an open code", () => {
    const open = b({ event: "transaction.pending", result_code: 4999 });
    expect(claimOf(open)).toEqual({ reference, proof: "signature" });
  });

  test.each<[string, unknown]>([
    ["its event and its status", a({ status: "failed" })],
    ["its event and its status, the other way", a({}, "payment.failed")],
    ["its code and its status", b({ event: undefined, result_code: 1, status: "success" })],
    ["pending and paid", a({ status: "pending" })],
  ])("proves nothing if %s contradict each other (G7)", (_what, body) => {
    expect(claimOf(body)).toEqual({ reference, proof: "none" });
  });

  test.each<[string, unknown]>([
    ["an unknown event", { event: "payment.refunded", data: { transactionId: reference } }],
    ["no event and no status", { transactionId: reference }],
    ["M-Pesa's code for undecided", { transactionId: reference, result_code: "2029" }],
    ["a word from a prototype", { transactionId: reference, status: "constructor" }],
  ])("proves nothing with %s (G7)", (_what, body) => {
    expect(claimOf(body)).toEqual({ reference, proof: "none" });
  });

  test.each<[string, object, Reasoned]>([
    ["an unknown code", { result_code: 31337 }, ["failed", "provider_error"]],
    ["a code as text", { result_code: "1032" }, ["failed", "cancelled"]],
    ["a code of letters", { result_code: "SFC_IC0003" }, ["failed", "provider_error"]],
    ["no code", { result_code: null }, ["failed", "declined"]],
    ["a code that is none", { result_code: {} }, ["failed", "declined"]],
    ["an event in capitals", { event: "TRANSACTION.FAILED", result_code: 1 }, ["failed", "insufficient_funds"]],
  ])("reads a failure with %s", (_what, fields, [status, reason]) => {
    const { outcome } = claimOf({ ...fixture("lipana", "webhook-b-cancelled").body, ...fields });
    expect(outcome).toEqual({ status, reason, reference, source: "webhook" });
  });

  test("reads a success without an amount if that is missing", () => {
    const bare = { status: "succeeded", reference, currency: "KES", source: "webhook" };
    expect(claimOf(a({ amount: undefined })).outcome).toEqual(bare);
  });

  test.each<[string, object, string]>([
    ["an amount with fractions of a cent", { amount: 1.001 }, "amount_mismatch"],
    ["a negative amount", { amount: -100 }, "amount_mismatch"],
    ["a padded amount", { amount: " 100" }, "amount_mismatch"],
    ["an amount with an exponent", { amount: "1e2" }, "amount_mismatch"],
    ["an amount that is no number", { amount: { deep: 100 } }, "amount_mismatch"],
    ["a currency that is none", { currency: "shillings" }, "currency_mismatch"],
    ["a currency that is a number", { currency: 404 }, "currency_mismatch"],
  ])("reads %s, which is unreadable, as a mismatch (G8)", (_what, fields, reason) => {
    expect(claimOf(a(fields)).outcome).toEqual({ status: "succeeded", reason, reference, source: "webhook" });
  });

  test("reads another currency without its amount (G8)", () => {
    const { outcome } = claimOf(a({ currency: "UGX" }));
    expect(outcome).toEqual({ status: "succeeded", reference, currency: "UGX", source: "webhook" });
  });

  test.each(["kes", null, undefined])("reads the currency %j as shillings", (currency) => {
    expect(claimOf(a({ currency })).outcome).toMatchObject({ amountMinor: 10_000n, currency: "KES" });
  });

  test.each(["", null, 17, "A\u0000"])("ignores the invalid receipt %j", (mpesa_receipt_number) => {
    expect(claimOf(b({ mpesa_receipt_number })).outcome).toEqual({ ...full, reference, source: "webhook" });
  });

  test("accepts a signature by any of its webhook secrets, and no other", () => {
    const body = bytesOf(shapeB);
    const client = createClient();
    onTestFinished(() => client.close());
    const account = { SECRET_KEY, WEBHOOK_SECRET: `new-secret, ${WEBHOOK_SECRET}` };
    const accessToken = () => expect.unreachable("Lipana has no tokens");
    const { translate } = lipana.configure(account)({ baseUrl: () => "", client, accessToken });
    for (const secret of ["new-secret", WEBHOOK_SECRET]) {
      expect(translate({ headers: { "x-lipana-signature": sign(body, secret) }, body }).proof).toBe("signature");
    }
    for (const secret of ["old-secret", `new-secret, ${WEBHOOK_SECRET}`, ""]) {
      expect(() => translate({ headers: { "x-lipana-signature": sign(body, secret) }, body })).toThrow(
        expect.objectContaining({ code: "webhook_rejected" }),
      );
    }
  });

  test.each<[string, string | string[] | undefined]>([
    ["no signature", undefined],
    ["an empty one", ""],
    ["one by another secret", sign(bytesOf(shapeB), "another")],
    ["one over other bytes", sign(JSON.stringify(shapeB, null, 1))],
    ["one with a prefix", `sha256=${sign(bytesOf(shapeB))}`],
    ["half of it", sign(bytesOf(shapeB)).slice(0, 32)],
    ["more than it", `${sign(bytesOf(shapeB))}00`],
    ["no hex", "g".repeat(64)],
    ["two of them", [sign(bytesOf(shapeB)), sign(bytesOf(shapeB))]],
    ["the secret itself", WEBHOOK_SECRET],
  ])("rejects a webhook with %s, even at a secret URL (G7)", (_what, signature) => {
    const headers = signature === undefined ? {} : { "x-lipana-signature": signature as string };
    for (const proven of [{}, { paymentId: paymentOf().id }]) {
      expect(() => offline().translate({ headers, body: bytesOf(shapeB), ...proven })).toThrow(
        expect.objectContaining({ code: "webhook_rejected" }),
      );
    }
  });

  test("verifies the signature over the raw bytes", () => {
    for (const text of [JSON.stringify(shapeB, null, 4), ` ${JSON.stringify(shapeB)}\n`]) {
      expect(claimOf(text).outcome).toMatchObject(full);
    }
  });

  test("rejects a body with any one bit changed (G7)", () => {
    const body = bytesOf(shapeB);
    const signature = sign(body);
    fc.assert(
      fc.property(fc.nat(body.length * 8 - 1), (bit) => {
        const turned = Buffer.from(body);
        turned[bit >> 3] = (turned[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(() => claimOf(turned, signature)).toThrow(expect.objectContaining({ code: "webhook_rejected" }));
      }),
    );
  });

  test.each<[string, string | object]>([
    ["nothing", ""],
    ["HTML", "<html>"],
    ["half of it", '{"event":"payment.success","data":{'],
    ["null", "null"],
    ["a list", "[]"],
    ["no fields", {}],
    ["no transaction", { event: "payment.success", data: { status: "success", amount: 100 } }],
    ["a transaction that cannot be stored", b({ transaction_id: "TXN\u0000" })],
    ["a transaction without end", b({ transaction_id: "T".repeat(129) })],
    ["nesting without end", '{"data":'.repeat(10_000)],
    ["nesting where fields should be", `{"data":${"[".repeat(30_000)}${"]".repeat(30_000)}}`],
  ])("refuses %s as unreadable, although signed", (_what, body) => {
    expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
  });

  test("ignores prototype keys in a body", () => {
    const text = `{"__proto__":{"status":"success","polluted":1},"transactionId":"${reference}","data":{"__proto__":{"status":"success"},"transactionId":"${reference}","status":"failed"}}`;
    expect(claimOf(text).outcome).toMatchObject({ status: "failed", reason: "declined" });
    expect("polluted" in {}).toBe(false);
  });

  const noise = fc.oneof(
    fc.uint8Array().map((array) => Buffer.from(array)),
    fc.json(),
    fc.object({
      key: fc.constantFrom(
        "event",
        "data",
        "transactionId",
        "transaction_id",
        "status",
        "result_code",
        "amount",
        "success",
      ),
      values: [fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.constant(reference)],
    }),
  );

  test("returns a claim or throws a HubError for signed noise, and makes no success", () => {
    fc.assert(
      fc.property(noise, (body) => {
        try {
          expect(claimOf(body).outcome?.status).not.toBe("succeeded");
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
      }),
      { numRuns: 300 },
    );
  });

  test("rejects any noise without Lipana's signature (G7)", () => {
    fc.assert(
      fc.property(noise, fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f]{64}$/)), (body, signature) => {
        expect(() => claimOf(body, signature)).toThrow(expect.objectContaining({ code: "webhook_rejected" }));
      }),
    );
  });
});

type Reasoned = readonly [Outcome["status"], Outcome["reason"]];

describe("confirm by reference", () => {
  const payment = paymentOf({ reference, amountMinor: 10_000n });
  const full = { ...found, amountMinor: 10_000n };
  const { reference: _, ...known } = full;
  const success = fixture("lipana", "status-success").body;

  test("queries the transaction, with its id encoded for the URL", async () => {
    const { provider, calls } = await script({ body: {} }, { body: {} });
    await provider.confirm(payment, never);
    await provider.confirm(paymentOf({ reference: "a/../b?c" }), never);
    expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual([
      `GET /transactions/${reference}`,
      "GET /transactions/a%2F..%2Fb%3Fc",
    ]);
    expect(calls[0]?.headers["x-api-key"]).toBe(SECRET_KEY);
  });

  test.each<[string, ScriptedAnswer]>([
    ["a success of another transaction", { body: { ...success, transactionId: "TXN-OTHER" } }],
    ["a success without a transaction", { body: { status: "success", amount: 100 } }],
    ["a success within a refusal", { body: { success: false, data: success } }],
    ["a success under HTTP 404", { status: 404, body: success }],
    ["a code without a status", { body: { ...success, status: undefined, result_code: 0 } }],
    ["a failure's code without a status", { body: { ...success, status: undefined, result_code: 1032 } }],
    ["a redirect", { status: 302, body: success }],
  ])("reads no evidence from %s", async (_what, answer) => {
    const { provider } = await script(answer);
    expect(await provider.confirm(payment, never)).toBeUndefined();
  });

  test("reads the reason of a failed transaction from its code", async () => {
    const { provider } = await script({ body: { ...fixture("lipana", "status-failed").body, resultCode: 1037 } });
    expect(await provider.confirm(payment, never)).toEqual({
      status: "expired",
      reason: "no_response",
      source: "query",
    });
  });

  test("accepts either of its two ids", async () => {
    const { provider } = await script({ body: { ...success, id: reference, transactionId: "TXN-OTHER" } });
    expect(await provider.confirm(payment, never)).toEqual(known);
  });

  test.each<[string, ScriptedAnswer | "drop"]>([
    ["HTML", { status: 502, text: "<html>" }],
    ["HTML under HTTP 200", { text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under HTTP 503", { status: 503, body: success }],
    ["a lost connection", "drop"],
  ])("throws if Lipana did not answer the query: %s", async (_what, answer) => {
    const { provider } = await script(answer);
    await expect(provider.confirm(payment, never)).rejects.toThrow();
  });

  test("throws after silence", async () => {
    const { url } = await script();
    await expect(impatient(url).confirm(payment, never)).rejects.toThrow("deadline");
  });

  test("makes no success of noise (G7)", async () => {
    const answers: unknown[] = [];
    const { url } = await startScriptedProvider(() => ({ body: answers.shift() ?? null }));
    const provider = openProvider("lipana", url);
    const keys = fc.constantFrom("data", "transactions", "id", "status", "amount", "accountReference", "success");
    await fc.assert(
      fc.asyncProperty(fc.object({ key: keys }), fc.boolean(), async (body, isKnown) => {
        answers.push(body);
        const outcome = await provider.confirm(isKnown ? payment : paymentOf(), never);
        expect(outcome?.status).not.toBe("succeeded");
        answers.length = 0;
      }),
    );
  });
});

describe("confirm without a reference", () => {
  test("reads the newest transactions, and returns its own with the reference", async () => {
    const { provider, calls } = await script(
      listOf([listed({ accountReference: "another", transactionId: "T1" }), listed()]),
    );
    expect(await provider.confirm(paymentOf(), never)).toEqual(found);
    expect(calls.map(({ method, path }) => `${method} ${path}`)).toEqual(["GET /transactions?page=1&limit=100"]);
  });

  test.each<[string, object, Partial<Outcome>]>([
    ["pending", { status: "pending" }, { status: "processing" }],
    ["failed", { status: "failed" }, { status: "failed", reason: "declined" }],
    ["cancelled", { status: "cancelled" }, { status: "failed", reason: "cancelled" }],
  ])("finds a transaction that is %s, and returns its reference", async (_what, fields, outcome) => {
    const { provider } = await script(listOf([listed(fields)]));
    expect(await provider.confirm(paymentOf(), never)).toEqual({ ...outcome, reference, source: "query" });
  });

  test.each<[string, ScriptedAnswer]>([
    ["within the envelope", { body: { success: true, data: { transactions: [listed()] } } }],
    ["as a bare list", { body: [listed()] }],
    ["as a list within the envelope", { body: { success: true, data: [listed()] } }],
    ["in snake_case, the amount as text", listOf([snake()])],
    ["beside what is none", listOf([null, 1, "x", [], {}, listed()])],
    ["with pages that cannot be read", { body: { transactions: [listed()], pagination: "none" } }],
  ])("reads the list %s", async (_what, answer) => {
    const { provider } = await script(answer);
    expect(await provider.confirm(paymentOf(), never)).toEqual(found);
  });

  test.each<[string, object]>([
    ["another account reference", { accountReference: "0123456789AB" }],
    ["no account reference", { accountReference: null }],
    ["another amount", { amount: 151 }],
    ["an amount that cannot be read", { amount: "150 KES" }],
    ["no amount", { amount: undefined }],
    ["no reference", { transactionId: undefined }],
    ["a reference that cannot be stored", { transactionId: "TXN\u0000" }],
    ["an unknown status", { status: "reversed" }],
  ])("ignores a transaction with %s", async (_what, fields) => {
    const { provider } = await script(listOf([listed(fields)]));
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
  });

  test("prefers a paid transaction", async () => {
    const { provider } = await script(listOf([listed({ transactionId: "T1", status: "pending" }), listed()]));
    expect(await provider.confirm(paymentOf(), never)).toEqual(found);
  });

  test("reads pages until it is found, the list ends, or three were read (G12)", async () => {
    const other = listed({ accountReference: "another" });
    const paged = async (...answers: ScriptedAnswer[]) => {
      const { provider, calls } = await script(...answers);
      return [
        await provider.confirm(paymentOf(), never),
        calls.map(({ path }) => /page=(\d+)/.exec(path)?.[1]).join(""),
      ];
    };
    expect(await paged(listOf([other], 9), listOf([listed()], 9))).toEqual([found, "12"]);
    expect(await paged(listOf([other], 2), listOf([other], 2))).toEqual([undefined, "12"]);
    expect(await paged(...Array<ScriptedAnswer>(4).fill(listOf([other], 9)))).toEqual([undefined, "123"]);
    expect(await paged(listOf([other], 9), listOf([], 9))).toEqual([undefined, "12"]);
    expect(await paged(fixture("lipana", "list-empty"))).toEqual([undefined, "1"]);
    expect(await paged({ body: {} })).toEqual([undefined, "1"]);
    expect(await paged({ body: { transactions: [other] } }, { body: { transactions: [] } })).toEqual([undefined, "12"]);
  });

  test("throws if a page is not available", async () => {
    const { provider } = await script(listOf([listed({ accountReference: "another" })], 2), { status: 503, text: "" });
    await expect(provider.confirm(paymentOf(), never)).rejects.toMatchObject({ code: "provider_unavailable" });
  });
});

function snake(): object {
  return {
    transaction_id: reference,
    account_reference: "0123456789ab",
    amount: "150.00",
    status: "SUCCESS",
    mpesa_receipt_number: "SAE3YULR0Y",
  };
}

describe("account", () => {
  test("requires both secrets, and a key that is valid in a header", () => {
    expect(() => lipana.configure({ SECRET_KEY })).toThrow("WEBHOOK_SECRET");
    expect(() => lipana.configure({ SECRET_KEY: "two words", WEBHOOK_SECRET })).toThrow("SECRET_KEY");
    expect(() => lipana.configure({ SECRET_KEY: "line\nbreak", WEBHOOK_SECRET })).toThrow("SECRET_KEY");
  });

  test("accepts whole shillings from 10 to 150,000 and Kenyan phones", () => {
    const { limits, currencies, countries, statesAmount, isAccountWide } = offline();
    expect({ currencies, countries, statesAmount, isAccountWide }).toEqual({
      currencies: ["KES"],
      countries: ["KE"],
      statesAmount: true,
      isAccountWide: true,
    });
    expect(limits).toMatchObject({ minMinor: 1_000n, maxMinor: 15_000_000n, stepMinor: 100n });
  });
});
