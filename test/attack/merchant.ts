/** Each provider's API as a merchant's own program calls it, past any adapter: with whatever account and address it likes. */
import { randomUUID } from "node:crypto";
import type { ProviderName } from "../../server/provider/registry.ts";
import type { Account } from "../../server/sandbox/server.ts";

export interface Answer {
  status: number;
  headers: Headers;
  /** Empty where there is none, or it is no JSON. */
  body: Record<string, unknown>;
}

export async function call(url: string, init: RequestInit = {}): Promise<Answer> {
  const { status, headers, ...response } = await fetch(url, { redirect: "manual", ...init }).then(async (response) => ({
    status: response.status,
    headers: response.headers,
    text: await response.text(),
  }));
  const isJson = /json/.test(headers.get("content-type") ?? "");
  return { status, headers, body: isJson ? JSON.parse(response.text) : {} };
}

const post = (url: string, headers: Record<string, string>, body?: object): Promise<Answer> =>
  call(url, {
    method: "POST",
    headers: { ...headers, ...(body && { "content-type": "application/json" }) },
    ...(body && { body: JSON.stringify(body) }),
  });

const basic = (user = "", password = ""): string => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;

/** What a merchant does at one provider. */
export interface Merchant {
  /** Ends in 00: a person answers. */
  phone: string;
  /** What the provider answers about an address that is not the node's; absent where it is given none. */
  refusal?: { status: number; body: object };
  /** What a stranger's account is answered with. */
  stranger: { status: number };
  /** Shows who is calling, in the headers of every call after it. Nothing where the account is not known. */
  enter(url: string, account: Account): Promise<{ answer?: Answer; headers: Record<string, string> }>;
  /** Asks for money. */
  ask(
    url: string,
    given: { account: Account; headers: Record<string, string>; phone: string; callback: string },
  ): Promise<Answer>;
}

