import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Outcome, Payment } from "../../../server/order/order.ts";
import { takeMoney } from "../../../server/payment/complete.ts";
import type { FetchedToken } from "../../../server/provider/access-token.ts";
import { type BkashConfig, bkash, createBkash, fetchBkashToken } from "../../../server/provider/bkash/adapter.ts";
import { readAcceptance, readExecution, readQuery } from "../../../server/provider/bkash/messages.ts";
import { createClient } from "../../../server/provider/http-client.ts";
import {
  type Authenticity,
  type Claim,
  Declined,
  type Provider,
  type Webhook,
} from "../../../server/provider/provider.ts";
import { snsTopicArn, testAccount } from "../../support/account.ts";
import { fixture, startSandbox } from "../../support/sandbox.ts";
import { type ScriptedAnswer, type ScriptedCall, startScriptedProvider } from "../../support/scripted-provider.ts";
import { createSigner } from "../../support/sns.ts";

const never = new AbortController().signal;
const account = { ...testAccount("bkash"), SNS_TOPIC_ARN: snsTopicArn };
const urls = {
  webhook: new URL("https://pay.example/webhooks/bkash/secret-of-the-webhook"),
  return: new URL("https://pay.example/return/secret-of-the-url"),
};
const reference = "TR0011XcVbNm1234567890";
const receipt = "CK250NROQ5";

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id: "0199f2c4-0000-7000-8000-000000000001",
  orderId: "ORD-1001",
  attempt: 1,
  provider: "bkash",
  amountMinor: 15_000n,
  currency: "BDT",
  ...fields,
});
const known = paymentOf({ reference });

const paid = (source: Outcome["source"]): Outcome => ({
  status: "succeeded",
  receipt,
  amountMinor: 15_000n,
  currency: "BDT",
  source,
});

interface Opened {
  provider: Provider;
  fetchToken(refreshToken?: string): Promise<FetchedToken>;
}

/** The adapter at this URL. It keeps a token until that is refused, and then uses the last refresh token. */
function open(url: string, options: { account?: Partial<BkashConfig>; deadlineMs?: number } = {}): Opened {
  const client = createClient();
  onTestFinished(() => client.close());
  const config: BkashConfig = { ...account, baseUrl: () => url, ...options.account };
  const fetchToken = (refreshToken?: string) => fetchBkashToken(config, client, refreshToken);
  let kept: FetchedToken | undefined;
  const accessToken = {
    async token(rejected?: string) {
      if (!kept || kept.token === rejected) kept = await fetchToken(kept?.refreshToken);
      return kept.token;
    },
  };
  const { deadlineMs } = options;
  return {
    provider: createBkash(config, { client, accessToken, ...(deadlineMs !== undefined && { deadlineMs }) }),
    fetchToken,
  };
}

const verbOf = ({ path }: ScriptedCall): string => path.replace("/tokenized/checkout/", "");

interface Scripted extends Opened {
  calls: ScriptedCall[];
  /** The calls other than token calls, in order. */
  asked(): string[];
}

type Answers = Partial<Record<string, ScriptedAnswer | "drop" | "silence">>;

/** A bKash that issues tokens 1, 2, 3 …, and returns these answers by the last part of the path. */
async function script(answers: Answers, options: { deadlineMs?: number } = {}): Promise<Scripted> {
  let tokens = 0;
  const { url, calls } = await startScriptedProvider((call) => {
    const verb = verbOf(call);
    if (verb.startsWith("token/")) {
      tokens += 1;
      const body = { ...fixture("bkash", "token-granted").body, id_token: `token-${tokens}`, refresh_token: "again" };
      return { body };
    }
    const answer = answers[verb] ?? fixture("bkash", "query-initiated");
    return answer === "silence" ? new Promise(() => undefined) : answer;
  });
  const asked = () => calls.map(verbOf).filter((verb) => !verb.startsWith("token/"));
  return { ...open(url, options), calls, asked };
}

const complete = async ({ checkout, ...provider }: Provider, payment = known): Promise<Outcome | undefined> =>
  checkout && takeMoney({ ...provider, checkout }, payment, never);

const initiated = (provider: Provider, payment = paymentOf()): Promise<string> =>
  provider.initiate(payment, urls, never).then(
    (given) => `accepted ${given.reference}`,
    (error: unknown) => (error instanceof Declined ? `declined ${error.reason}` : "unknown"),
  );

