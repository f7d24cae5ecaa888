import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Payment } from "../../../server/order/order.ts";
import type { AccessToken } from "../../../server/provider/access-token.ts";
import { createDaraja, type DarajaConfig, fetchDarajaToken } from "../../../server/provider/daraja/adapter.ts";
import { createClient } from "../../../server/provider/http-client.ts";
import { type Claim, Declined, type Provider } from "../../../server/provider/provider.ts";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox } from "../../support/sandbox.ts";

const never = new AbortController().signal;
const urls = {
  webhook: new URL("https://pay.example/webhooks/daraja/secret-of-the-url"),
  return: new URL("https://pay.example/return/secret-of-the-url"),
};
const account = { TRANSACTION_TYPE: "CustomerPayBillOnline" as const, ...testAccount("daraja") };

/** The URLs of a payment whose webhooks go to the test's receiver. */
const at = (webhook: URL) => ({ ...urls, webhook });

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id: "0199f2c4-0000-7000-8000-000000000001",
  orderId: "ORD-1001",
  attempt: 1,
  provider: "daraja",
  amountMinor: 15_000n,
  currency: "KES",
  phone: "+254712345600",
  ...fields,
});

const [reference, otherReference] = ["ws_CO_13012021093521236557", "ws_CO_1"];

/** An access token in memory, kept until it is refused. */
function keepToken(fetch: () => Promise<{ token: string }>): AccessToken {
  let token: string | undefined;
  return {
    async token(rejected) {
      if (token === undefined || token === rejected) ({ token } = await fetch());
      return token;
    },
  };
}

interface Opened {
  provider: Provider;
  /** Fetches a token without the adapter. */
  fetchToken(): Promise<{ token: string; lifetimeS: number }>;
}

function open(url: string, options: { account?: Partial<DarajaConfig>; deadlineMs?: number } = {}): Opened {
  const client = createClient();
  onTestFinished(() => client.close());
  const config: DarajaConfig = { ...account, baseUrl: () => url, ...options.account };
  const fetchToken = () => fetchDarajaToken(config, client);
  const { deadlineMs } = options;
  const accessToken = keepToken(fetchToken);
  return {
    provider: createDaraja(config, { client, accessToken, ...(deadlineMs !== undefined && { deadlineMs }) }),
    fetchToken,
  };
}

interface Scripted {
  status?: number;
  body?: unknown;
  text?: string;
}

interface SentCall {
  path: string;
  authorization: string | undefined;
  body: Record<string, unknown>;
}

interface ScriptedSafaricom extends Opened {
  /** The calls other than token calls. */
  asked: SentCall[];
  /** Closes the connection after the request was read. */
  drop(): void;
}

