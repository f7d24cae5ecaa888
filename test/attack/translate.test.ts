/**
 * Runs `translate` and `confirm` of every provider on noise. They never crash, never make a success of noise, and read the
 * same bytes the same way. The test takes providers and fixtures from the registry, so a new provider is included.
 *
 * Not covered: the meaning of each field of a real message, which each provider's own tests cover.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, it } from "vitest";
import { statuses } from "../../client-sdk/protocol.ts";
import { HubError } from "../../server/errors.ts";
import type { Outcome, Payment } from "../../server/order/order.ts";
import type { Answer, Call } from "../../server/provider/http-client.ts";
import { isStated, parseMinor } from "../../server/provider/money.ts";
import type { Authenticity, Claim, Provider, Webhook } from "../../server/provider/provider.ts";
import { providerNames, registry } from "../../server/provider/registry.ts";
import { storable } from "../../server/validation.ts";
import { providerAccount } from "../support/account.ts";
import {
  at,
  byteNoise,
  fuzz,
  fuzzTimeoutMs,
  headerNoise,
  jsonNoise,
  jsonNoiseWith,
  leavesOf,
  mutations,
  placesOf,
  replaced,
  webhookFixtures,
} from "./noise.ts";

const paymentId = "0199f2c4-0000-7000-8000-000000000001";
const never = new AbortController().signal;

/** The adapter with the sandbox's account. Its provider returns the next of these answers to each call. */
function open(name: (typeof providerNames)[number], answer: (call: Call) => Answer = () => assert.fail()): Provider {
  return registry[name].definition.configure(providerAccount(name))({
    baseUrl: () => "http://definition.invalid",
    client: { call: async (call) => answer(call), close: async () => undefined },
    accessToken: () => ({ token: async () => "token" }),
  });
}

/** The result of reading: a claim, or the code of a `HubError`. */
function read(provider: Provider, webhook: Webhook, authenticity?: Authenticity): Claim | HubError["code"] {
  try {
    return provider.translate(webhook, authenticity);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    assert(error.code === "webhook_rejected" || error.code === "webhook_unreadable", error.code);
    return error.code;
  }
}

const isProvenSuccess = (claim: Claim | string): boolean =>
  typeof claim === "object" && claim.proof !== "none" && claim.outcome?.status === "succeeded";

/** The rules for every claim: PostgreSQL can store it, and it contains no impossible value. */
function checkClaim(claim: Claim): void {
  assert(["signature", "secret", "none"].includes(claim.proof));
  assert(claim.paymentId === undefined || /^[0-9a-f-]{36}$/.test(claim.paymentId), `payment ${claim.paymentId}`);
  for (const text of [claim.reference, claim.outcome?.reference, claim.outcome?.receipt]) {
    assert(text === undefined || (typeof text === "string" && text !== "" && text.length <= 1_024 && storable(text)));
  }
  if (claim.outcome) checkOutcome(claim.outcome);
  if (claim.subscribeUrl) {
    const { protocol, hostname, port, username } = claim.subscribeUrl;
    assert.equal(protocol, "https:");
    assert.match(hostname, /^sns\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$/);
    assert.equal(port + username, "");
  }
}

function checkOutcome({ status, amountMinor, currency }: Outcome): void {
  assert(statuses.includes(status), status);
  assert(amountMinor === undefined || (typeof amountMinor === "bigint" && amountMinor >= 0n));
  assert(currency === undefined || /^[A-Z]{3}$/.test(currency));
}

/** Words and numbers that mean success at some provider. */
const isYes = (value: unknown): boolean =>
  /^"?\s*(-?0+|1|true|success(ful)?|completed?|paid)\s*"?$/i.test(JSON.stringify(value) ?? "");

