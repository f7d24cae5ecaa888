/**
 * Removes each key of each fixture in turn. The adapter must read the same, or the key is in the table of required keys. An
 * adapter and a sandbox written from the same document would otherwise agree on a key that the provider never sends.
 */
import { createHmac } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { HubError } from "../../server/errors.ts";
import { accountReferenceOf } from "../../server/provider/lipana/messages.ts";
import { referenceOf } from "../../server/provider/mtn/messages.ts";
import { Declined, type Provider } from "../../server/provider/provider.ts";
import { type ProviderName, providerNames } from "../../server/provider/registry.ts";
import { type Path, placesOf, replaced } from "../attack/noise.ts";
import { testAccount } from "../support/account.ts";
import { type Fixture, fixture } from "../support/sandbox.ts";
import {
  openProvider,
  type ScriptedAnswer,
  type ScriptedCall,
  samplePayment,
  startScriptedProvider,
} from "../support/scripted-provider.ts";

/** The required keys, with the reason. A path is a key in all messages: `Item[].Name` is the key of each item. */
const needed: Record<ProviderName, Record<string, string>> = {
  daraja: {
    Body: "where a webhook's content is",
    "Body.stkCallback": "where a webhook's content is",
    "Body.stkCallback.ResultCode": "how the payment ended",
    "Body.stkCallback.CheckoutRequestID": "the reference, which the reply to the push may not have brought",
    "Body.stkCallback.CallbackMetadata": "amount and receipt",
    "Body.stkCallback.CallbackMetadata.Item": "amount and receipt",
    "Body.stkCallback.CallbackMetadata.Item[].Name": "which item it is",
    "Body.stkCallback.CallbackMetadata.Item[].Value": "amount and receipt",
    ResponseCode: "that a push was accepted, or refused",
    CheckoutRequestID: "the reference: without it nobody can be asked",
    ResultCode: "how the payment ended",
    errorCode: "that it is an error of the gateway's, and which",
    errorMessage: "500.001.1001 has several meanings, which only the text tells apart",
    access_token: "the token",
    expires_in: "how long the token is good for",
  },
  payhero: {
    success: "that a request was taken, or refused",
    status: "how the payment stands, or that a request was taken",
    reference: "the reference: without it nobody can be asked",
    response: "where a webhook's content is",
    "response.ResultCode": "how the payment ended",
    "response.MpesaReceiptNumber": "the receipt",
    "response.Amount": "the amount",
    MpesaReceiptNumber: "the receipt",
    Amount: "the amount",
    amount: "the amount",
    provider_reference: "the receipt",
    message: "that it was cancelled, where there is no code",
    transaction_type: "that it is a payout, and nobody's payment",
  },
  lipana: {
    data: "where a message's content is, if it is not flat",
    "data.transactionId": "the reference",
    "data.status": "how the payment ended",
    "data.amount": "the amount",
    "data.mpesaReceiptNumber": "the receipt",
    "data.id": "the reference, where there is no other name",
    event: "how the payment ended, where no status and no code says so",
    transactionId: "the reference",
    transaction_id: "the reference",
    reference: "our account reference, where there is no other name",
    status: "how the payment ended",
    result_code: "why it ended",
    amount: "the amount",
    mpesaReceiptNumber: "the receipt",
    mpesa_receipt_number: "the receipt",
    transactions: "where the list is",
    "transactions[].transactionId": "the reference",
    "transactions[].accountReference": "which transaction is ours",
    "transactions[].amount": "which transaction is ours",
    "transactions[].status": "how the payment ended",
    "transactions[].mpesaReceiptNumber": "the receipt",
  },
  zenopay: {
    status: "that a request was accepted, or refused",
    result: "that a request was accepted, where there is no status",
    data: "where the order is",
    "data[].order_id": "which order it is about",
    "data[].payment_status": "how the payment stands",
    "data[].amount": "the amount: a success is not believed without",
    "data[].transid": "the receipt",
    payment_status: "how the payment stands",
    "data.payment_status": "how the payment stands",
  },
  bkash: {
    statusCode: "that a call succeeded, or what is wrong",
    errorCode: "what is wrong",
    paymentID: "the reference, in the reply to create",
    bkashURL: "where the payer goes",
    transactionStatus: "how the payment stands",
    amount: "the amount",
    trxID: "the receipt",
    Type: "what kind of message it is",
    TopicArn: "whose messages these are",
    Message: "where a notification's content is",
    "Message.merchantInvoiceNumber": "which payment a notification is about",
    SubscribeURL: "what confirms a subscription",
    id_token: "the token",
    expires_in: "how long the token is good for",
  },
  mtn: {
    status: "how the payment stands",
    reason: "why it failed",
    "reason.code": "why it failed",
    amount: "the amount",
    currency: "the amount's digits",
    financialTransactionId: "the receipt",
    code: "that the request was refused, where the HTTP status does not say so",
    access_token: "the token",
    expires_in: "how long the token is good for",
  },
};