async function listen(server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A Safaricom that issues tokens 1, 2, 3 …, and returns these answers in turn. After the last one it is silent. */
async function script(answers: Scripted[], options: { deadlineMs?: number } = {}): Promise<ScriptedSafaricom> {
  const asked: SentCall[] = [];
  let tokens = 0;
  let isDropping = false;
  const server = createServer(async (request, response) => {
    if (request.url?.startsWith("/oauth/")) {
      tokens += 1;
      return response.end(JSON.stringify({ access_token: `token-${tokens}`, expires_in: 3599 }));
    }
    let text = "";
    for await (const chunk of request) text += chunk;
    asked.push({ path: request.url ?? "", authorization: request.headers.authorization, body: JSON.parse(text) });
    if (isDropping) return request.socket.destroy();
    const answer = answers.shift();
    if (answer) response.writeHead(answer.status ?? 200).end(answer.text ?? JSON.stringify(answer.body));
  });
  const url = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const drop = (): void => {
    isDropping = true;
  };
  return { ...open(url, options), asked, drop };
}

/** The result of the push: accepted, declined with a reason, or unknown. */
async function initiated(provider: Provider, payment = paymentOf()): Promise<string> {
  try {
    const { reference } = await provider.initiate(payment, urls, never);
    return `accepted ${reference}`;
  } catch (error) {
    return error instanceof Declined ? `declined ${error.reason}` : "unknown";
  }
}

const claimOf = (body: unknown): Claim =>
  createDaraja({ ...account, baseUrl: () => "" }, { client: noClient, accessToken: noCredential }).translate({
    paymentId: paymentOf().id,
    headers: {},
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
  });

const noClient = { call: () => expect.unreachable("translate is pure"), close: async () => undefined };
const noCredential = { token: () => expect.unreachable("translate is pure") };

const callback = (fields: object): object => ({ Body: { stkCallback: { CheckoutRequestID: reference, ...fields } } });
const success = (...Item: object[]): object => callback({ ResultCode: 0, CallbackMetadata: { Item } });

describe("adapter at the sandbox", () => {
  test("gets a push accepted, prompts the phone, and reads the whole success from the webhook", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url);
    const payment = paymentOf();
    const { reference } = await provider.initiate(payment, at(sandbox.hookUrl), never);
    const [prompt] = sandbox.phone.prompts("+254712345600");
    expect(prompt).toMatchObject({ amountMinor: 15_000, currency: "KES" });
    sandbox.phone.answer(prompt?.id ?? "", "approve");
    expect(claimOf((await sandbox.nextWebhook()).text)).toEqual({
      paymentId: payment.id,
      reference,
      proof: "secret",
      outcome: {
        status: "succeeded",
        reference,
        receipt: expect.stringMatching(/^[A-Z0-9]{10}$/),
        amountMinor: 15_000n,
        currency: "KES",
        source: "webhook",
      },
    });
    expect(await provider.confirm({ ...payment, reference }, never)).toEqual({ status: "succeeded", source: "query" });
  });

  test.each([
    ["cancel", "failed", "cancelled"],
    ["wrong_pin", "failed", "wrong_pin"],
    ["insufficient_funds", "failed", "insufficient_funds"],
    ["ignore", "expired", "no_response"],
  ] as const)("reads the same from webhook and query after %s: %s, %s", async (answer, status, reason) => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    const [prompt] = sandbox.phone.prompts("+254712345600");
    sandbox.phone.answer(prompt?.id ?? "", answer);
    const { outcome } = claimOf((await sandbox.nextWebhook()).text);
    expect(outcome).toEqual({ status, reason, reference, source: "webhook" });
    const asked = await provider.confirm(paymentOf({ reference }), never);
    expect(asked).toEqual({ status, reason, source: "query" });
  });

  test("reads an open payment as processing in both forms of the query", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    const payment = paymentOf({ reference });
    const answers = [await provider.confirm(payment, never), await provider.confirm(payment, never)];
    expect(answers).toEqual(Array(2).fill({ status: "processing", source: "query" }));
  });

  test("declines a push to a busy phone with the reason busy", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url);
    expect(await initiated(provider, paymentOf({ phone: "+254712345620" }))).toBe("declined busy");
  });

  test("reads the reference from a webhook that arrives before the reply", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url);
    const { reference } = await provider.initiate(paymentOf({ phone: "+254712345608" }), at(sandbox.hookUrl), never);
    expect(sandbox.waiting).toBe(1);
    const { outcome } = claimOf((await sandbox.nextWebhook()).text);
    expect(outcome).toMatchObject({ status: "succeeded", reference });
  });

  test("replaces a refused token once, and prompts the phone once (G10)", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider, fetchToken } = open(sandbox.url);
    const { reference } = await provider.initiate(paymentOf(), at(sandbox.hookUrl), never);
    await fetchToken();
    const other = paymentOf({ phone: "+254712345700" });
    expect(await initiated(provider, other)).toMatch(/^accepted ws_CO_/);
    expect(sandbox.phone.prompts("+254712345700")).toHaveLength(1);
    await fetchToken();
    expect(await provider.confirm(paymentOf({ reference }), never)).toEqual({ status: "processing", source: "query" });
  });

  test("declines without an access token, and the query throws", async () => {
    const sandbox = await startSandbox("daraja");
    const { provider } = open(sandbox.url, { account: { CONSUMER_SECRET: "wrong" } });
    expect(await initiated(provider)).toBe("declined provider_error");
    await expect(provider.confirm(paymentOf({ reference }), never)).rejects.toThrow(Declined);
    expect(sandbox.phone.prompts("+254712345600")).toEqual([]);
  });

  test("declines with wrong settings", async () => {
    const sandbox = await startSandbox("daraja");
    for (const account of [{ PASSKEY: "wrong" }, { SHORTCODE: "600000" }, { PARTY_B: "x" }]) {
      expect(await initiated(open(sandbox.url, { account }).provider)).toBe("declined provider_error");
    }
  });
});

