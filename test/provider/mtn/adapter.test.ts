import fc from "fast-check";
import { type CountryCode, getExampleNumber, parsePhoneNumberFromString } from "libphonenumber-js/max";
import examples from "libphonenumber-js/mobile/examples";
import { describe, expect, onTestFinished, test } from "vitest";
import type { Payment } from "../../../server/order/order.ts";
import { createClient } from "../../../server/provider/http-client.ts";
import { mtn } from "../../../server/provider/mtn/adapter.ts";
import { readStatus, referenceOf } from "../../../server/provider/mtn/messages.ts";
import { type Claim, Declined, type Provider } from "../../../server/provider/provider.ts";
import { testAccount } from "../../support/account.ts";
import { fixture, startSandbox } from "../../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedProvider,
  startScriptedProvider,
} from "../../support/scripted-provider.ts";

const account = testAccount("mtn");
const never = new AbortController().signal;
const urls = {
  webhook: new URL("https://pay.example/webhooks/mtn/secret-of-the-url"),
  return: new URL("https://pay.example/return/secret-of-the-url"),
};

const id = "0199f2c4-0000-7000-8000-000000000001";
const reference = "0199f2c4-0000-4000-8000-000000000001";

const paymentOf = (fields: Partial<Payment> = {}): Payment => ({
  id,
  orderId: "ORD-1001",
  attempt: 1,
  provider: "mtn",
  amountMinor: 5_000n,
  currency: "UGX",
  phone: "+256771234500",
  ...fields,
});

/** An MTN that issues tokens, and returns this answer to other calls. */
async function script(
  answer: ScriptedAnswer | "drop",
): Promise<ScriptedProvider & { provider: Provider; asked(): ScriptedProvider["calls"] }> {
  const { body: token } = fixture("mtn", "token");
  let tokens = 0;
  const remote = await startScriptedProvider(({ path }) => {
    if (!path.startsWith("/collection/token/")) return answer;
    tokens += 1;
    return { body: { ...token, access_token: `token-${tokens}` } };
  });
  const provider = openProvider("mtn", remote.url);
  return { ...remote, provider, asked: () => remote.calls.filter(({ path }) => !path.includes("/token/")) };
}

const initiated = (provider: Provider, payment = paymentOf()): Promise<string> =>
  provider.initiate(payment, urls, never).then(
    (accepted) => `accepted ${accepted.reference}`,
    (error: unknown) => (error instanceof Declined ? `declined ${error.reason}` : "unknown"),
  );

const offer = (variables: Partial<Record<keyof typeof account, string>> = {}): Provider =>
  mtn.configure({ ...account, ...variables })({
    baseUrl: () => "",
    client: { call: () => expect.unreachable("no call is expected"), close: async () => undefined },
    accessToken: () => ({ token: () => expect.unreachable("no call is expected") }),
  });

const claimOf = (body: unknown): Claim =>
  offer().translate({
    paymentId: id,
    headers: {},
    body: Buffer.isBuffer(body) ? body : Buffer.from(typeof body === "string" ? body : JSON.stringify(body)),
  });

const { body: successful } = fixture("mtn", "webhook-successful");