const noClient = { call: () => expect.unreachable("translate is pure"), close: async () => undefined };
const noCredential = { token: () => expect.unreachable("translate is pure") };

const webhookOf = (body: unknown): Webhook => ({
  headers: {},
  body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
});

const claimOf = (
  body: unknown,
  topicArn: string | undefined = account.SNS_TOPIC_ARN,
  authenticity?: Authenticity,
): Claim => {
  const { SNS_TOPIC_ARN: _, ...config } = { ...account, baseUrl: () => "" };
  const configured = { ...config, ...(topicArn !== undefined && { SNS_TOPIC_ARN: topicArn }) };
  const provider = createBkash(configured, { client: noClient, accessToken: noCredential });
  return provider.translate(webhookOf(body), authenticity);
};

const signedClaimOf = (body: unknown): Claim => claimOf(body, account.SNS_TOPIC_ARN, "signed");

describe("adapter at the sandbox", () => {
  test("takes the money once after the payer approved on the phone and returned (G10)", async () => {
    const sandbox = await startSandbox("bkash");
    const { provider } = open(sandbox.url);
    const payment = paymentOf({ phone: "+8801712345600" });
    const { reference: given, redirectUrl = "" } = await provider.initiate(payment, urls, never);
    expect(new URL(redirectUrl).origin).toBe(new URL(sandbox.url).origin);
    const asked = paymentOf({ reference: given });
    expect(await provider.confirm(asked, never)).toEqual({ status: "processing", source: "query" });
    const [prompt] = sandbox.phone.prompts("01712345600");
    expect(prompt).toMatchObject({ provider: "bkash", amountMinor: 15_000, currency: "BDT" });
    sandbox.phone.answer(prompt?.id ?? "", "approve");
    expect(await complete(provider, asked)).toEqual({
      ...paid("reply"),
      receipt: expect.stringMatching(/^[A-Z0-9]{10}$/),
    });
    const confirmed = await provider.confirm(asked, never);
    expect(confirmed).toMatchObject({ status: "succeeded", amountMinor: 15_000n, source: "query" });
    const { text, headers } = await sandbox.nextWebhook();
    expect(headers["content-type"]).toMatch(/^text\/plain/);
    expect(claimOf(text)).toEqual({ proof: "none", paymentId: payment.id });
    // bKash refuses the second Execute, and the query returns the result of the first.
    expect(await complete(provider, asked)).toEqual(confirmed);
  });

  test("takes no money without the payer's approval", async () => {
    const sandbox = await startSandbox("bkash");
    const { provider } = open(sandbox.url);
    const { reference: given } = await provider.initiate(paymentOf(), urls, never);
    expect(await complete(provider, paymentOf({ reference: given }))).toEqual({
      status: "processing",
      source: "query",
    });
  });

  test.each([
    ["insufficient_funds", "failed", "insufficient_funds"],
    ["wrong_pin", "failed", "wrong_pin"],
    ["ignore", "expired", "no_response"],
  ] as const)("reads Execute after %s: %s, %s", async (answer, status, reason) => {
    const sandbox = await startSandbox("bkash");
    const { provider } = open(sandbox.url);
    const { reference: given } = await provider.initiate(paymentOf({ phone: "+8801712345600" }), urls, never);
    const [prompt] = sandbox.phone.prompts("01712345600");
    sandbox.phone.answer(prompt?.id ?? "", answer);
    expect(await complete(provider, paymentOf({ reference: given }))).toEqual({ status, reason, source: "reply" });
  });

  test("refreshes an expired token, and repeats no request for money (G10)", async () => {
    let now = new Date("2026-11-20T21:00:00Z");
    const sandbox = await startSandbox("bkash", { now: () => now });
    const { provider } = open(sandbox.url);
    expect(await initiated(provider)).toMatch(/^accepted/);
    now = new Date("2026-11-20T22:00:01Z");
    expect(await initiated(provider)).toMatch(/^accepted/);
  });

  test("declines with wrong settings, with and without a token", async () => {
    for (const wrong of [{ PASSWORD: "wrong" }, { APP_SECRET: "wrong" }]) {
      const sandbox = await startSandbox("bkash");
      expect(await initiated(open(sandbox.url, { account: wrong }).provider)).toBe("declined provider_error");
    }
  });
});

