/**
 * The adapter reads each fixture with an `expect` as that states: as the reply to the request for money (`initiate`), as the
 * reply to the query (`confirm`), or as a webhook. A new provider adds fixtures and one row in `subjects`.
 */
import { createHmac } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { HubError } from "../../server/errors.ts";
import type { Outcome, Payment } from "../../server/order/order.ts";
import { Declined, type Provider } from "../../server/provider/provider.ts";
import { Throttled } from "../../server/provider/refusal.ts";
import { type ProviderName, providerNames } from "../../server/provider/registry.ts";
import { testAccount } from "../support/account.ts";
import { type Fixture, fixture } from "../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedCall,
  samplePayment,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

/** The payment of a provider's fixtures, as far as it differs from the sample payment. */
const subjects: Record<ProviderName, Partial<Payment>> = {
  daraja: { reference: "ws_CO_13012021093521236557" },
  payhero: { reference: "E8UWT7CLUW" },
  lipana: { reference: "TXN1735725600ABC", amountMinor: 10_000n },
  zenopay: { id: "3b9f407e-3ee8-4525-456f-ccb95de38250", amountMinor: 100_000n },
  bkash: { reference: "TR0011XcVbNm1234567890" },
  mtn: { amountMinor: 5_000n },
};

const never = new AbortController().signal;
const urls = { webhook: new URL("https://pay.example/webhooks/x/1"), return: new URL("https://pay.example/return/2") };

const isToken = ({ path }: ScriptedCall): boolean => /oauth|\/token\//.test(path);

/** The adapter of a provider that issues tokens and returns `answer` to other calls. */
async function open(name: ProviderName, answer: ScriptedAnswer) {
  const token =
    name === "bkash" ? fixture("bkash", "token-granted") : { body: { access_token: "t", expires_in: 3600 } };
  const script = await startScriptedProvider((call) => (isToken(call) ? token : answer));
  return { provider: openProvider(name, script.url), asked: () => script.calls.filter((call) => !isToken(call)) };
}

const initiate = (provider: Provider, payment: Payment): Promise<string> =>
  provider.initiate(payment, urls, never).then(
    ({ reference }) => `accepted ${reference}`,
    (error: unknown) => (error instanceof Declined ? `declined ${error.reason}` : "unknown"),
  );

const confirm = (provider: Provider, payment: Payment): Promise<Outcome | "nothing" | "unavailable"> =>
  provider.confirm(payment, never).then(
    (outcome) => outcome ?? "nothing",
    (error: unknown) => {
      if (error instanceof HubError || error instanceof Throttled) return "unavailable";
      throw error;
    },
  );

/** The form of a fixture, in which amounts are numbers. */
const plain = (value: unknown): unknown =>
  JSON.parse(JSON.stringify(value, (_key, one) => (typeof one === "bigint" ? Number(one) : one)));

/** Reads a webhook with the proof that its provider uses: URL secret, signature or key. */
function readWebhook(name: ProviderName, body: unknown, paymentId: string): unknown {
  const provider = openProvider(name, "http://127.0.0.1:1");
  const bytes = Buffer.from(JSON.stringify(body));
  const signature = createHmac("sha256", testAccount("lipana").WEBHOOK_SECRET).update(bytes).digest("hex");
  const headers = { "x-lipana-signature": signature, "x-api-key": testAccount("zenopay").API_KEY };
  return plain(provider.translate({ headers, body: bytes, ...(!provider.isAccountWide && { paymentId }) }));
}

type Expected = NonNullable<Fixture["expect"]>;

/** The fixtures of a provider with an expectation for this use. */
function expecting<R extends keyof Expected>(name: ProviderName, reading: R) {
  return readdirSync(new URL(`../fixture/${name}/`, import.meta.url)).flatMap((file) => {
    const found = fixture(name, file.replace(/\.json$/, ""));
    const expected = found.expect?.[reading];
    return expected === undefined ? [] : [[file.replace(/\.json$/, ""), found, expected] as const];
  });
}

describe.each(providerNames)("%s", (name) => {
  const payment = samplePayment(name, subjects[name]);

  it.each(expecting(name, "initiate"))("reads %s as the reply to its only request", async (_, answer, expected) => {
    const { provider, asked } = await open(name, answer);
    expect(await initiate(provider, payment)).toBe(expected);
    expect(asked()).toHaveLength(1);
  });

  it.each(expecting(name, "confirm"))("reads %s as the reply to the query", async (_, answer, expected) => {
    const { provider } = await open(name, answer);
    const outcome = typeof expected === "string" ? expected : { ...expected, source: "query" };
    expect(plain(await confirm(provider, payment))).toEqual(outcome);
  });

  it.each(expecting(name, "webhook"))("reads %s as a webhook", (_, { body }, { outcome, ...claim }) => {
    expect(readWebhook(name, body, claim.paymentId ?? payment.id)).toEqual({
      ...claim,
      ...(outcome && { outcome: { ...outcome, source: "webhook" } }),
    });
  });

  it("has fixtures of an accepted request, a paid query and a webhook", () => {
    expect(expecting(name, "initiate").map(([, , expected]) => expected)).toContainEqual(
      expect.stringMatching(/^accepted /),
    );
    expect(expecting(name, "confirm").map(([, , expected]) => expected)).toContainEqual(
      expect.objectContaining({ status: "succeeded" }),
    );
    expect(expecting(name, "webhook")).not.toEqual([]);
  });
});