const never = new AbortController().signal;
const urls = { webhook: new URL("https://pay.example/webhooks/x/1"), return: new URL("https://pay.example/return/2") };
const { id: paymentId } = samplePayment("daraja");

/** The keys of the reference; none if we choose it. */
const referenceKeys: Record<ProviderName, readonly string[]> = {
  daraja: ["CheckoutRequestID"],
  payhero: ["reference"],
  lipana: ["transactionId"],
  zenopay: [],
  bkash: ["paymentID"],
  mtn: [],
};

/** The reference in a message, so that the query is about it. */
const namedIn = (name: ProviderName, body: unknown): string | undefined =>
  placesOf(body)
    .filter((path) => referenceKeys[name].includes(String(path.at(-1))))
    .map((path) => path.reduce<unknown>((inner, key) => Object(inner)[key], body))
    .find((value): value is string => typeof value === "string" && value !== "");

type Reading = { what: string; read(body: unknown): Promise<unknown> };

const isToken = ({ path }: ScriptedCall): boolean => /oauth|\/token\//.test(path);

/** Each verb that reads a reply, with its result. An error is represented by its kind, not its message. */
async function readingsOf(name: ProviderName, message: Fixture): Promise<Reading[]> {
  let answer: ScriptedAnswer = {};
  const isTokenReply = "access_token" in message.body || "id_token" in message.body;
  const token =
    name === "bkash" ? fixture("bkash", "token-granted") : { body: { access_token: "t", expires_in: 3600 } };
  const script = await startScriptedProvider((call) => (isToken(call) === isTokenReply ? answer : token));
  const payment = samplePayment(name);
  const reference = name === "mtn" ? referenceOf(paymentId) : (namedIn(name, message.body) ?? "REF-1001");
  const known = { ...payment, reference };
  const reply = (what: string, use: (provider: Provider) => Promise<unknown> | undefined): Reading => ({
    what,
    async read(body) {
      answer = { ...(message.status !== undefined && { status: message.status }), body };
      // A new provider for each, because a provider keeps its token.
      return outcomeOf(async () => use(openProvider(name, script.url)));
    },
  });
  if (isTokenReply) return [reply("token", (provider) => provider.prepare?.())];
  return [
    reply("initiate", (provider) => provider.initiate(payment, urls, never)),
    reply("confirm", (provider) => provider.confirm(known, never)),
    ...(name === "lipana" ? [reply("recover", (provider) => provider.confirm(payment, never))] : []),
    reply("complete", (provider) => provider.checkout?.complete(known, never)),
  ];
}

function webhookReading(name: ProviderName): Reading {
  const provider = openProvider(name, "http://127.0.0.1:1");
  return {
    what: "webhook",
    read: (body) =>
      outcomeOf(async () => {
        const bytes = Buffer.from(JSON.stringify(closed(body)));
        const sign = createHmac("sha256", testAccount("lipana").WEBHOOK_SECRET).update(bytes).digest("hex");
        const headers = { "x-lipana-signature": sign, "x-api-key": testAccount("zenopay").API_KEY };
        return provider.translate({ headers, body: bytes, ...(!provider.isAccountWide && { paymentId }) }, "signed");
      }),
  };
}