export const merchants: Record<ProviderName, Merchant> = {
  daraja: {
    phone: "254712345600",
    refusal: { status: 400, body: { errorCode: "400.002.02", errorMessage: "Bad Request - Invalid CallBackURL" } },
    stranger: { status: 400 },
    async enter(url, { CONSUMER_KEY, CONSUMER_SECRET }) {
      const authorization = basic(CONSUMER_KEY, CONSUMER_SECRET);
      const answer = await call(`${url}/oauth/v1/generate?grant_type=client_credentials`, {
        headers: { authorization },
      });
      return { answer, headers: { authorization: `Bearer ${answer.body.access_token}` } };
    },
    ask(url, { account: { SHORTCODE = "", PASSKEY = "" }, headers, phone, callback }) {
      const timestamp = "20261120235931";
      return post(`${url}/mpesa/stkpush/v1/processrequest`, headers, {
        BusinessShortCode: SHORTCODE,
        Password: Buffer.from(SHORTCODE + PASSKEY + timestamp).toString("base64"),
        Timestamp: timestamp,
        TransactionType: "CustomerPayBillOnline",
        Amount: 150,
        PartyA: phone,
        PartyB: SHORTCODE,
        PhoneNumber: phone,
        CallBackURL: callback,
        AccountReference: "ORD-1001",
      });
    },
  },
  payhero: {
    phone: "254712345700",
    refusal: { status: 400, body: { error_code: "BAD_REQUEST", error_message: "invalid callback_url" } },
    stranger: { status: 401 },
    enter: async (_url, { USERNAME, PASSWORD }) => ({ headers: { authorization: basic(USERNAME, PASSWORD) } }),
    ask: (url, { account, headers, phone, callback }) =>
      post(`${url}/payments`, headers, {
        amount: 150,
        phone_number: phone,
        channel_id: Number(account.CHANNEL_ID),
        provider: "m-pesa",
        callback_url: callback,
      }),
  },
  lipana: {
    phone: "254712345800",
    stranger: { status: 401 },
    enter: async (_url, { SECRET_KEY = "" }) => ({ headers: { "x-api-key": SECRET_KEY } }),
    ask: (url, { headers, phone, callback }) =>
      post(`${url}/transactions/push-stk`, headers, {
        phone: `+${phone}`,
        amount: 150,
        callback_url: callback,
        webhookUrl: callback,
      }),
  },
  zenopay: {
    phone: "255712345600",
    refusal: { status: 400, body: { status: "error", message: "Missing or invalid webhook_url" } },
    stranger: { status: 403 },
    enter: async (_url, { API_KEY = "" }) => ({ headers: { "x-api-key": API_KEY } }),
    ask: (url, { headers, phone, callback }) =>
      post(`${url}/mobile_money_tanzania`, headers, {
        order_id: randomUUID(),
        buyer_email: "customer@example.com",
        buyer_name: "John Doe",
        buyer_phone: `0${phone.slice(3)}`,
        amount: 1_000,
        webhook_url: callback,
      }),
  },
  bkash: {
    phone: "8801712345600",
    refusal: { status: 200, body: { statusCode: "2049", statusMessage: "Invalid Merchant Callback URL" } },
    stranger: { status: 401 },
    async enter(url, { USERNAME = "", PASSWORD = "", APP_KEY = "", APP_SECRET }) {
      const credentials = { username: USERNAME, password: PASSWORD };
      const app = { app_key: APP_KEY, app_secret: APP_SECRET };
      const answer = await post(`${url}/tokenized/checkout/token/grant`, credentials, app);
      return { answer, headers: { authorization: String(answer.body.id_token), "x-app-key": APP_KEY } };
    },
    ask: (url, { headers, phone, callback }) =>
      post(`${url}/tokenized/checkout/create`, headers, {
        mode: "0011",
        payerReference: phone.slice(2),
        callbackURL: callback,
        amount: "150.00",
        currency: "BDT",
        intent: "sale",
        merchantInvoiceNumber: randomUUID(),
      }),
  },
  mtn: {
    phone: "256771234500",
    refusal: { status: 500, body: { code: "INVALID_CALLBACK_URL_HOST" } },
    stranger: { status: 401 },
    async enter(url, { SUBSCRIPTION_KEY = "", API_USER, API_KEY }) {
      const key = { "ocp-apim-subscription-key": SUBSCRIPTION_KEY };
      const answer = await post(`${url}/collection/token/`, { ...key, authorization: basic(API_USER, API_KEY) });
      const authorization = `Bearer ${answer.body.access_token}`;
      return { answer, headers: { ...key, authorization, "x-target-environment": "sandbox" } };
    },
    ask: (url, { headers, phone, callback }) =>
      post(
        `${url}/collection/v1_0/requesttopay`,
        { ...headers, "x-reference-id": randomUUID(), "x-callback-url": callback },
        { amount: "5000", currency: "UGX", payer: { partyIdType: "MSISDN", partyId: phone } },
      ),
  },
};

/** What the credentials were when everybody could read them. */
export const publicAccounts: Record<ProviderName, Account> = {
  daraja: {
    CONSUMER_KEY: "sandbox-consumer-key",
    CONSUMER_SECRET: "sandbox-consumer-secret",
    SHORTCODE: "174379",
    PASSKEY: "sandbox-passkey",
  },
  payhero: { USERNAME: "sandbox-username", PASSWORD: "sandbox-password", CHANNEL_ID: "133" },
  lipana: { SECRET_KEY: "lip_sk_test_sandbox", WEBHOOK_SECRET: "sandbox-webhook-secret" },
  zenopay: { API_KEY: "sandbox-api-key" },
  bkash: {
    USERNAME: "sandbox-username",
    PASSWORD: "sandbox-password",
    APP_KEY: "sandbox-app-key",
    APP_SECRET: "sandbox-app-secret",
  },
  mtn: {
    SUBSCRIPTION_KEY: "sandbox-subscription-key",
    API_USER: "5f0e6b0a-3f0c-4f0e-9d59-6a3c1c6f4a11",
    API_KEY: "sandbox-api-key",
  },
};
