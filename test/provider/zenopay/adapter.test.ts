import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Outcome, Payment } from "../../../server/order/order.ts";
import { type Client, createClient } from "../../../server/provider/http-client.ts";
import { type Claim, Declined, type Provider } from "../../../server/provider/provider.ts";
import { zenopay } from "../../../server/provider/zenopay/adapter.ts";
import { testAccount } from "../../support/account.ts";
import { fixture, type Received, startSandbox } from "../../support/sandbox.ts";
import {
  type Respond,
  type ScriptedAnswer,
  type ScriptedProvider,
  startScriptedProvider,
} from "../../support/scripted-provider.ts";

const never = new AbortController().signal;
const urls = {
  webhook: new URL("https://pay.example/webhooks/zenopay/secret-of-the-url"),
  return: new URL("https://pay.example/return/secret-of-the-url"),
};
const apiKey: string = testAccount("zenopay").API_KEY;

/** The order of ZenoPay's samples, and the amount in its query's sample. */
const id = "3b9f407e-3ee8-4525-456f-ccb95de38250";
const paidSample = { receipt: "CEJ3I3SETSN", amountMinor: 100_000n, currency: "TZS" };

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id,
  orderId: "ORD-1001",
  attempt: 1,
  provider: "zenopay",
  amountMinor: 100_000n,
  currency: "TZS",
  phone: "+255712345600",
  ...fields,
});

const adapter = (url: string, client: Client, key = apiKey): Provider =>
  zenopay.configure({ API_KEY: key })({
    baseUrl: () => url,
    client,
    accessToken: () => expect.unreachable("there are no tokens"),
  });

function open(url: string, key = apiKey): Provider {
  const client = createClient();
  onTestFinished(() => client.close());
  return adapter(url, client, key);
}

/** A ZenoPay that returns this answer to each call. */
async function script(answer: ScriptedAnswer | Respond): Promise<{ provider: Provider; script: ScriptedProvider }> {
  const started = await startScriptedProvider(typeof answer === "function" ? answer : () => answer);
  return { provider: open(started.url), script: started };
}

const drop: Respond = () => "drop";
const silence: Respond = () => new Promise(() => undefined);

/** The result of the request: accepted, declined with a reason, or unknown. */
async function initiated(provider: Provider, payment = paymentOf(), signal = never): Promise<string> {
  try {
    const { reference } = await provider.initiate(payment, urls, signal);
    return `accepted ${reference}`;
  } catch (error) {
    return error instanceof Declined ? `declined ${error.reason}` : "unknown";
  }
}

interface Posted {
  /** Empty: without the header. */
  key?: string;
  /** Undefined: the secret in the URL was wrong. */
  paymentId?: string | undefined;
}

const pure = adapter("", { call: () => expect.unreachable("translate is pure"), close: async () => undefined });

/** The claim of a webhook at the URL of this payment, by default with ZenoPay's header. */
function claimOf(body: unknown, posted: Posted = {}): Claim {
  const { key, paymentId } = { key: apiKey, paymentId: id, ...posted };
  return pure.translate({
    ...(paymentId !== undefined && { paymentId }),
    headers: key === "" ? {} : { "x-api-key": key },
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
  });
}

const claimed = ({ text, headers }: Received): Claim => claimOf(text, { key: String(headers["x-api-key"] ?? "") });

const proven: Claim = {
  paymentId: id,
  reference: id,
  proof: "secret",
  outcome: { status: "succeeded", reference: id, source: "webhook" },
};
const hint: Claim = { paymentId: id, reference: id, proof: "none" };