async function outcomeOf(read: () => Promise<unknown>): Promise<unknown> {
  try {
    const { redirectUrl: _, ...found } = Object((await read()) ?? { nothing: true });
    return found;
  } catch (error) {
    if (error instanceof Declined) return `declined ${error.reason}`;
    return error instanceof HubError ? error.code : "unknown";
  }
}

const keysOf = (body: unknown): Path[] => placesOf(body).filter((path) => typeof path.at(-1) === "string");

const nameOf = (path: Path): string =>
  path
    .map((key) => (typeof key === "number" ? "[]" : `.${key}`))
    .join("")
    .slice(1);

const without = (body: unknown, path: Path): unknown => JSON.parse(JSON.stringify(replaced(body, path, undefined)));

/** The merchant's identifiers in the fixtures, which the test replaces by ours. */
const placeholders: Partial<Record<ProviderName, readonly (readonly [string, string])[]>> = {
  payhero: [
    ["INV-009", paymentId],
    ["test_ext", paymentId],
  ],
  lipana: [
    ["ORDER-1", accountReferenceOf(paymentId)],
    ['"amount":100,', '"amount":150,'],
  ],
  zenopay: [["3b9f407e-3ee8-4525-456f-ccb95de38250", paymentId]],
};

/** bKash's notification has a JSON text in its message, whose keys are removed too. */
const opened = (body: object): object =>
  "Message" in body && String(body.Message).startsWith("{")
    ? { ...body, Message: JSON.parse(String(body.Message)) }
    : body;

const closed = (body: unknown): unknown => {
  const { Message, ...rest } = Object(body);
  return typeof Message === "object" ? { ...rest, Message: JSON.stringify(Message) } : body;
};

const prepared = (name: ProviderName, body: unknown): unknown =>
  JSON.parse((placeholders[name] ?? []).reduce((text, [from, to]) => text.replaceAll(from, to), JSON.stringify(body)));

/** The keys without which a reading of this body changes. */
async function changesOf(
  readings: readonly Reading[],
  body: unknown,
  whole: ReadonlyMap<string, unknown>,
): Promise<{ what: string; key: string }[]> {
  const changes: { what: string; key: string }[] = [];
  for (const path of keysOf(body)) {
    for (const { what, read } of readings) {
      const found = await read(without(body, path));
      const isSame = JSON.stringify(found, text) === JSON.stringify(whole.get(what), text);
      if (!isSame) changes.push({ what, key: nameOf(path) });
    }
  }
  return changes;
}

describe.each(providerNames)("%s", (name) => {
  const folder = new URL(`../fixture/${name}/`, import.meta.url);
  const messages = readdirSync(folder)
    .map((file) => file.replace(/\.json$/, ""))
    .map((one) => [one, fixture(name, one)] as const)
    .filter(([, { certainty, text }]) => certainty !== "invented" && text === undefined);
  /** The keys whose removal changes what the adapter reads. */
  const required = new Set<string>();
  const confirmed = new Set<string>();

  it.each(messages)("reads %s the same without any key that is not required", async (one, message) => {
    const readings = one.startsWith("webhook-") ? [webhookReading(name)] : await readingsOf(name, message);
    const body = prepared(name, opened(message.body));
    const whole = new Map<string, unknown>();
    for (const { what, read } of readings) whole.set(what, await read(body));
    if (whole.has("confirm")) confirmed.add(String(Object(whole.get("confirm")).status));
    const changes = await changesOf(readings, body, whole);
    for (const { key } of changes) required.add(key);
    expect(changes.filter(({ key }) => !(key in needed[name]))).toEqual([]);
  });

  it("has a query reply that is a success", () => {
    expect(confirmed).toContain("succeeded");
  });

  it("requires each key in the table", () => {
    expect(Object.keys(needed[name]).filter((key) => !required.has(key))).toEqual([]);
  });
});

const text = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);