describe("initiate", () => {
  test("sends the documented fields, and the token without Bearer", async () => {
    const { provider, calls } = await script({ create: fixture("bkash", "create-accepted") });
    const payment = paymentOf({ phone: "+8801770618575", amountMinor: 15_005n });
    expect(await provider.initiate(payment, urls, never)).toEqual({
      reference,
      redirectUrl: "https://tokenized.sandbox.bka.sh/redirect/?token=dG9rZW4",
    });
    const [grant, create] = calls;
    expect(grant).toMatchObject({
      path: "/tokenized/checkout/token/grant",
      headers: { username: account.USERNAME, password: account.PASSWORD },
      body: { app_key: account.APP_KEY, app_secret: account.APP_SECRET },
    });
    expect(create).toMatchObject({
      method: "POST",
      path: "/tokenized/checkout/create",
      headers: { authorization: "token-1", "x-app-key": account.APP_KEY },
    });
    expect(create?.body).toEqual({
      mode: "0011",
      payerReference: "01770618575",
      callbackURL: urls.return.href,
      amount: "150.05",
      currency: "BDT",
      intent: "sale",
      merchantInvoiceNumber: payment.id,
    });
  });

  test.each([[undefined], ["+254712345678"], ["+88029876543"]])(
    "sends the order's id as payer reference if the phone is not a wallet: %s",
    async (phone) => {
      const { provider, calls } = await script({ create: fixture("bkash", "create-accepted") });
      await provider.initiate(paymentOf(phone === undefined ? {} : { phone }), urls, never);
      expect(calls.at(-1)?.body.payerReference).toBe("ORD-1001");
    },
  );

  const accepted = fixture("bkash", "create-accepted").body;
  test.each<[string, ScriptedAnswer]>([
    ["another code", { body: { ...accepted, statusCode: "2020" } }],
    ["an error beside it", { body: { ...accepted, errorCode: "9999" } }],
    ["no page to go to", { body: { ...accepted, bkashURL: undefined } }],
    ["a page that is a script", { body: { ...accepted, bkashURL: "javascript:alert(1)" } }],
    ["no payment", { body: { ...accepted, paymentID: "" } }],
    ["a payment that cannot be stored", { body: { ...accepted, paymentID: "TR\u0000" } }],
    ["HTTP 500", { status: 500, body: accepted }],
    ["HTTP 302", { status: 302, body: accepted }],
  ])("reads an acceptance with %s as unknown, and sends one request (G10)", async (_what, answer) => {
    const { provider, asked } = await script({ create: answer });
    expect(await initiated(provider)).toBe("unknown");
    expect(asked()).toEqual(["create"]);
  });

  test.each([
    [403, { message: "Forbidden" }],
    [429, { message: "Limit Exceeded" }],
  ])("declines if the gateway answers %i", async (status, body) => {
    const { provider } = await script({ create: { status, body } });
    expect(await initiated(provider)).toBe("declined provider_error");
  });

  test("reads silence until the deadline as unknown, and sends no second request (G10)", async () => {
    const { provider, asked } = await script({ create: "silence" }, { deadlineMs: 50 });
    expect(await initiated(provider)).toBe("unknown");
    expect(asked()).toEqual(["create"]);
  });

  test("declines if bKash cannot be reached, because nothing was sent", async () => {
    expect(await initiated(open("http://127.0.0.1:1").provider)).toBe("declined provider_error");
  });

  test("refreshes a refused token once, and declines if the new one is refused too", async () => {
    const { provider, calls } = await script({ create: fixture("bkash", "error-token-expired") });
    expect(await initiated(provider)).toBe("declined provider_error");
    expect(calls.map(verbOf)).toEqual(["token/grant", "create", "token/refresh", "create"]);
    expect(calls[2]?.body).toEqual({
      app_key: account.APP_KEY,
      app_secret: account.APP_SECRET,
      refresh_token: "again",
    });
    expect(calls.map(({ headers }) => headers.authorization)).toEqual([undefined, "token-1", undefined, "token-2"]);
  });

  test("keeps credentials, tokens and the return URL out of its errors", async () => {
    const { provider } = await script({ create: { status: 502, text: "<html>" } });
    const noToken = open((await startSandbox("bkash")).url, { account: { USERNAME: "wrong" } });
    for (const asked of [provider, noToken.provider]) {
      const error: unknown = await asked.initiate(paymentOf(), urls, never).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(Error);
      const shown = inspect(error, { depth: 20, showHidden: true });
      for (const secret of [account.PASSWORD, account.APP_SECRET, account.APP_KEY, "token-1", urls.return.pathname]) {
        expect(shown).not.toContain(secret);
      }
    }
  });
});