describe("adapter at the sandbox", () => {
  const play = async () => {
    const sandbox = await startSandbox("zenopay");
    const provider = open(sandbox.url);
    const ask = (payment = paymentOf()) =>
      provider.initiate(payment, { ...urls, webhook: sandbox.hookUrl }, AbortSignal.timeout(5_000));
    const answer = (as: Parameters<typeof sandbox.phone.answer>[1]): void => {
      const [prompt] = sandbox.phone.prompts("+255712345600");
      sandbox.phone.answer(prompt?.id ?? "", as);
    };
    return { sandbox, provider, ask, answer };
  };

  test("gets a request accepted, prompts the phone, and reads a success without an amount from the webhook", async () => {
    const { sandbox, provider, ask, answer } = await play();
    expect(await ask()).toEqual({ reference: id });
    expect(sandbox.phone.prompts("+255712345600")).toMatchObject([{ amountMinor: 100_000, currency: "TZS" }]);
    answer("approve");
    expect(claimed(await sandbox.nextWebhook())).toEqual(proven);
    expect(await provider.confirm(paymentOf(), never)).toEqual({
      ...paidSample,
      status: "succeeded",
      receipt: expect.stringMatching(/^[A-Z0-9]{11}$/),
      reference: id,
      source: "query",
    });
  });

  test.each([
    ["cancel", "cancelled"],
    ["wrong_pin", "declined"],
    ["insufficient_funds", "declined"],
  ] as const)("finds %s only by a query: %s", async (answered, reason) => {
    const { sandbox, provider, ask, answer } = await play();
    await ask();
    answer(answered);
    await expect
      .poll(() => provider.confirm(paymentOf(), never))
      .toEqual({ status: "failed", reason, reference: id, source: "query" });
    expect(sandbox.waiting).toBe(0);
  });

  test("reads an unanswered payment as open", async () => {
    const { provider, ask, answer } = await play();
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
    await ask();
    expect(await provider.confirm(paymentOf(), never)).toEqual({
      status: "processing",
      reference: id,
      source: "query",
    });
    answer("ignore");
    expect(await provider.confirm(paymentOf(), never)).toEqual({
      status: "processing",
      reference: id,
      source: "query",
    });
  });

  test("queries a payment whose reply was lost", async () => {
    const { sandbox, provider } = await play();
    const payment = paymentOf({ phone: "+255712345611" });
    const lost = provider.initiate(payment, { ...urls, webhook: sandbox.hookUrl }, AbortSignal.timeout(300));
    await expect(lost).rejects.not.toBeInstanceOf(Declined);
    expect(claimed(await sandbox.nextWebhook())).toEqual(proven);
    expect(await provider.confirm(payment, never)).toMatchObject({ status: "succeeded", amountMinor: 100_000n });
  });

  test("reads another amount", async () => {
    const { sandbox, provider, ask } = await play();
    const payment = paymentOf({ phone: "+255712345610" });
    await ask(payment);
    await sandbox.nextWebhook();
    expect(await provider.confirm(payment, never)).toMatchObject({ status: "succeeded", amountMinor: 100_100n });
  });

  test("declines with a wrong key, and the query throws", async () => {
    const { sandbox } = await play();
    const provider = open(sandbox.url, "wrong");
    expect(await initiated(provider)).toBe("declined provider_error");
    await expect(provider.confirm(paymentOf(), never)).rejects.toMatchObject({ code: "provider_unavailable" });
    expect(sandbox.phone.prompts("+255712345600")).toEqual([]);
  });
});

