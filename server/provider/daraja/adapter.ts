/**
 * Safaricom Daraja, M-Pesa Express (STK push): a prompt on the payer's phone, a webhook once they have answered.
 *
 * Safaricom signs nothing and sends each webhook once. The only proof is the secret in the URL we gave it, and a lost
 * webhook is found by asking. There is no idempotency key, so a push whose answer is lost is never sent again.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import type { AccessToken, FetchedToken } from "../access-token.ts";
import { defineProvider } from "../define.ts";
import type { Answer, Client } from "../http-client.ts";
import { mpesaLimits } from "../mpesa.ts";
import { plainText } from "../plain-text.ts";
import type { Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { createTokenClient, fetchToken, lifetime } from "../token-client.ts";
import { isTokenRefused, readAcceptance, readQuery, translate } from "./messages.ts";

const shortcode = z.string().regex(/^\d{5,7}$/, "must be 5 to 7 digits");

/** What Safaricom gives a merchant at go-live. */
const variables = z.object({
  CONSUMER_KEY: z.string(),
  CONSUMER_SECRET: z.string(),
  /** The PayBill number, or a till's head-office number. */
  SHORTCODE: shortcode,
  PASSKEY: z.string(),
  TRANSACTION_TYPE: z.enum(["CustomerPayBillOnline", "CustomerBuyGoodsOnline"]).default("CustomerPayBillOnline"),
  /** Who is paid: the shortcode again, or the till number. */
  PARTY_B: shortcode.optional(),
});

export type DarajaAccount = z.infer<typeof variables>;

/** Safaricom's own sandbox allows five queries a minute for the whole app (tried by an integrator, 2026-06). */
const sandboxHost = "sandbox.safaricom.co.ke";
const sandboxQueriesPerMinute = 5;

export const daraja = defineProvider(
  {
    name: "daraja",
    liveBaseUrl: "https://api.safaricom.co.ke",
    deadlineS: 120,
    queriesPerMinute: (baseUrl) => (new URL(baseUrl).hostname === sandboxHost ? sandboxQueriesPerMinute : undefined),
    variables,
  },
  (account, { baseUrl, client, accessToken }) => {
    const config = { ...account, baseUrl };
    return createDaraja(config, {
      client,
      accessToken: accessToken({ fetch: () => fetchDarajaToken(config, client) }),
    });
  },
);

export interface DarajaConfig extends DarajaAccount {
  baseUrl: () => string;
}

export interface DarajaDependencies {
  client: Client;
  accessToken: AccessToken;
  /** How long Safaricom may take to answer; 10 s by default. */
  deadlineMs?: number;
}

/** Safaricom portal, M-Pesa Express: the limits of AccountReference and TransactionDesc. */
const accountReferenceLengthMax = 12;
const descriptionLengthMax = 13;

const tokenReply = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,4096}$/),
  expires_in: lifetime,
});

export function createDaraja(config: DarajaConfig, { client, accessToken, deadlineMs }: DarajaDependencies): Provider {
  const tokens = createTokenClient(accessToken, isTokenRefused);

  const post = (path: string, fields: object, signal: AbortSignal): Promise<Answer> =>
    tokens.call((token) =>
      client.call({
        method: "POST",
        url: `${config.baseUrl()}${path}`,
        headers: { authorization: `Bearer ${token}` },
        body: { BusinessShortCode: config.SHORTCODE, ...password(config, new Date()), ...fields },
        signal,
        ...(deadlineMs !== undefined && { deadlineMs }),
      }),
    );

  return {
    name: "daraja",
    currencies: ["KES"],
    countries: ["KE"],
    limits: mpesaLimits,
    statesAmount: false,
    statesReceipt: false,
    needsReference: true,
    // In the first 20 s a query is answered "still processing" or "does not exist" (integrators), and it takes as
    // much of Safaricom's quota as any other. A query at 60 s may confirm a failure that the first one reported.
    checksAtS: [30, 60],
    acknowledgement: {
      status: 200,
      contentType: "application/json",
      body: JSON.stringify({ ResultCode: 0, ResultDesc: "Accepted" }),
    },
    prepare: tokens.prepare,
    async initiate(payment, urls, signal) {
      const fields = pushFields(config, payment, urls.webhook);
      const answer = await post("/mpesa/stkpush/v1/processrequest", fields, signal).catch(declineUnreachable);
      return readAcceptance(answer);
    },
    translate,
    async confirm({ reference }, signal) {
      if (reference === undefined) return undefined;
      const answer = await post("/mpesa/stkpushquery/v1/query", { CheckoutRequestID: reference }, signal);
      return readQuery(answer, reference);
    },
  };
}

/**
 * Fetches an access token; at Safaricom a new one kills the one before (portal, "Authorization").
 * Throws `HubError` `provider_unavailable`, which says nothing of the credentials.
 */
export async function fetchDarajaToken(config: DarajaConfig, client: Client): Promise<FetchedToken> {
  const { access_token: token, expires_in: lifetimeS } = await fetchToken("Safaricom", {
    client,
    method: "GET",
    url: `${config.baseUrl()}/oauth/v1/generate?grant_type=client_credentials`,
    headers: { authorization: `Basic ${base64(`${config.CONSUMER_KEY}:${config.CONSUMER_SECRET}`)}` },
    reply: tokenReply,
  });
  return { token, lifetimeS };
}

/** The timestamp within the password must be the one beside it (Safaricom portal, M-Pesa Express). */
function password({ SHORTCODE, PASSKEY }: DarajaAccount, now: Date): { Password: string; Timestamp: string } {
  const timestamp = nairobiTimestamp(now);
  return { Password: base64(SHORTCODE + PASSKEY + timestamp), Timestamp: timestamp };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** `YYYYMMDDHHmmss`. Kenya is three hours ahead of UTC all year. */
function nairobiTimestamp(now: Date): string {
  const ahead = new Date(now.getTime() + 3 * 3_600_000);
  return ahead.toISOString().replace(/\D/g, "").slice(0, 14);
}

function pushFields(config: DarajaAccount, payment: Payment, webhookUrl: URL): object {
  const { phone, amountMinor, orderId, description } = payment;
  assert(phone !== undefined && mpesaLimits.phone.test(phone), "the payment has a phone that can be prompted");
  assert(amountMinor % mpesaLimits.stepMinor === 0n, "the amount is in whole shillings");
  const msisdn = phone.slice(1);
  return {
    TransactionType: config.TRANSACTION_TYPE,
    Amount: Number(amountMinor / mpesaLimits.stepMinor),
    PartyA: msisdn,
    PartyB: config.PARTY_B ?? config.SHORTCODE,
    PhoneNumber: msisdn,
    CallBackURL: webhookUrl.href,
    // The end of an order's name tells it from others better than its beginning.
    AccountReference: orderId.slice(-accountReferenceLengthMax),
    TransactionDesc: plainText(description ?? "", descriptionLengthMax) || plainText(orderId, descriptionLengthMax),
  };
}