describe.each(providerNames)("%s", (name) => {
  const provider = open(name);
  const fixtures = [...webhookFixtures(name).values()];
  const bodies = fixtures.map(({ body }) => body);
  const names = [...new Set(bodies.flatMap((body) => placesOf(body).map((path) => String(path.at(-1) ?? ""))))];
  const signed = fixtures.map(({ headers = {} }) => headers);
  const account = Object.values(providerAccount(name));

  /** Noise, noise with the provider's keys, and its webhooks with changes. */
  const body = fc.oneof(
    byteNoise,
    jsonNoise.map(toBytes),
    jsonNoiseWith(names).map(toBytes),
    fc.oneof(...bodies.map(mutations)),
  );
  /** The result of `authenticate`, for providers that have it. */
  const authenticities = fc.constantFrom<Authenticity[]>("signed", "unsigned");
  /** The headers of an unauthenticated client, or those of the provider. */
  const headers = fc.oneof(headerNoise, fc.constantFrom(...signed, { "x-api-key": account[0] ?? "" }));

  it("reads or refuses any bytes, and reads the same bytes the same way", { timeout: fuzzTimeoutMs }, () => {
    fc.assert(
      fc.property(body, headers, fc.boolean(), authenticities, (bytes, fields, isAddressed, authenticity) => {
        const webhook = { body: bytes, headers: fields, ...(isAddressed && { paymentId }) };
        const claim = read(provider, webhook, authenticity);
        if (typeof claim === "object") checkClaim(claim);
        assert.deepEqual(read(provider, { ...webhook, body: Buffer.from(bytes) }, authenticity), claim);
      }),
      fuzz(),
    );
  });

  it("makes no success without the secret or the signature (G7)", { timeout: fuzzTimeoutMs }, () => {
    const real = fc.constantFrom(...bodies).map(toBytes);
    fc.assert(
      fc.property(fc.oneof(real, body), headerNoise, (bytes, fields) => {
        assert(!isProvenSuccess(read(provider, { body: bytes, headers: fields })));
      }),
      fuzz(1_000),
    );
  });

  it("makes no success of noise, even at the payment's own URL (G7)", { timeout: fuzzTimeoutMs }, () => {
    const noise = fc.oneof(
      byteNoise,
      jsonNoise.map(toBytes),
      jsonNoiseWith(names.filter(isTellingNothing)).map(toBytes),
    );
    fc.assert(
      fc.property(noise, headers, (bytes, fields) => {
        assert(!isProvenSuccess(read(provider, { body: bytes, headers: fields, paymentId })));
      }),
      fuzz(1_000),
    );
  });

  it("makes no success of a failed webhook with any one value changed (G7)", { timeout: fuzzTimeoutMs }, () => {
    const unpaid = fixtures.filter(({ body: one, headers: fields = {} }) => {
      const claim = read(provider, { body: toBytes(one), headers: fields, paymentId });
      return typeof claim === "object" && ["failed", "expired"].includes(claim.outcome?.status ?? "");
    });
    // Some providers send webhooks for successes only.
    if (unpaid.length === 0) return;
    const noise = jsonNoise.filter((value) => !isYes(value));
    const spoil = ({ body: one, headers: fields = {} }: (typeof fixtures)[number]) =>
      fc
        .tuple(fc.constantFrom(...leavesOf(one)), noise)
        .map(([path, value]) => ({ body: toBytes(replaced(one, path, value)), headers: fields, paymentId }));
    const spoilt = fc.oneof(...unpaid.map(spoil));
    fc.assert(
      fc.property(spoilt, (webhook) => assert(!isProvenSuccess(read(provider, webhook)))),
      fuzz(1_000),
    );
  });

  it("reads an amount exactly, and an unreadable one as a mismatch (G8)", {
    timeout: fuzzTimeoutMs,
  }, () => {
    const digits = provider.currencies.includes("UGX") ? 0 : 2;
    const stated = fixtures.flatMap(({ body: one, headers: fields = {} }) => {
      const claim = read(provider, { body: toBytes(one), headers: fields, paymentId });
      const minor = typeof claim === "object" ? claim.outcome?.amountMinor : undefined;
      if (minor === undefined) return [];
      const places = leavesOf(one).filter((path) => parseMinor(at(one, path), digits) === minor);
      return places.map((path) => ({ one, fields, path }));
    });
    // A provider whose webhook has no amount is queried for it.
    if (stated.length === 0) return;
    const amounts = fc.oneof(
      fc.double(),
      fc.integer(),
      fc.string(),
      jsonNoise,
      fc.nat().map((n) => `${n / 100}`),
    );
    fc.assert(
      fc.property(fc.constantFrom(...stated), amounts, ({ one, fields, path }, amount) => {
        const claim = read(provider, { body: toBytes(replaced(one, path, amount)), headers: fields, paymentId });
        const outcome = typeof claim === "object" ? claim.outcome : undefined;
        const sent = JSON.parse(JSON.stringify(amount));
        if (outcome?.amountMinor !== undefined) {
          assert(outcome.amountMinor === parseMinor(sent, digits) || at(one, path) === amount);
        } else if (outcome?.status === "succeeded" && isStated(sent)) assert.equal(outcome.reason, "amount_mismatch");
      }),
      fuzz(1_000),
    );
  });

  it("makes no success of a noisy answer to a query (G7)", { timeout: fuzzTimeoutMs }, async () => {
    const noise = fc.oneof(
      fc.record({ status: fc.constantFrom(200, 200, 200, 202, 400, 401, 404, 429, 500, 503), body: jsonNoise }),
      fc.record({ status: fc.integer({ min: 100, max: 599 }), body: jsonNoiseWith(names.filter(isTellingNothing)) }),
    );
    let answer: Answer = { status: 200, body: undefined };
    const asked = open(name, () => answer);
    const payment: Payment = {
      id: paymentId,
      orderId: "ORD-1",
      attempt: 1,
      provider: name,
      amountMinor: 15_000n,
      currency: provider.currencies[0] ?? "KES",
      reference: "REF-1",
    };
    await fc.assert(
      fc.asyncProperty(noise, async (next) => {
        answer = next;
        // An error means that the query failed. It is logged, so it must be an `Error`.
        const outcome = await asked.confirm(payment, never).catch((error: unknown) => assert(error instanceof Error));
        if (outcome) checkOutcome(outcome);
        assert.notEqual(outcome?.status, "succeeded");
      }),
      fuzz(1_000),
    );
  });
});

/** Keys that state no outcome at any provider. */
const isTellingNothing = (word: string): boolean => !/status|result|success|code/i.test(word);

function toBytes(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value) ?? "");
}