describe("initiate", () => {
  test("sends the documented fields within their limits", async () => {
    const { provider, asked } = await script([fixture("daraja", "push-accepted")]);
    const payment = paymentOf({ orderId: "shop:2026-11-20:ORD-1001", description: "Café für zwei – Büfett" });
    const before = nairobi(Date.now());
    await provider.initiate(payment, urls, never);
    const { path, authorization, body } = asked[0] ?? expect.unreachable("no call was sent");
    expect(path).toBe("/mpesa/stkpush/v1/processrequest");
    expect(authorization).toBe("Bearer token-1");
    const { Timestamp, Password, ...fields } = body as { Timestamp: string; Password: string };
    expect(Timestamp >= before && Timestamp <= nairobi(Date.now())).toBe(true);
    expect(Buffer.from(Password, "base64").toString()).toBe(account.SHORTCODE + account.PASSKEY + Timestamp);
    expect(fields).toEqual({
      BusinessShortCode: "174379",
      TransactionType: "CustomerPayBillOnline",
      Amount: 150,
      PartyA: "254712345600",
      PartyB: "174379",
      PhoneNumber: "254712345600",
      CallBackURL: urls.webhook.href,
      AccountReference: "-20:ORD-1001",
      TransactionDesc: "Cafe fur zwei",
    });
  });

  test("sends the order's id if the description has no allowed characters", async () => {
    const { provider, asked } = await script([fixture("daraja", "push-accepted"), fixture("daraja", "push-accepted")]);
    await provider.initiate(paymentOf(), urls, never);
    await provider.initiate(paymentOf({ description: "दो टिकट" }), urls, never);
    expect(asked.map(({ body }) => body.TransactionDesc)).toEqual(["ORD-1001", "ORD-1001"]);
  });

  test.each<[string, Scripted]>([
    ["HTML", { status: 502, text: "<html><body>Bad Gateway</body></html>" }],
    ["nothing", { status: 200, text: "" }],
    ["503 without an envelope", { status: 503, body: {} }],
    ["an envelope with an unknown code", { status: 500, body: { errorCode: "500.009.99", errorMessage: "?" } }],
    ["an acceptance without a reference", { body: { ResponseCode: "0" } }],
    ["a reference without an acceptance", { body: { CheckoutRequestID: reference } }],
    ["a reference that is none", { body: { ResponseCode: "0", CheckoutRequestID: "\u0000" } }],
    ["null", { body: null }],
    ["a redirect", { status: 302, body: {} }],
  ])("reads %s as unknown, and sends one request (G10)", async (_what, answer) => {
    const { provider, asked } = await script([answer]);
    expect(await initiated(provider)).toBe("unknown");
    expect(asked).toHaveLength(1);
  });

  test("accepts a response code that is a number", async () => {
    const { provider } = await script([{ body: { ResponseCode: 0, CheckoutRequestID: reference } }]);
    expect(await initiated(provider)).toBe(`accepted ${reference}`);
  });

  test("reads silence until the deadline as unknown, and sends no second request (G10)", async () => {
    const { provider, asked } = await script([], { deadlineMs: 50 });
    expect(await initiated(provider)).toBe("unknown");
    expect(asked).toHaveLength(1);
  });

  test("reads a lost connection as unknown, and sends no second request (G10)", async () => {
    const { provider, asked, drop } = await script([]);
    drop();
    expect(await initiated(provider)).toBe("unknown");
    expect(asked).toHaveLength(1);
  });

  test("declines if Safaricom cannot be reached, because nothing was sent", async () => {
    const gone = createServer();
    const url = await listen(gone);
    gone.close();
    await once(gone, "close");
    const client = createClient();
    onTestFinished(() => client.close());
    const accessToken = { token: async () => "token" };
    const provider = createDaraja({ ...account, baseUrl: () => url }, { client, accessToken });
    expect(await initiated(provider)).toBe("declined provider_error");
  });

  test.each(["error-invalid-token", "error-invalid-token-401", "401.003.01", "400.003.01"])(
    "replaces a token refused by %s",
    async (refusal) => {
      const isFixture = refusal.startsWith("error");
      const refused = isFixture
        ? fixture("daraja", refusal)
        : { status: 401, body: { errorCode: refusal, errorMessage: "" } };
      const { provider, asked } = await script([refused, fixture("daraja", "push-accepted")]);
      expect(await initiated(provider)).toMatch(/^accepted/);
      expect(asked.map(({ authorization }) => authorization)).toEqual(["Bearer token-1", "Bearer token-2"]);
    },
  );

  test("declines if the replaced token is refused too", async () => {
    const { provider, asked } = await script(Array(3).fill(fixture("daraja", "error-invalid-token")));
    expect(await initiated(provider)).toBe("declined provider_error");
    expect(asked).toHaveLength(2);
  });

  test("sends nothing for an amount with cents or a foreign phone", async () => {
    const { provider, asked } = await script([]);
    expect(await initiated(provider, paymentOf({ amountMinor: 15_050n }))).toBe("unknown");
    expect(await initiated(provider, paymentOf({ phone: "+255712345600" }))).toBe("unknown");
    expect(asked).toEqual([]);
  });

  test("keeps credentials, tokens and the webhook's URL out of its errors", async () => {
    const secrets = [
      testAccount("daraja").CONSUMER_SECRET,
      testAccount("daraja").PASSKEY,
      "token-1",
      urls.webhook.pathname,
    ];
    const { provider } = await script([fixture("daraja", "error-wrong-credentials"), { status: 502, text: "<html>" }], {
      deadlineMs: 50,
    });
    const noToken = open((await startSandbox("daraja")).url, { account: { CONSUMER_KEY: "wrong" } });
    for (const asked of [provider, provider, provider, noToken.provider]) {
      const error: unknown = await asked.initiate(paymentOf(), urls, never).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of secrets) expect(shown).not.toContain(secret);
    }
  });
});

