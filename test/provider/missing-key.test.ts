/**
 * Removes each key of each fixture in turn. The adapter must read the same, or the key is in the table of required keys. An
 * adapter and a sandbox written from the same document would otherwise agree on a key that the provider never sends.
 */
import { createHmac } from "node:crypto";
import { readdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { HubError } from "../../server/errors.ts";
import { takeMoney } from "../../server/payment/complete.ts";
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
const requiredKeys: Record<ProviderName, Record<string, string>> = {
  daraja: {
    Body: "contains the webhook's content",
    "Body.stkCallback": "contains the webhook's content",
    "Body.stkCallback.ResultCode": "states the outcome",
    "Body.stkCallback.CheckoutRequestID": "has the reference, if the reply to the push was lost",
    "Body.stkCallback.CallbackMetadata": "has amount and receipt",
    "Body.stkCallback.CallbackMetadata.Item": "has amount and receipt",
    "Body.stkCallback.CallbackMetadata.Item[].Name": "names the item",
    "Body.stkCallback.CallbackMetadata.Item[].Value": "has amount and receipt",
    ResponseCode: "states whether the push was accepted",
    CheckoutRequestID: "has the reference, which queries need",
    ResultCode: "states the outcome",
    errorCode: "identifies the gateway's error",
    errorMessage: "distinguishes the meanings of 500.001.1001",
    access_token: "has the token",
    expires_in: "has the token's lifetime",
  },
  payhero: {
    success: "states whether the request was accepted",
    status: "states the state, or that the request was accepted",
    reference: "has the reference, which queries need",
    response: "contains the webhook's content",
    "response.ResultCode": "states the outcome",
    "response.MpesaReceiptNumber": "has the receipt",
    "response.Amount": "has the amount",
    MpesaReceiptNumber: "has the receipt",
    Amount: "has the amount",
    amount: "has the amount",
    provider_reference: "has the receipt",
    message: "states a cancellation without a code",
    transaction_type: "marks a payout",
  },
  lipana: {
    data: "contains the content, unless that is flat",
    "data.transactionId": "has the reference",
    "data.status": "states the outcome",
    "data.amount": "has the amount",
    "data.mpesaReceiptNumber": "has the receipt",
    "data.id": "has the reference, if no other key has it",
    event: "states the outcome without a status and a code",
    transactionId: "has the reference",
    transaction_id: "has the reference",
    reference: "has our account reference, if no other key has it",
    status: "states the outcome",
    result_code: "states the reason",
    amount: "has the amount",
    mpesaReceiptNumber: "has the receipt",
    mpesa_receipt_number: "has the receipt",
    transactions: "contains the list",
    "transactions[].transactionId": "has the reference",
    "transactions[].accountReference": "identifies our transaction",
    "transactions[].amount": "identifies our transaction",
    "transactions[].status": "states the outcome",
    "transactions[].mpesaReceiptNumber": "has the receipt",
  },
  zenopay: {
    status: "states whether the request was accepted",
    result: "states that the request was accepted, without a status",
    data: "contains the order",
    "data[].order_id": "identifies the order",
    "data[].payment_status": "states the state",
    "data[].amount": "has the amount, without which a success is no evidence",
    "data[].transid": "has the receipt",
    payment_status: "states the state",
    "data.payment_status": "states the state",
  },
  bkash: {
    statusCode: "states success, or the error",
    errorCode: "states the error",
    paymentID: "has the reference, in the reply to create",
    bkashURL: "has the page for the payer",
    transactionStatus: "states the state",
    amount: "has the amount",
    trxID: "has the receipt",
    Type: "states the type of message",
    TopicArn: "identifies the topic",
    Message: "contains the notification's content",
    "Message.merchantInvoiceNumber": "identifies the payment",
    SubscribeURL: "has the URL that confirms a subscription",
    id_token: "has the token",
    expires_in: "has the token's lifetime",
  },
  mtn: {
    status: "states the state",
    reason: "states the reason",
    "reason.code": "states the reason",
    amount: "has the amount",
    currency: "determines the decimals of the amount",
    financialTransactionId: "has the receipt",
    code: "states a refusal that the HTTP status does not",
    access_token: "has the token",
    expires_in: "has the token's lifetime",
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
    reply("complete", ({ checkout, ...provider }) => checkout && takeMoney({ ...provider, checkout }, known, never)),
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
    expect(changes.filter(({ key }) => !(key in requiredKeys[name]))).toEqual([]);
  });

  it("has a query reply that is a success", () => {
    expect(confirmed).toContain("succeeded");
  });

  it("requires each key in the table", () => {
    expect(Object.keys(requiredKeys[name]).filter((key) => !required.has(key))).toEqual([]);
  });
});

const text = (_key: string, value: unknown): unknown => (typeof value === "bigint" ? String(value) : value);