describe("reference", () => {
  test("is the payment's id as a UUID of version 4, unique to the payment", () => {
    expect(referenceOf(id)).toBe(reference);
    fc.assert(
      fc.property(fc.uuid({ version: 7 }), fc.uuid({ version: 7 }), (one, other) => {
        expect(referenceOf(one)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(referenceOf(one) === referenceOf(other)).toBe(one === other);
      }),
    );
  });
});

describe("initiate", () => {
  test("sends the documented fields: our reference, the webhook URL, and the amount as text", async () => {
    const { provider, asked } = await script(fixture("mtn", "request-accepted"));
    expect(await initiated(provider, paymentOf({ description: "2 tickets & a <b>drink</b>" }))).toBe(
      `accepted ${reference}`,
    );
    expect(asked()).toMatchObject([
      {
        method: "POST",
        path: "/collection/v1_0/requesttopay",
        headers: {
          authorization: "Bearer token-1",
          "ocp-apim-subscription-key": account.SUBSCRIPTION_KEY,
          "x-target-environment": "sandbox",
          "x-reference-id": reference,
          "x-callback-url": urls.webhook.href,
          "content-type": "application/json",
        },
      },
    ]);
    expect(asked()[0]?.body).toEqual({
      amount: "5000",
      currency: "UGX",
      externalId: id,
      payer: { partyIdType: "MSISDN", partyId: "256771234500" },
      payerMessage: "2 tickets a bdrinkb",
      payeeNote: "ORD-1001",
    });
  });

  test.each([
    ["UGX", 5_000n, "5000"],
    ["XOF", 1n, "1"],
    ["EUR", 5_000n, "50"],
    ["EUR", 5_050n, "50.50"],
    ["GHS", 7n, "0.07"],
  ])("writes %s %s as %s", async (currency, amountMinor, text) => {
    const { provider, asked } = await script(fixture("mtn", "request-accepted"));
    await initiated(provider, paymentOf({ currency, amountMinor }));
    expect(asked()[0]?.body).toMatchObject({ amount: text, currency });
  });

  test.each(["request-accepted", "error-repeated-reference"])("reads %s as accepted by its status", async (name) => {
    const { provider } = await script({ ...fixture("mtn", name), text: "<html>" });
    expect(await initiated(provider)).toBe(`accepted ${reference}`);
  });

  test("declines with an unknown subscription key, after one new token", async () => {
    const { provider, asked } = await script(fixture("mtn", "error-subscription-key"));
    expect(await initiated(provider)).toBe("declined provider_error");
    expect(asked().map(({ headers }) => headers.authorization)).toEqual(["Bearer token-1", "Bearer token-2"]);
    expect(new Set(asked().map(({ headers }) => headers["x-reference-id"]))).toEqual(new Set([reference]));
  });

  test("declines if MTN issues no token, because nothing was sent", async () => {
    const remote = await startScriptedProvider(() => ({ status: 500, body: {} }));
    const provider = openProvider("mtn", remote.url);
    expect(await initiated(provider)).toBe("declined provider_error");
    await expect(provider.prepare?.()).rejects.toMatchObject({ name: "Declined" });
    expect(remote.calls.every(({ path }) => path === "/collection/token/")).toBe(true);
  });

  test("declines if MTN cannot be reached, because nothing was sent", async () => {
    const client = createClient();
    onTestFinished(() => client.close());
    const accessToken = () => ({ token: async () => "token" });
    const provider = mtn.configure(account)({ baseUrl: () => "http://127.0.0.1:1", client, accessToken });
    expect(await initiated(provider)).toBe("declined provider_error");
  });
});

describe("access token", () => {
  test("is fetched with a POST without a body, with its length", async () => {
    const remote = await startScriptedProvider(({ method, headers, text }) => {
      const isMeasured = method === "POST" && headers["content-length"] === "0" && text === "";
      return isMeasured ? fixture("mtn", "token") : fixture("mtn", "error-length-required");
    });
    await openProvider("mtn", remote.url).prepare?.();
    const basic = Buffer.from(`${account.API_USER}:${account.API_KEY}`).toString("base64");
    expect(remote.calls).toMatchObject([
      {
        path: "/collection/token/",
        headers: { authorization: `Basic ${basic}`, "ocp-apim-subscription-key": account.SUBSCRIPTION_KEY },
      },
    ]);
  });

  test.each([
    ["HTTP 411", fixture("mtn", "error-length-required")],
    ["an empty body", { text: "" }],
    ["no lifetime", { body: { access_token: "x" } }],
    ["a token that no header could carry", { body: { access_token: "a b", expires_in: 3600 } }],
  ])("is unavailable with %s, and the error has no secret", async (_what, answer: ScriptedAnswer) => {
    const remote = await startScriptedProvider(() => answer);
    const error = await openProvider("mtn", remote.url)
      .prepare?.()
      .catch((cause: unknown) => cause);
    expect(error).toMatchObject({ name: "Declined", cause: { code: "provider_unavailable" } });
    expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain(account.API_KEY);
  });

  test("has its lifetime as a number or as text", async () => {
    const remote = await startScriptedProvider(() => ({ body: { access_token: "x", expires_in: "3600" } }));
    await openProvider("mtn", remote.url).prepare?.();
  });
});

describe("confirm", () => {
  const confirmed = async (answer: ScriptedAnswer, fields: Partial<Payment> = {}) => {
    const { provider, asked } = await script(answer);
    const outcome = await provider.confirm(paymentOf(fields), never);
    expect(asked()).toMatchObject([
      {
        method: "GET",
        path: `/collection/v1_0/requesttopay/${reference}`,
        headers: { "x-target-environment": "sandbox" },
      },
    ]);
    return outcome;
  };

  test.each([{}, { reference }])("returns the reference that it derived: %j", async (fields) => {
    expect(await confirmed(fixture("mtn", "status-successful"), fields)).toEqual({
      status: "succeeded",
      receipt: "23503452",
      amountMinor: 5_000n,
      currency: "UGX",
      reference,
      source: "query",
    });
  });

  test.each([
    ["APPROVAL_REJECTED", "failed", "cancelled"],
    ["PAYMENT_NOT_APPROVED", "failed", "cancelled"],
    ["TRANSACTION_CANCELED", "failed", "cancelled"],
    ["EXPIRED", "expired", "no_response"],
    ["COULD_NOT_PERFORM_TRANSACTION", "expired", "no_response"],
    ["NOT_ENOUGH_FUNDS", "failed", "insufficient_funds"],
    ["PAYER_LIMIT_REACHED", "failed", "limit"],
    ["PAYER_NOT_FOUND", "failed", "declined"],
    ["PAYEE_NOT_FOUND", "failed", "declined"],
    ["PAYEE_NOT_ALLOWED_TO_RECEIVE", "failed", "declined"],
    ["NOT_ALLOWED", "failed", "declined"],
    ["LOW_BALANCE_OR_PAYEE_LIMIT_REACHED_OR_NOT_ALLOWED", "failed", "insufficient_funds"],
    ["SENDER_ACCOUNT_NOT_ACTIVE", "failed", "declined"],
    ["PAYEE_LIMIT_REACHED", "failed", "limit"],
    ["INSUFFICIENT_BALANCE", "failed", "insufficient_funds"],
    ["PAYER_ACCOUNT_BLOCKED", "failed", "declined"],
    ["USER_CANCELLED", "failed", "cancelled"],
    ["TRANSACTION_TIMED_OUT", "expired", "no_response"],
    ["low_balance", "failed", "insufficient_funds"],
    ["NOT_ALLOWED_TARGET_ENVIRONMENT", "failed", "provider_error"],
    ["INTERNAL_PROCESSING_ERROR", "failed", "provider_error"],
    ["SERVICE_UNAVAILABLE", "failed", "provider_error"],
    ["INVALID_CURRENCY", "failed", "provider_error"],
    ["SOMETHING_NEW", "failed", "provider_error"],
    [undefined, "failed", "provider_error"],
    [42, "failed", "provider_error"],
  ])("reads %s, as text or in an object, as %s %s", async (word, status, reason) => {
    const { body } = fixture("mtn", "status-failed");
    for (const given of [word, { code: word, message: "" }]) {
      const outcome = await confirmed({ body: { ...body, reason: given } });
      expect(outcome).toEqual({ status, reason, reference, source: "query" });
    }
  });

  test.each([404, 400, 202])("reads no evidence from HTTP %i with any body", async (status) => {
    const { provider } = await script({ ...fixture("mtn", "status-successful"), status });
    expect(await provider.confirm(paymentOf(), never)).toBeUndefined();
  });

  test("reads no evidence from a 404 without a body", async () => {
    expect(await confirmed({ status: 404, text: "" })).toBeUndefined();
  });

  test.each([500, 502, 503])("throws for HTTP %i", async (status) => {
    const { provider } = await script({ ...fixture("mtn", "status-successful"), status });
    await expect(provider.confirm(paymentOf(), never)).rejects.toMatchObject({ code: "provider_unavailable" });
  });

  test("reads the amount by the currency's minor unit", async () => {
    const paid = async (fields: object) => {
      const outcome = await confirmed({ body: { ...fixture("mtn", "status-successful").body, ...fields } });
      return [outcome?.amountMinor, outcome?.currency, outcome?.reason].filter((value) => value !== undefined);
    };
    expect(await paid({ amount: "50.5", currency: "EUR" })).toEqual([5_050n, "EUR"]);
    expect(await paid({ amount: "5000.00", currency: "UGX" })).toEqual([5_000n, "UGX"]);
    expect(await paid({ amount: "50.50", currency: "UGX" })).toEqual(["amount_mismatch"]);
    expect(await paid({ amount: "-1", currency: "EUR" })).toEqual(["amount_mismatch"]);
    expect(await paid({ amount: undefined, currency: "EUR" })).toEqual(["EUR"]);
    expect(await paid({ amount: "5000", currency: undefined })).toEqual([]);
    expect(await paid({ amount: "5000", currency: "ugx" })).toEqual([5_000n, "UGX"]);
    expect(await paid({ amount: "5000", currency: "shillings" })).toEqual(["currency_mismatch"]);
  });

  test("makes no success of noise (G7)", () => {
    const key = fc.constantFrom("status", "reason", "amount", "currency", "code");
    const value = fc.constantFrom("PENDING", "FAILED", "successful", "SUCCESS", "5000", 0, null, true);
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.object({ key, values: [value], maxDepth: 2 })), (body) => {
        expect(readStatus({ status: 200, body }, reference)?.status).not.toBe("succeeded");
      }),
    );
  });
});

