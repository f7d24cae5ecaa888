/** The classification of HTTP answers, which is the same at every provider. */
import { describe, expect, it } from "vitest";
import type { Payment } from "../../server/order/order.ts";
import { plainText } from "../../server/provider/plain-text.ts";
import { Declined } from "../../server/provider/provider.ts";
import { Throttled } from "../../server/provider/refusal.ts";
import { type ProviderName, providerNames } from "../../server/provider/registry.ts";
import { fixture } from "../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedCall,
  samplePayment,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

const never = new AbortController().signal;
const urls = { webhook: new URL("https://pay.example/webhooks/x/1"), return: new URL("https://pay.example/return/2") };

const paymentOf = (name: ProviderName): Payment => samplePayment(name, { reference: "REF-1001" });

/** An error in the provider's own format. */
const ownError: Record<ProviderName, object> = {
  daraja: { requestId: "r", errorCode: "400.009.99", errorMessage: "Something new" },
  payhero: { success: false, error_code: "SOMETHING_NEW", error_message: "something new" },
  lipana: { success: false, message: "Something new", code: "SOMETHING_NEW" },
  zenopay: { status: "error", message: "Something new" },
  bkash: { message: "Something new" },
  mtn: { code: "SOMETHING_NEW", message: "Something new" },
};

const token = { body: { access_token: "a.token", expires_in: 3600 } };

const isToken = ({ path }: ScriptedCall): boolean => /oauth|\/token\//.test(path);

/** The adapter of a provider that returns `answer` to each call except token calls. */
async function open(name: ProviderName, answer: ScriptedAnswer) {
  const granted = name === "bkash" ? fixture("bkash", "token-granted") : token;
  const script = await startScriptedProvider((call) => (isToken(call) ? granted : answer));
  return { provider: openProvider(name, script.url), script };
}

async function initiated(name: ProviderName, answer: ScriptedAnswer): Promise<string> {
  const { provider } = await open(name, answer);
  return provider.initiate(paymentOf(name), urls, never).then(
    () => "accepted",
    (error: unknown) => (error instanceof Declined ? `declined ${error.reason}` : "unknown"),
  );
}

describe.each(providerNames)("%s", (name) => {
  it("names the provider's own text in the error, without a phone number", async () => {
    const text = "Something new about 254712345678";
    const error = JSON.parse(JSON.stringify(ownError[name]).replace(/"[sS]omething new"/, JSON.stringify(text)));
    const { provider } = await open(name, { status: 400, body: error });
    const refused = await provider.initiate(paymentOf(name), urls, never).catch((thrown: unknown) => thrown);
    expect(refused).toBeInstanceOf(Declined);
    expect(String(refused)).toMatch(/Something new about (\*\*\*|…)/);
    expect(String(refused)).not.toContain("712345678");
  });

  it("keeps the credentials that the provider repeats out of the error", async () => {
    const repeated: string[] = [];
    const script = await startScriptedProvider((call) => {
      if (isToken(call)) return name === "bkash" ? fixture("bkash", "token-granted") : token;
      const sent = Object.entries(call.headers).filter(([header]) => /auth|key/.test(header));
      repeated.push(...sent.map(([, value]) => String(value).replace(/^\w+ /, "")));
      const text = JSON.stringify(`Something new: ${repeated.join(" ")}`);
      return { status: 400, body: JSON.parse(JSON.stringify(ownError[name]).replace(/"[sS]omething new"/, text)) };
    });
    const refused = await openProvider(name, script.url)
      .initiate(paymentOf(name), urls, never)
      .catch((thrown: unknown) => thrown);
    expect(refused).toBeInstanceOf(Declined);
    expect(repeated.filter(({ length }) => length >= 4)).not.toEqual([]);
    for (const secret of repeated) expect(String(refused)).not.toContain(secret);
  });

  it.each([401, 403, 404, 405, 411, 413, 414, 415, 429, 431])(
    "reads a page with HTTP %i as a refusal by the gateway",
    async (status) => {
      expect(await initiated(name, { status, text: "<html><body>No</body></html>" })).toBe("declined provider_error");
    },
  );

  it.each([400, 401, 402, 403, 404, 405, 406, 410, 412, 422, 429, 451])(
    "reads its own error with HTTP %i as a refusal, with any code",
    async (status) => {
      expect(await initiated(name, { status, body: ownError[name] })).toBe("declined provider_error");
    },
  );

  // MTN's 409 means that our reference exists: the request was accepted.
  it.each([408, 425, 499, 500, 502, 503, 504, ...(name === "mtn" ? [] : [409])])(
    "reads HTTP %i as unknown, with its own error and with a page (G10)",
    async (status) => {
      expect(await initiated(name, { status, body: ownError[name] })).toBe("unknown");
      expect(await initiated(name, { status, text: "<html><body>No</body></html>" })).toBe("unknown");
    },
  );

  it.each([
    ["429", { status: 429, body: ownError[name] }, undefined],
    ["429 with a time to wait", { status: 429, text: "", headers: { "retry-after": "7" } }, 7],
    ["503 with a time to wait", { status: 503, text: "", headers: { "retry-after": "30" } }, 30],
    ["Apigee's spike arrest", fixture("daraja", "error-spike-arrest"), undefined],
    ["Apigee's spike arrest with HTTP 500", { ...fixture("daraja", "error-spike-arrest"), status: 500 }, undefined],
  ] as const)("throws Throttled for %s", async (_what, answer, retryAfterS) => {
    const { provider } = await open(name, answer);
    const error = await provider.confirm(paymentOf(name), never).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Throttled);
    expect((error as Throttled).retryAfterS).toBe(retryAfterS);
  });

  it.each([401, 403])("throws provider_unavailable for a query with HTTP %i", async (status) => {
    for (const answer of [
      { status, body: ownError[name] },
      { status, text: "<html>" },
    ]) {
      const { provider } = await open(name, answer);
      await expect(provider.confirm(paymentOf(name), never)).rejects.toMatchObject({ code: "provider_unavailable" });
    }
  });

  it("removes the characters from free text that providers reject", async () => {
    const { provider, script } = await open(name, { status: 400, body: {} });
    const payment = { ...paymentOf(name), orderId: "ORD_1:2.3-4", description: "Tea & <b>#12</b> @ Café d’Été, Nº 5" };
    await provider.initiate(payment, urls, never).catch(() => undefined);
    const sent = script.calls.find((call) => !isToken(call))?.body ?? {};
    const texts = Object.entries(sent).filter(([key]) => /desc|message|note|name|reference|payer/i.test(key));
    for (const [key, value] of texts) {
      if (typeof value === "string") expect(value, key).toMatch(/^[A-Za-z0-9 .,:_-]+$/);
    }
  });
});

it.each([
  ["Tea & <b>#12</b>", 13, "Tea b12b"],
  ["Café  d’Été", 13, "Cafe dEte"],
  ["Twelve chars and more", 13, "Twelve chars"],
  ["চা", 13, ""],
  [" @ # ", 13, ""],
])("plain text reduces %j to at most %i characters: %j", (text, lengthMax, plain) => {
  expect(plainText(text, lengthMax)).toBe(plain);
});