describe("query string of the payer's return", () => {
  const { provider } = {
    provider: createBkash({ ...account, baseUrl: () => "" }, { client: noClient, accessToken: noCredential }),
  };
  test.each([
    [{ status: "success" }, "approved"],
    [{ status: "cancel" }, "cancelled"],
    [{ status: "failure" }, "declined"],
    [{ status: "Success" }, undefined],
    [{ status: ["success", "cancel"] }, undefined],
    [{ status: { success: "success" } }, undefined],
    [{}, undefined],
  ])("reads %j as %s", (query, result) => {
    expect(provider.checkout?.read(query)).toBe(result);
  });
});

describe("complete", () => {
  test("sends Execute, and no query after a conclusive answer", async () => {
    const { provider, calls, asked } = await script({ execute: fixture("bkash", "execute-completed") });
    expect(await complete(provider)).toEqual(paid("reply"));
    expect(asked()).toEqual(["execute"]);
    expect(calls.at(-1)?.body).toEqual({ paymentID: reference });
  });

  test("accepts a reply without an invoice, a currency and a paymentID", async () => {
    const { provider, asked } = await script({ execute: fixture("bkash", "execute-bare") });
    expect(await complete(provider)).toEqual(paid("reply"));
    expect(asked()).toEqual(["execute"]);
  });

  test("does nothing without a reference", async () => {
    const { provider, calls } = await script({});
    expect(await complete(provider, paymentOf())).toBeUndefined();
    expect(calls).toEqual([]);
  });

  test.each<[number, Outcome["status"], string]>([
    ...[2001, 2006, 2007, 2008, 2025, 2031, 2049, 2055, 2063, 2065].map(
      (code) => [code, "failed", "provider_error"] as [number, "failed", string],
    ),
    ...[2009, 2010, 2016, 2029, 2037, 2038, 2039, 2040, 2041, 2045, 2057, 2058].map(
      (code) => [code, "failed", "declined"] as [number, "failed", string],
    ),
    [2013, "failed", "limit"],
    [2017, "failed", "limit"],
    [2011, "failed", "wrong_pin"],
    [2014, "failed", "wrong_pin"],
    [2015, "failed", "wrong_pin"],
    [2043, "failed", "wrong_pin"],
    [2018, "expired", "no_response"],
    [2019, "expired", "no_response"],
    [2023, "failed", "insufficient_funds"],
  ])("reads %i as conclusive: %s, %s", (code, status, reason) => {
    const outcome = { status, reason, source: "reply" };
    for (const body of [
      { statusCode: String(code), statusMessage: "" },
      { statusCode: code },
      { errorCode: String(code), errorMessage: "" },
    ]) {
      expect(readExecution({ status: 200, body }, known)).toEqual({ isConclusive: true, outcome });
    }
  });

  const completed = fixture("bkash", "execute-completed").body;
  const unsure: [string, ScriptedAnswer | "drop" | "silence"][] = [
    ...[
      "2002",
      "2020",
      "2024",
      "2033",
      "2054",
      "2056",
      "2060",
      "2062",
      "2068",
      "2116",
      "2117",
      "2119",
      "503",
      "9999",
    ].map((statusCode) => [statusCode, { body: { statusCode, statusMessage: "" } }] as [string, ScriptedAnswer]),
    ["a code that it does not know", { body: { statusCode: "31337" } }],
    ["the code of a prototype", { body: { statusCode: "constructor" } }],
    ["a text that speaks of 30 seconds", fixture("bkash", "execute-timeout-text")],
    ["bKash's own time-out", fixture("bkash", "execute-timeout")],
    [
      "bKash's own time-out under a code that refuses",
      { body: { ...fixture("bkash", "execute-timeout").body, statusCode: "2023" } },
    ],
    ["the gateway's time-out", fixture("bkash", "error-timeout")],
    ["HTML", { status: 502, text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under HTTP 500", { status: 500, body: completed }],
    ["a refusal under HTTP 500", { status: 500, body: { statusCode: "2023" } }],
    ["a success of another payment", { body: { ...completed, paymentID: "TR0011other" } }],
    ["a success of another invoice", { body: { ...completed, merchantInvoiceNumber: "INV-1" } }],
    ["a success that is not completed", { body: { ...completed, transactionStatus: "Initiated" } }],
    ["a success without a state", { body: { ...completed, transactionStatus: undefined } }],
    ["a state without a code", { body: { ...completed, statusCode: undefined } }],
    ["a state with an error", { body: { ...completed, errorCode: "9999" } }],
    ["a connection that drops", "drop"],
    ["silence", "silence"],
  ];

  test.each(unsure)(
    "queries once after %s, does not execute again, and uses the answer (G10)",
    async (_what, execute) => {
      const { provider, asked } = await script(
        { execute, "payment/status": fixture("bkash", "query-completed") },
        { deadlineMs: 500 },
      );
      expect(await complete(provider)).toEqual(paid("query"));
      expect(asked()).toEqual(["execute", "payment/status"]);
    },
  );

  test.each(unsure)("stays open after %s if the query is still open", async (_what, execute) => {
    const { provider } = await script({ execute }, { deadlineMs: 500 });
    expect(await complete(provider)).toEqual({ status: "processing", source: "query" });
  });

  test.each([
    ["error-process-failed", "provider_error"],
    ["error-already-cancelled", "cancelled"],
  ] as const)("uses %s after a query without a payment", async (name, reason) => {
    const open = await script({ execute: fixture("bkash", name) });
    expect(await complete(open.provider)).toEqual({ status: "failed", reason, source: "reply" });
    expect(open.asked()).toEqual(["execute", "payment/status"]);
    const moved = await script({
      execute: fixture("bkash", name),
      "payment/status": fixture("bkash", "query-completed"),
    });
    expect(await complete(moved.provider)).toEqual(paid("query"));
    const dumb = await script({ execute: fixture("bkash", name), "payment/status": fixture("bkash", "error-system") });
    expect(await complete(dumb.provider)).toBeUndefined();
  });

  test("throws if neither Execute nor the query is answered", async () => {
    const { provider, asked } = await script({ execute: "drop", "payment/status": "drop" });
    await expect(complete(provider)).rejects.toThrow();
    expect(asked()).toEqual(["execute", "payment/status"]);
  });

  test("executes again only if the gateway refused the token (G10)", async () => {
    let refusals = 1;
    const { url, calls } = await startScriptedProvider((call) => {
      if (verbOf(call).startsWith("token/")) return fixture("bkash", "token-granted");
      return refusals-- > 0 ? fixture("bkash", "error-unauthorized") : fixture("bkash", "execute-completed");
    });
    expect(await complete(open(url).provider)).toEqual(paid("reply"));
    expect(calls.map(verbOf)).toEqual(["token/grant", "execute", "token/refresh", "execute"]);
  });
});

describe("confirm", () => {
  test("makes no call for a payment without a reference", async () => {
    const { provider, calls } = await script({});
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
    expect(calls).toEqual([]);
  });

  test("queries with the paymentID", async () => {
    const { provider, calls } = await script({ "payment/status": fixture("bkash", "query-completed") });
    await provider.confirm(known, never);
    expect(calls.at(-1)).toMatchObject({ path: "/tokenized/checkout/payment/status", body: { paymentID: reference } });
  });

  const completed = fixture("bkash", "query-completed").body;
  test.each<[string, object, Partial<Outcome>]>([
    ["a number", { amount: 150 }, { amountMinor: 15_000n, currency: "BDT" }],
    ["without decimals", { amount: "150" }, { amountMinor: 15_000n, currency: "BDT" }],
    ["another one", { amount: "150.01" }, { amountMinor: 15_001n, currency: "BDT" }],
    ["in another currency", { currency: "USD" }, { currency: "USD" }],
    ["without a currency, of which there is one", { currency: undefined }, { amountMinor: 15_000n, currency: "BDT" }],
    ["in a currency that is none", { currency: "৳" }, { reason: "currency_mismatch" }],
    ["missing", { amount: undefined }, { currency: "BDT" }],
    ["with thousands", { amount: "1,150.00" }, { reason: "amount_mismatch" }],
    ["negative", { amount: "-150.00" }, { reason: "amount_mismatch" }],
    ["with fractions of a poisha", { amount: "150.001" }, { reason: "amount_mismatch" }],
    ["beside a receipt that cannot be stored", { trxID: "A\u0000" }, { amountMinor: 15_000n, currency: "BDT" }],
  ])("reads an amount that is %s", (_what, fields, stated) => {
    const { receipt: _, ...outcome } = readQuery({ status: 200, body: { ...completed, ...fields } }, known) ?? {};
    expect(outcome).toEqual({ status: "succeeded", source: "query", ...stated });
  });

  test.each<[string, ScriptedAnswer | "drop" | "silence"]>([
    ["HTML", { status: 502, text: "<html>" }],
    ["nothing", { text: "" }],
    ["a success under HTTP 503", { status: 503, body: completed }],
    ["a connection that drops", "drop"],
    ["silence", "silence"],
  ])("throws if bKash did not answer the query: %s", async (_what, answer) => {
    const { provider } = await script({ "payment/status": answer }, { deadlineMs: 500 });
    await expect(provider.confirm(known, never)).rejects.toThrow();
  });
});

describe("translate", () => {
  test("reads a signed notification as a hint, without its statements (G7)", () => {
    const { body } = fixture("bkash", "webhook-completed");
    expect(signedClaimOf(body)).toEqual({ proof: "signature", isHint: true, paymentId: known.id });
    expect(claimOf(body, account.SNS_TOPIC_ARN, "unknown")).toEqual({ proof: "none", paymentId: known.id });
  });

  test("finds no payment in a signed notification of another channel", () => {
    const { body } = fixture("bkash", "webhook-other-channel");
    expect(signedClaimOf(body)).toEqual({ proof: "signature", isHint: true });
  });

  const subscription = fixture("bkash", "webhook-subscription").body;
  const subscribe = (SubscribeURL: string): object => ({ ...subscription, SubscribeURL });
  const rejected = expect.objectContaining({ code: "webhook_rejected" });
  const confirmsTopic = `Action=ConfirmSubscription&TopicArn=${account.SNS_TOPIC_ARN}&Token=x`;

  test("returns the subscription of the configured topic", () => {
    const { subscribeUrl, ...claim } = signedClaimOf(subscription);
    expect(subscribeUrl?.href).toBe(subscription.SubscribeURL);
    expect(claim).toEqual({ proof: "signature" });
    const china = `https://sns.cn-north-1.amazonaws.com.cn/?${confirmsTopic}`;
    expect(signedClaimOf(subscribe(china)).subscribeUrl?.href).toBe(china);
  });

  test("refuses an unsigned subscription, and requests another delivery if the signature cannot be checked now", () => {
    const withAuthenticity = (authenticity: Authenticity) => () =>
      claimOf(subscription, account.SNS_TOPIC_ARN, authenticity);
    expect(() => claimOf(subscription)).toThrow(rejected);
    expect(withAuthenticity("unsigned")).toThrow(rejected);
    expect(withAuthenticity("unknown")).toThrow(expect.objectContaining({ code: "provider_unavailable" }));
  });

  test("refuses a subscription of another topic, and every one without a configured topic", () => {
    const TopicArn = "arn:aws:sns:ap-southeast-1:000000000000:other";
    expect(() => signedClaimOf({ ...subscription, TopicArn })).toThrow(rejected);
    expect(() => claimOf(subscription, TopicArn, "signed")).toThrow(rejected);
    const { SNS_TOPIC_ARN: _, ...untold } = { ...account, baseUrl: () => "" };
    const provider = createBkash(untold, { client: noClient, accessToken: noCredential });
    expect(() => provider.translate(webhookOf(subscription), "signed")).toThrow(rejected);
  });

  test.each([
    ["is not encrypted", `http://sns.ap-southeast-1.amazonaws.com/?${confirmsTopic}`],
    ["only begins like Amazon's", `https://sns.ap-southeast-1.amazonaws.com.evil.example/?${confirmsTopic}`],
    ["only ends like Amazon's", `https://sns.evil.example/sns.ap-southeast-1.amazonaws.com?${confirmsTopic}`],
    ["is a bucket", `https://sns.s3-us-west-2.amazonaws.com/?${confirmsTopic}`],
    ["is of another service", `https://s3.ap-southeast-1.amazonaws.com/?${confirmsTopic}`],
    ["has a dot too many", `https://sns.a.b.amazonaws.com/?${confirmsTopic}`],
    ["has a port", `https://sns.ap-southeast-1.amazonaws.com:8443/?${confirmsTopic}`],
    ["has a name", `https://me@sns.ap-southeast-1.amazonaws.com/?${confirmsTopic}`],
    ["has a password", `https://:x@sns.ap-southeast-1.amazonaws.com/?${confirmsTopic}`],
    ["is hidden in a name", `https://sns.ap-southeast-1.amazonaws.com@evil.example/?${confirmsTopic}`],
    ["ends a subscription", `https://sns.ap-southeast-1.amazonaws.com/?${confirmsTopic.replace("Confirm", "Un")}`],
    ["is of another topic", "https://sns.ap-southeast-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:other"],
    ["names two topics", `https://sns.ap-southeast-1.amazonaws.com/?${confirmsTopic}&TopicArn=arn:other`],
    ["is none", "visit us"],
  ])("refuses a subscription URL that %s", (_what, url) => {
    expect(() => signedClaimOf(subscribe(url))).toThrow(rejected);
  });

  test("rejects other types of message", () => {
    expect(() => signedClaimOf({ ...subscription, Type: "UnsubscribeConfirmation" })).toThrow(rejected);
    expect(() => signedClaimOf({ ...subscription, Type: "constructor" })).toThrow(rejected);
  });

  const notification = fixture("bkash", "webhook-completed").body;
  test.each<[string, unknown]>([
    ["nothing", ""],
    ["HTML", "<html>"],
    ["null", "null"],
    ["a list", "[]"],
    ["no fields", {}],
    ["a notification whose message is not JSON", { ...notification, Message: "paid" }],
    ["a notification whose message is no object", { ...notification, Message: "null" }],
    ["a notification without a message", { ...notification, Message: undefined }],
    ["nesting without end", '{"Type":'.repeat(10_000)],
  ])("refuses %s as unreadable", (_what, body) => {
    expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
  });

  test("returns a hint or throws a HubError for any input", () => {
    const message = fc.record({
      Type: fc.constantFrom("Notification", "SubscriptionConfirmation", "x"),
      TopicArn: fc.constantFrom(account.SNS_TOPIC_ARN, "x"),
      Message: fc.oneof(fc.json(), fc.string()),
      SubscribeURL: fc.oneof(fc.webUrl(), fc.string()),
    });
    const bytes = fc.uint8Array().map((array) => Buffer.from(array));
    const authenticity = fc.constantFrom<Authenticity[]>("signed", "unsigned");
    fc.assert(
      fc.property(fc.oneof(bytes, fc.json(), message), authenticity, (body, found) => {
        try {
          const claim = claimOf(body, account.SNS_TOPIC_ARN, found);
          expect(claim).toMatchObject({ proof: found === "signed" ? "signature" : "none" });
          expect(claim).not.toHaveProperty("outcome");
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^webhook_(rejected|unreadable)$/) });
        }
      }),
    );
  });
});