describe("webhook", () => {
  test("requires only the status", () => {
    const bare = { status: "succeeded", reference, source: "webhook" };
    expect(claimOf({ status: "SUCCESSFUL" }).outcome).toEqual(bare);
    expect(claimOf({ status: "FAILED" }).outcome).toMatchObject({ status: "failed", reason: "provider_error" });
  });

  test("may omit our id, but proves nothing with another payment's (G7)", () => {
    expect(claimOf({ ...successful, externalId: undefined })).toMatchObject({ proof: "secret" });
    for (const externalId of ["0199f2c4-0000-7000-8000-00000000dead", "", 947_354]) {
      expect(claimOf({ ...successful, externalId })).toEqual({ paymentId: id, proof: "none" });
    }
  });

  test("is rejected without the URL's secret (G7)", () => {
    const body = Buffer.from(JSON.stringify(successful));
    expect(() => offer().translate({ headers: {}, body })).toThrow(
      expect.objectContaining({ code: "webhook_rejected" }),
    );
  });

  test.each(["", "{", "[]", "{}", '{"status":"SUCCESS"}', JSON.stringify(fixture("mtn", "status-unknown-word").body)])(
    "%j cannot be read",
    (body) => {
      expect(() => claimOf(body)).toThrow(expect.objectContaining({ code: "webhook_unreadable" }));
    },
  );

  test("makes no success of noise (G7)", () => {
    const key = fc.constantFrom("status", "reason", "amount", "currency", "externalId");
    const value = fc.oneof(fc.string(), fc.constantFrom("PENDING", "FAILED", "SUCCESS", id, 1, null));
    const bytes = fc.uint8Array().map((array) => Buffer.from(array));
    fc.assert(
      fc.property(fc.oneof(bytes, fc.json(), fc.object({ key, values: [value], maxDepth: 2 })), (body) => {
        try {
          expect(claimOf(body).outcome?.status).not.toBe("succeeded");
        } catch (error) {
          expect(error).toMatchObject({ code: "webhook_unreadable" });
        }
      }),
    );
  });
});