describe("initiate", () => {
  test("sends the fields of the samples: our id, the local phone, whole shillings", async () => {
    const { provider, script: remote } = await script(fixture("zenopay", "accepted"));
    expect(await initiated(provider)).toBe(`accepted ${id}`);
    expect(remote.calls).toMatchObject([
      { method: "POST", path: "/mobile_money_tanzania", headers: { "x-api-key": apiKey } },
    ]);
    expect(remote.calls[0]?.body).toEqual({
      order_id: id,
      buyer_email: "customer@example.com",
      buyer_name: "ORD-1001",
      buyer_phone: "0712345600",
      amount: 1_000,
      webhook_url: urls.webhook.href,
    });
  });

  const { body: accepted } = fixture("zenopay", "accepted");
  test.each<[string, object]>([
    ["in capitals", { ...accepted, status: "SUCCESS" }],
    ["with a code that is a number", { ...accepted, resultcode: 0 }],
    ["with nothing but its status", { status: "success" }],
    ["with fields that are null", { status: "success", resultcode: null, order_id: null, message: null }],
  ])("reads an acceptance %s", async (_what, body) => {
    const { provider } = await script({ body });
    expect(await initiated(provider)).toBe(`accepted ${id}`);
  });

  const { body: refused } = fixture("zenopay", "error-invalid-phone");
  test.each<[string, ScriptedAnswer]>([
    ["an acceptance of another order", { body: { ...accepted, order_id: "other" } }],
    ["an acceptance with another code", { body: { ...accepted, resultcode: "111" } }],
    ["an acceptance under HTTP 500", { status: 500, body: accepted }],
    ["an acceptance under HTTP 302", { status: 302, body: accepted }],
    ["a status that it does not know", { body: { ...accepted, status: "queued" } }],
    ["an error under HTTP 409", { status: 409, body: refused }],
    ["an error under HTTP 408", { status: 408, body: refused }],
    ["an error under HTTP 504", { status: 504, body: refused }],
    ["HTTP 400 without an error", { status: 400, body: { amount: 1_000 } }],
    ["an acceptance under HTTP 404", { status: 404, body: accepted }],
    ["null", { body: null }],
  ])("reads %s as unknown, and sends one request (G10)", async (_what, answer) => {
    const { provider, script: remote } = await script(answer);
    expect(await initiated(provider)).toBe("unknown");
    expect(remote.calls).toHaveLength(1);
  });

  test.each([400, 401, 403, 404, 405, 415, 422])("reads an error with HTTP %i as declined", async (status) => {
    const { provider } = await script({ status, body: refused });
    expect(await initiated(provider)).toBe("declined provider_error");
  });

  test("reads silence and a lost connection as unknown, and sends no second request (G10)", async () => {
    const silent = await script(silence);
    expect(await initiated(silent.provider, paymentOf(), AbortSignal.timeout(100))).toBe("unknown");
    const dropping = await script(drop);
    expect(await initiated(dropping.provider)).toBe("unknown");
    expect([silent, dropping].map(({ script: { calls } }) => calls.length)).toEqual([1, 1]);
  });

  test("declines if ZenoPay cannot be reached, because nothing was sent", async () => {
    const gone = createServer().listen(0, "127.0.0.1");
    await once(gone, "listening");
    const { port } = gone.address() as AddressInfo;
    gone.close();
    await once(gone, "close");
    expect(await initiated(open(`http://127.0.0.1:${port}`))).toBe("declined provider_error");
  });

  test("sends nothing for an amount with cents or a foreign phone", async () => {
    const { provider, script: remote } = await script(fixture("zenopay", "accepted"));
    expect(await initiated(provider, paymentOf({ amountMinor: 100_050n }))).toBe("unknown");
    expect(await initiated(provider, paymentOf({ phone: "+254712345600" }))).toBe("unknown");
    expect(remote.calls).toEqual([]);
  });

  test("keeps the key, the phone and the webhook's URL out of its errors", async () => {
    for (const answer of [fixture("zenopay", "error-invalid-key"), { status: 502, text: "<html>" }, drop]) {
      const { provider } = await script(answer);
      const error: unknown = await provider.initiate(paymentOf(), urls, never).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of [apiKey, "712345600", urls.webhook.pathname]) expect(shown).not.toContain(secret);
    }
  });
});