describe("authenticate", () => {
  const signer = createSigner();
  const { body } = fixture("bkash", "webhook-completed");
  const other = "arn:aws:sns:ap-southeast-1:000000000000:other";

  const authenticityOf = async (message: unknown, topicArn?: string): Promise<string> => {
    let fetches = 0;
    const fetchCertificate = async (): Promise<string> => {
      fetches += 1;
      return signer.pem;
    };
    const { SNS_TOPIC_ARN: _, ...config } = { ...account, baseUrl: () => "" };
    const configured = { ...config, ...(topicArn !== undefined && { SNS_TOPIC_ARN: topicArn }) };
    const provider = createBkash(configured, {
      client: noClient,
      accessToken: noCredential,
      sns: { fetchCertificate },
    });
    return `${await provider.authenticate?.(webhookOf(message))}, ${fetches} fetched`;
  };

  test("accepts a signature only for the configured topic", async () => {
    expect(await authenticityOf(signer.sign(body), account.SNS_TOPIC_ARN)).toBe("signed, 1 fetched");
    expect(await authenticityOf({ ...signer.sign(body), Message: "{}" }, account.SNS_TOPIC_ARN)).toBe(
      "unsigned, 1 fetched",
    );
    // Amazon signs messages of anybody's topic.
    expect(await authenticityOf(signer.sign({ ...body, TopicArn: other }), account.SNS_TOPIC_ARN)).toBe(
      "unsigned, 0 fetched",
    );
    expect(await authenticityOf(signer.sign(body))).toBe("unsigned, 0 fetched");
  });

  test.each(["", "<html>", "null", "[]", '{"Type":'.repeat(10_000)])("reads %j as unsigned", async (text) => {
    expect(await authenticityOf(text, account.SNS_TOPIC_ARN)).toBe("unsigned, 0 fetched");
  });
});