describe("adapter at the sandbox", () => {
  test("reads no evidence from the first query, and a success from the second", async () => {
    const sandbox = await startSandbox("mtn");
    const provider = openProvider("mtn", sandbox.url);
    const payment = paymentOf({ amountMinor: 1_050n, currency: "EUR" });
    const accepted = await provider.initiate(payment, { ...urls, webhook: sandbox.hookUrl }, never);
    expect(accepted).toEqual({ reference });
    expect(await provider.confirm(payment, never)).toBeUndefined();
    expect(await provider.confirm(payment, never)).toMatchObject({ status: "processing" });
    const [prompt] = sandbox.phone.prompts("256771234500");
    expect(prompt).toMatchObject({ amountMinor: 1_050, currency: "EUR" });
    sandbox.phone.answer(prompt?.id ?? "", "approve");
    const { method, text } = await sandbox.nextWebhook();
    expect(method).toBe("PUT");
    expect(text).not.toContain(reference);
    const { outcome } = claimOf(text);
    expect(outcome).toMatchObject({ status: "succeeded", amountMinor: 1_050n, currency: "EUR" });
    expect(await provider.confirm(payment, never)).toEqual({ ...outcome, source: "query" });
  });
});

describe("account", () => {
  test("accepts phones of its country", () => {
    const ghana = offer({ TARGET_ENVIRONMENT: "mtnghana", CURRENCY: "GHS" });
    expect(ghana).toMatchObject({ currencies: ["GHS"], countries: ["GH"] });
    expect(ghana.limits.phone?.test("+233241234567")).toBe(true);
    expect(ghana.limits.phone?.test("+256771234500")).toBe(false);
    expect(offer({ TARGET_ENVIRONMENT: "mtnliberia", CURRENCY: "LRD, USD" }).currencies).toEqual(["LRD", "USD"]);
  });

  test.each(["sandbox", "mtnelsewhere"])("accepts phones of any country in %s", (TARGET_ENVIRONMENT) => {
    const { countries, limits } = offer({ TARGET_ENVIRONMENT });
    expect(countries[0]).toBe("UG");
    expect(countries).toContain("RW");
    // MTN's own sandbox has test numbers in Sweden.
    for (const phone of ["+256771234500", "+46733123450"]) {
      expect(parsePhoneNumberFromString(phone)?.isValid()).toBe(true);
      expect(limits.phone?.test(phone)).toBe(true);
    }
  });

  test("states the countries that pay in its currencies", () => {
    expect(offer({ CURRENCY: "UGX" }).countries).toEqual(["UG"]);
    expect(offer({ CURRENCY: "XOF,RWF" }).countries).toEqual(["CI", "BJ", "RW"]);
    // MTN's own sandbox accepts EUR in place of each country's currency.
    expect(offer({ CURRENCY: "EUR" }).countries).toHaveLength(12);
    const { countries, currencies, countriesOf } = offer();
    expect(countries).toHaveLength(12);
    for (const country of countries) {
      expect(
        currencies.filter((currency) => currency !== "EUR" && countriesOf?.(currency).includes(country)),
      ).not.toEqual([]);
    }
  });

  test.each([
    ["mtnuganda", "EUR", "must be UGX for mtnuganda"],
    ["mtnghana", "GHS,UGX", "must be GHS for mtnghana"],
    ["mtnliberia", "EUR", "must be LRD or USD for mtnliberia"],
  ])("refuses for %s the currency %s, which MTN does not accept there", (TARGET_ENVIRONMENT, CURRENCY, message) => {
    expect(() => offer({ TARGET_ENVIRONMENT, CURRENCY })).toThrow(message);
  });

  test("accepts the numbers of every country in the sandbox, of which the longest have 13 digits", () => {
    for (const country of offer().countries) {
      const number = getExampleNumber(country as CountryCode, examples)?.number ?? "";
      expect(offer().limits.phone?.test(number)).toBe(true);
    }
  });

  test.each([
    ["SUBSCRIPTION_KEY", "two words"],
    ["API_KEY", "key\n"],
    ["API_USER", "us:er"],
    ["TARGET_ENVIRONMENT", "MTN Uganda"],
    ["CURRENCY", "ugx"],
    ["CURRENCY", "UGX,"],
  ])("refuses %s %j", (variable, value) => {
    expect(() => offer({ [variable]: value })).toThrow(/must (not )?(be|have)/);
  });
});

test("mtn queries a payment whose connection was lost", async () => {
  const remote = await startScriptedProvider(({ path, method }) => {
    if (path.startsWith("/collection/token/")) return fixture("mtn", "token");
    return method === "POST" ? "drop" : fixture("mtn", "status-pending");
  });
  const provider = openProvider("mtn", remote.url);
  expect(await initiated(provider)).toBe("unknown");
  expect(await provider.confirm(paymentOf(), never)).toEqual({ status: "processing", reference, source: "query" });
});