describe("translate", () => {
  const { body: completed } = fixture("zenopay", "webhook-completed");

  test.each([
    ["is missing", ""],
    ["is another", "another-key"],
    ["is the beginning of ours", apiKey.slice(0, -1)],
    ["goes on after ours", `${apiKey}x`],
  ])("proves nothing if the key %s (G7)", (_what, key) => {
    expect(claimOf(completed, { key })).toEqual(hint);
  });

  test("proves nothing about another order (G7)", () => {
    const order_id = "0199f2c4-0000-7000-8000-00000000dead";
    expect(claimOf({ ...completed, order_id })).toEqual({ paymentId: id, reference: order_id, proof: "none" });
    expect(claimOf({ ...completed, order_id: id.toUpperCase() })).toMatchObject({ paymentId: id, proof: "none" });
  });

  test.each(["FAILED", "CANCELLED", "PENDING", "SUCCESS", "COMPLETED?", ""])(
    "proves nothing with the status %j (G7)",
    (payment_status) => {
      expect(claimOf({ ...completed, payment_status })).toEqual(hint);
    },
  );

  test("reads only the order's status, not the call's", () => {
    const { body } = fixture("zenopay", "webhook-failed");
    const beside = { status: "SUCCESS", result: "SUCCESS", resultcode: "000", resultCode: "000" };
    expect(claimOf({ ...body, ...beside })).toEqual(hint);
    expect(claimOf({ ...beside, data: { ...body, ...beside } })).toEqual(hint);
  });

  test("proves a payment with any of the keys, and calls ZenoPay with the first", async () => {
    const { script: zenopayServer } = await script(fixture("zenopay", "accepted"));
    const rotating = open(zenopayServer.url, `new-key, ${apiKey}`);
    await initiated(rotating);
    await rotating.confirm(paymentOf(), never);
    expect(zenopayServer.calls.map(({ headers }) => headers["x-api-key"])).toEqual(["new-key", "new-key"]);
    const claimWith = (key: string): Claim =>
      rotating.translate({
        paymentId: id,
        headers: { "x-api-key": key },
        body: Buffer.from(JSON.stringify(completed)),
      });
    for (const key of ["new-key", apiKey]) expect(claimWith(key)).toEqual(claimOf(completed));
    for (const key of ["old-key", `new-key,${apiKey}`, ""]) expect(claimWith(key)).toEqual(hint);
  });

  test("rejects a webhook without the right URL secret before reading it, with any key (G7)", () => {
    for (const body of [completed, "{"]) {
      expect(() => claimOf(body, { paymentId: undefined })).toThrow(
        expect.objectContaining({ code: "webhook_rejected" }),
      );
    }
  });

  test.each<[string, unknown]>([
    ["nothing", ""],
    ["HTML", "<html>"],
    ["half of it", '{"order_id":"'],
    ["null", "null"],
    ["a list", [completed]],
    ["no fields", {}],
    ["no status", { order_id: id }],
    ["an order that cannot be stored", { ...completed, order_id: "\u0000" }],
    ["an order that is a number", { ...completed, order_id: 1 }],
    ["a status that is none", { ...completed, payment_status: ["COMPLETED"] }],
    ["nesting without end", '{"data":'.repeat(10_000)],
    ["nesting where fields should be", `{"data":${"[".repeat(30_000)}${"]".repeat(30_000)}}`],
  ])("refuses %s as unreadable", (_what, body) => {
    expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
  });

  test("returns a claim or throws a HubError for noise, and makes no success (G7)", () => {
    const key = fc.constantFrom("order_id", "payment_status", "data", "status");
    const value = fc.oneof(fc.string(), fc.constantFrom("FAILED", "PENDING", "SUCCESS", id, 1, null));
    const bytes = fc.uint8Array().map((array) => Buffer.from(array));
    const webhookLike = fc.object({ key, values: [value], maxDepth: 2 });
    fc.assert(
      fc.property(fc.oneof(bytes, fc.json(), webhookLike), fc.boolean(), (body, isSigned) => {
        try {
          expect(claimOf(body, { key: isSigned ? apiKey : "" })).toEqual({ ...hint, reference: expect.any(String) });
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
      }),
    );
  });

  test("proves a payment only with the key, the order and COMPLETED (G7)", () => {
    const status = fc.constantFrom("COMPLETED", "FAILED", "PENDING");
    const order = fc.constantFrom(id, "other");
    const given = fc.constantFrom(apiKey, "", "other");
    fc.assert(
      fc.property(status, order, given, (payment_status, order_id, key) => {
        const isProof = payment_status === "COMPLETED" && order_id === id && key === apiKey;
        const claim = claimOf({ ...completed, order_id, payment_status }, { key });
        expect(claim).toEqual(isProof ? proven : { ...hint, reference: order_id });
      }),
    );
  });
});

describe("confirm", () => {
  test("queries with our id, before any reply", async () => {
    const { provider, script: remote } = await script(fixture("zenopay", "query-pending"));
    await provider.confirm(paymentOf(), never);
    expect(remote.calls).toMatchObject([
      { method: "GET", path: `/order-status?order_id=${id}`, headers: { "x-api-key": apiKey }, text: "" },
    ]);
  });

  const sample = fixture("zenopay", "query-completed").body;
  const [row] = sample.data as [object];
  /** A success with these values in its row. */
  const rowWith = (fields: object): ScriptedAnswer => ({ body: { ...sample, data: [{ ...row, ...fields }] } });
  const asked = async (answer: ScriptedAnswer): Promise<Outcome | undefined> =>
    (await script(answer)).provider.confirm(paymentOf(), never);

  test.each<[string, ScriptedAnswer]>([
    ["a number", rowWith({ amount: 1_000 })],
    ["a decimal", rowWith({ amount: "1000.00" })],
    ["of a row that is no list", { body: { ...sample, data: row } }],
    ["of a body that is flat", { body: row }],
    [
      "of one row among those of others",
      { body: { ...sample, data: [{ ...row, order_id: "other", amount: "5" }, row] } },
    ],
    ["of one row among failed ones", { body: { ...sample, data: [{ ...row, payment_status: "FAILED" }, row] } }],
    ["of a row in small letters", rowWith({ payment_status: "completed" })],
    ["of a lookup without a code", { body: { data: [row] } }],
    ["of a lookup whose code is a number", { body: { ...sample, resultcode: 0 } }],
  ])("reads the amount that is %s", async (_what, answer) => {
    expect(await asked(answer)).toEqual({ ...paidSample, status: "succeeded", reference: id, source: "query" });
  });

  test.each([["1,000"], [" 1000"], ["-1000"], ["1e3"], ["1000.005"], ["10000000000000000"], [{ deep: 1 }]])(
    "reads the unreadable amount %j as a mismatch (G8)",
    async (amount) => {
      expect(await asked(rowWith({ amount }))).toMatchObject({ status: "succeeded", reason: "amount_mismatch" });
    },
  );

  test.each([[""], [null], [undefined]])("reads no evidence from a success with the amount %j", async (amount) => {
    expect(await asked(rowWith({ amount }))).toBeUndefined();
  });

  test.each<[string, object, string | undefined]>([
    ["the operator's receipt", {}, "CEJ3I3SETSN"],
    ["a receipt that is a number", { transid: 25_719_283_746 }, "25719283746"],
    ["ZenoPay's own number when there is none", { transid: null }, "0936183435"],
    ["ZenoPay's own number when it is a word", { transid: "N/A" }, "0936183435"],
    ["ZenoPay's own number when it cannot be stored", { transid: "CEJ3I3\u0000SETSN" }, "0936183435"],
    ["nothing when there is neither", { transid: "", reference: null }, undefined],
    ["nothing of a number that lost its digits", { transid: 2e20, reference: 0.5 }, undefined],
  ])("reads as receipt %s", async (_what, fields, receipt) => {
    expect((await asked(rowWith(fields)))?.receipt).toBe(receipt);
  });

  test.each<[string, ScriptedAnswer]>([
    ["a lookup that succeeded for another order", rowWith({ order_id: "other" })],
    ["a row that names no order", rowWith({ order_id: undefined })],
    ["a lookup that failed", { body: { ...sample, resultcode: "404" } }],
    ["a success under HTTP 404", { status: 404, body: sample }],
    ["a status that it does not know", rowWith({ payment_status: "INPROGRESS" })],
    ["a status that speaks of prototypes", rowWith({ payment_status: "__PROTO__" })],
    ["the lookup's own word", rowWith({ payment_status: "SUCCESS" })],
    ["no status", rowWith({ payment_status: undefined })],
    [
      "two rows that disagree about how it failed",
      { body: { ...sample, data: ["FAILED", "CANCELLED"].map((payment_status) => ({ ...row, payment_status })) } },
    ],
    ["rows that are none", { body: { ...sample, data: [null, 1, "COMPLETED", [row]] } }],
  ])("reads no evidence from %s", async (_what, answer) => {
    expect(await asked(answer)).toBeUndefined();
  });

  test.each<[string, ScriptedAnswer]>([
    ["HTML", { status: 502, text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under HTTP 503", { status: 503, body: sample }],
  ])("throws if ZenoPay did not answer the query: %s", async (_what, answer) => {
    await expect(asked(answer)).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  test("throws after silence, a lost connection, and a refused connection", async () => {
    const [silent, dropping] = [await script(silence), await script(drop)];
    await expect(silent.provider.confirm(paymentOf(), AbortSignal.timeout(50))).rejects.toThrow();
    await expect(dropping.provider.confirm(paymentOf(), never)).rejects.toThrow();
    await expect(open("http://127.0.0.1:1").confirm(paymentOf(), never)).rejects.toThrow();
  });

  test("makes no success of noise (G7)", async () => {
    let noise: unknown;
    const { provider } = await script(() => ({ body: noise }));
    const key = fc.constantFrom("data", "order_id", "payment_status", "result", "resultcode", "status", "amount");
    const value = fc.constantFrom("SUCCESS", "success", "000", "PENDING", "FAILED", "1000", id, 0, null, true);
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.jsonValue(), fc.object({ key, values: [value], maxDepth: 3 })), async (body) => {
        noise = body;
        expect((await provider.confirm(paymentOf(), never))?.status).not.toBe("succeeded");
      }),
    );
  });
});

describe("account", () => {
  test.each(["two words", "ke\ny", "ключ", "key,ключ"])(
    "refuses the key %j, which is invalid in a header",
    (API_KEY) => {
      expect(() => zenopay.configure({ API_KEY })).toThrow("visible ASCII");
    },
  );
});