describe("noise", () => {
  const word = fc.constantFrom("0000", "2023", "2062", "Completed", "Initiated", reference, "BDT", "150.00", 0, null);
  const noisy = fc.dictionary(
    fc.constantFrom("statusCode", "errorCode", "message", "paymentID", "transactionStatus", "amount", "bkashURL"),
    fc.oneof(word, fc.jsonValue()),
  );
  const anything = fc.oneof(noisy, fc.jsonValue(), fc.constant(undefined));
  const status = fc.constantFrom(200, 201, 302, 400, 401, 404, 429, 500, 503);

  test("makes no success without the code, the state and the payment (G7)", () => {
    const isPaid = (body: unknown): boolean => {
      const { statusCode, errorCode, transactionStatus, paymentID } = Object(body);
      const isOurs = [undefined, null, "", reference].includes(paymentID);
      return statusCode === "0000" && (errorCode ?? null) === null && transactionStatus === "Completed" && isOurs;
    };
    const quietly = <T>(read: () => T): T | undefined => {
      try {
        return read();
      } catch {
        return undefined;
      }
    };
    const completed = { transactionStatus: "Completed", paymentID: reference };
    const examples: [number, unknown][] = [
      [200, { ...completed, errorCode: "0000" }],
      [200, { ...completed, statusCode: "0000", errorCode: {} }],
      [200, { ...completed, statusCode: "0000", paymentID: 0 }],
      [201, { ...completed, statusCode: "0000" }],
    ];
    fc.assert(
      fc.property(status, anything, (status, body) => {
        fc.pre(status !== 200 || !isPaid(body));
        const answer = { status, body };
        expect(readExecution(answer, known).outcome?.status).not.toBe("succeeded");
        expect(quietly(() => readQuery(answer, known))?.status).not.toBe("succeeded");
        expect(quietly(() => readAcceptance(answer))?.reference).toBeUndefined();
      }),
      { numRuns: 2_000, examples },
    );
  });
});