describe("translate", () => {
  test("reads a webhook without a reference at its secret URL", () => {
    expect(claimOf({ Body: { stkCallback: { ResultCode: 1032 } } })).toEqual({
      paymentId: paymentOf().id,
      proof: "secret",
      outcome: { status: "failed", reason: "cancelled", source: "webhook" },
    });
  });

  test.each([
    [2, "failed", "limit"],
    [3, "failed", "limit"],
    [4, "failed", "limit"],
    [8, "failed", "limit"],
    [17, "failed", "limit"],
    [26, "failed", "provider_error"],
    [1001, "failed", "busy"],
    [1025, "failed", "provider_error"],
    [2028, "failed", "provider_error"],
    [8006, "failed", "wrong_pin"],
    [9999, "failed", "provider_error"],
    [31337, "failed", "provider_error"],
    ["1032", "failed", "cancelled"],
    ["constructor", "failed", "provider_error"],
    ["__proto__", "failed", "provider_error"],
  ])("reads result code %j as %s, %s", (ResultCode, status, reason) => {
    expect(claimOf(callback({ ResultCode })).outcome).toEqual({ status, reason, reference, source: "webhook" });
  });

  test.each([4999, "4999", 2029])("reads no outcome from result code %j", (ResultCode) => {
    expect(claimOf(callback({ ResultCode }))).toEqual({ paymentId: paymentOf().id, reference, proof: "secret" });
  });

  test.each<[string, object]>([
    ["is missing", success({ Name: "MpesaReceiptNumber", Value: "NLJ7RT61SV" })],
    ["has no value", success({ Name: "Amount" }, receiptItem())],
    ["is null", success({ Name: "Amount", Value: null }, receiptItem())],
    ["is empty", success({ Name: "Amount", Value: "" }, receiptItem())],
    ["stands beside items that are none", success({ Name: 1 }, [], receiptItem())],
  ])("reads a success without an amount if its amount %s", (_what, body) => {
    const { outcome } = claimOf(body);
    expect(outcome).toEqual({ status: "succeeded", reference, receipt: "NLJ7RT61SV", source: "webhook" });
  });

  test.each([1.001, -150, "1e999", "1,500", "١٥٠", { deep: 1 }, [150], 2 ** 60, false])(
    "reads the unreadable amount %j as a mismatch (G8)",
    (Value) => {
      const { outcome } = claimOf(success({ Name: "Amount", Value }, receiptItem()));
      const reason = "amount_mismatch";
      expect(outcome).toEqual({ status: "succeeded", reason, reference, receipt: "NLJ7RT61SV", source: "webhook" });
    },
  );

  test.each<[string, unknown]>([
    ["null", null],
    ["a list", []],
    ["no list of items", { Item: "Amount" }],
    ["a receipt that cannot be stored", { Item: [{ Name: "MpesaReceiptNumber", Value: "A\u0000" }] }],
  ])("reads a success without an amount if its metadata is %s", (_what, CallbackMetadata) => {
    const { outcome } = claimOf(callback({ ResultCode: 0, CallbackMetadata }));
    expect(outcome).toEqual({ status: "succeeded", reference, source: "webhook" });
  });

  test("rejects a webhook without the right secret before reading it (G7)", () => {
    const { provider } = open("http://localhost");
    const body = Buffer.from(JSON.stringify(fixture("daraja", "webhook-success").body));
    expect(() => provider.translate({ headers: {}, body })).toThrow(
      expect.objectContaining({ code: "webhook_rejected" }),
    );
  });

  test.each<[string, string | object]>([
    ["nothing", ""],
    ["HTML", "<html>"],
    ["half of it", '{"Body":{"stkCallback":{'],
    ["null", "null"],
    ["another shape", { Result: { ResultCode: 0 } }],
    ["a reference that cannot be stored", callback({ CheckoutRequestID: "ws\u0000", ResultCode: 0 })],
    ["no result code", callback({})],
    ["an empty result code", callback({ ResultCode: "" })],
    ["a result code without end", '{"Body":{"stkCallback":{"CheckoutRequestID":"ws","ResultCode":1e999}}}'],
    ["nesting without end", '{"Body":'.repeat(10_000)],
    ["nesting where fields should be", `{"Body":${"[".repeat(30_000)}${"]".repeat(30_000)}}`],
  ])("refuses %s as unreadable", (_what, body) => {
    expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
  });

  test("ignores prototype keys in a body", () => {
    const inner = '"__proto__":{"ResultCode":0,"CallbackMetadata":{"Item":[{"Name":"Amount","Value":1}]}}';
    const text = `{"__proto__":{"polluted":1},"Body":{"stkCallback":{"CheckoutRequestID":"ws","ResultCode":1032,${inner}}}}`;
    expect(claimOf(text).outcome).toMatchObject({ status: "failed", reason: "cancelled" });
    expect("polluted" in {}).toBe(false);
  });

  test("returns a claim or throws a HubError for any input", () => {
    const callbackLike = fc.record({
      Body: fc.record({ stkCallback: fc.object({ key: fc.constantFrom("CheckoutRequestID", "ResultCode", "Item") }) }),
    });
    const bytes = fc.uint8Array().map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(bytes, fc.json(), callbackLike), (body) => {
        try {
          expect(claimOf(body).proof).toBe("secret");
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
      }),
    );
  });
});