describe("fetchBkashToken", () => {
  test.each([3600, "3600"])("reads a lifetime of %j", async (expires_in) => {
    const { body } = fixture("bkash", "token-granted");
    const { url } = await startScriptedProvider(() => ({ body: { ...body, expires_in } }));
    expect(await open(url).fetchToken()).toEqual({
      token: body.id_token,
      lifetimeS: 3_600,
      refreshToken: body.refresh_token,
    });
  });

  const granted = fixture("bkash", "token-granted").body;
  test.each<[string, ScriptedAnswer]>([
    ["nothing", { text: "" }],
    ["HTML", { status: 503, text: "<html>" }],
    ["a block", fixture("bkash", "token-blocked")],
    ["an error", fixture("bkash", "error-invalid-app-key")],
    ["a token with another code", { body: { ...granted, statusCode: "2001" } }],
    ["a token under an error", { status: 500, body: granted }],
    ["a token that no header takes", { body: { ...granted, id_token: "a\nb" } }],
    ["a lifetime that is none", { body: { ...granted, expires_in: "soon" } }],
  ])("throws without a secret if bKash answers the token call with %s", async (_what, answer) => {
    const { url, calls } = await startScriptedProvider(() => answer);
    const error = await open(url)
      .fetchToken("again")
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "provider_unavailable", message: expect.stringContaining("HTTP") });
    const shown = inspect(error, { depth: 20 });
    for (const secret of [account.PASSWORD, account.APP_SECRET, String(granted.id_token)]) {
      expect(shown).not.toContain(secret);
    }
    expect(calls).toHaveLength(1);
  });

  test("ignores an unusable refresh token", async () => {
    const { url } = await startScriptedProvider(() => ({ body: { ...granted, refresh_token: "a b" } }));
    expect(await open(url).fetchToken()).toEqual({ token: granted.id_token, lifetimeS: 3_600 });
  });
});

test("bkash accepts only an SNS ARN as the topic", () => {
  const { SNS_TOPIC_ARN: _, ...rest } = account;
  expect(() => bkash.configure(rest)).not.toThrow();
  expect(() => bkash.configure({ ...rest, SNS_TOPIC_ARN: "https://sns.example" })).toThrow("ARN of an SNS topic");
});