describe("confirm", () => {
  const payment = paymentOf({ reference });

  test("makes no call for a payment without a reference", async () => {
    const { provider, asked } = await script([]);
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  test("queries with the reference and its own password", async () => {
    const { provider, asked } = await script([fixture("daraja", "query-success")]);
    await provider.confirm(payment, never);
    expect(asked).toMatchObject([{ path: "/mpesa/stkpushquery/v1/query", authorization: "Bearer token-1" }]);
    expect(asked[0]?.body).toEqual({
      BusinessShortCode: "174379",
      Password: expect.any(String),
      Timestamp: expect.stringMatching(/^\d{14}$/),
      CheckoutRequestID: reference,
    });
  });

  const answered = fixture("daraja", "query-success").body;
  test.each<[string, Scripted]>([
    ["a success of another payment", { body: { ...answered, CheckoutRequestID: otherReference } }],
    ["a result of a query that did not run", { body: { ...answered, ResponseCode: "1" } }],
    ["a result code that it does not know", { body: { ...answered, ResultCode: "31337" } }],
    ["no result code", { body: { ResponseCode: "0", CheckoutRequestID: reference } }],
    ["a success within an error", { body: { ...answered, errorCode: "500.001.1001", errorMessage: "" } }],
  ])("reads no evidence from %s", async (_what, answer) => {
    const { provider } = await script([answer]);
    expect(await provider.confirm(payment, never)).toBeUndefined();
  });

  test.each<[string, Scripted]>([
    ["HTML", { status: 502, text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under HTTP 503", { status: 503, body: answered }],
  ])("throws if Safaricom did not answer the query: %s", async (_what, answer) => {
    const { provider } = await script([answer]);
    await expect(provider.confirm(payment, never)).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  test("throws after silence, a lost connection, and a refused connection", async () => {
    const { provider, drop } = await script([], { deadlineMs: 50 });
    await expect(provider.confirm(payment, never)).rejects.toThrow("deadline");
    drop();
    await expect(provider.confirm(payment, never)).rejects.toThrow();
    await expect(open("http://127.0.0.1:1").provider.confirm(payment, never)).rejects.toThrow();
  });

  test("replaces a refused token once", async () => {
    const { provider, asked } = await script([
      fixture("daraja", "error-invalid-token"),
      fixture("daraja", "query-success"),
    ]);
    expect(await provider.confirm(payment, never)).toMatchObject({ status: "succeeded" });
    expect(asked.map(({ authorization }) => authorization)).toEqual(["Bearer token-1", "Bearer token-2"]);
  });
});

describe("fetchDarajaToken", () => {
  test.each([3599, "3599"])("reads a lifetime of %j", async (expires_in) => {
    const { fetchToken } = await openTokens({ body: { access_token: "token", expires_in } });
    expect(await fetchToken()).toEqual({ token: "token", lifetimeS: 3_599 });
  });

  test.each<[string, Scripted]>([
    ["nothing", { status: 400, text: "" }],
    ["HTML", { status: 503, text: "<html>secret</html>" }],
    ["a token without lifetime", { body: { access_token: "secret" } }],
    ["a lifetime that is none", { body: { access_token: "secret", expires_in: "" } }],
    ["an error", { status: 400, body: { errorCode: "400.008.01", errorMessage: "secret" } }],
    ["a token under an error", { status: 500, body: { access_token: "secret", expires_in: 3599 } }],
  ])("throws without a secret if Safaricom answers the token call with %s", async (_what, answer) => {
    const { fetchToken } = await openTokens(answer);
    const error = await fetchToken().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "provider_unavailable", message: expect.stringContaining("HTTP") });
    expect(inspect(error, { depth: 20 })).not.toMatch(/secret/);
  });
});

/** A Safaricom that returns this answer to each token call. */
async function openTokens({ status = 200, body, text }: Scripted): Promise<Opened> {
  const server = createServer((_request, response) => {
    response.writeHead(status).end(text ?? JSON.stringify(body));
  });
  const url = await listen(server);
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return open(url, { account: { CONSUMER_SECRET: "secret" } });
}

function receiptItem(): object {
  return { Name: "MpesaReceiptNumber", Value: "NLJ7RT61SV" };
}

function nairobi(atMs: number): string {
  const parts = new Intl.DateTimeFormat("sv-SE", {
    timeZone: "Africa/Nairobi",
    dateStyle: "short",
    timeStyle: "medium",
  }).format(atMs);
  return parts.replace(/\D/g, "");
}
