/**
 * Safaricom Daraja, M-Pesa Express (STK push). The payer answers a prompt on their phone; Safaricom then sends a webhook.
 *
 * Safaricom signs nothing and sends each webhook once (integrators; the portal's "Account Balance" page states that there
 * are no retries). The only proof is the secret in the URL that we gave it, and a query finds what a lost webhook stated.
 * There is no idempotency key, so Tukio does not repeat a push whose answer was lost (G10).
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

/** Safaricom issues these to a merchant at go-live. */
const variables = z.object({
  CONSUMER_KEY: z.string(),
  CONSUMER_SECRET: z.string(),
  /** The PayBill number, or the head-office number of a till. */
  SHORTCODE: shortcode,
  PASSKEY: z.string(),
  TRANSACTION_TYPE: z.enum(["CustomerPayBillOnline", "CustomerBuyGoodsOnline"]).default("CustomerPayBillOnline"),
  /** The payee: the till number, or by default the shortcode. */
  PARTY_B: shortcode.optional(),
});

export type DarajaAccount = z.infer<typeof variables>;

/** Safaricom's sandbox allows five queries a minute for a whole app (measured by an integrator, 2026-06). */
const sandboxHost = "sandbox.safaricom.co.ke";
const sandboxQueriesPerMinute = 5;

export const daraja = defineProvider(
  {
    name: "daraja",
    liveBaseUrl: "https://api.safaricom.co.ke",
    testHosts: [sandboxHost],
    deadlineS: 120,
    credentials: ["CONSUMER_KEY", "CONSUMER_SECRET"],
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
  /** The deadline of each call: 10 s by default. */
  deadlineMs?: number;
}

/** The lengths of AccountReference and TransactionDesc (Safaricom portal, "M-Pesa Express"). */
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
    // At 30 s, because earlier queries cost quota and are answered "still processing" or "does not exist" (integrators). At
    // 60 s, because the second query may confirm a failure that the first one reported.
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
 * Fetches an access token. A new token invalidates the old one (Safaricom portal, "Authorization").
 * Throws `HubError` `provider_unavailable`, without the credentials.
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

/** The password contains the timestamp, and must be sent with the same one (Safaricom portal, "M-Pesa Express"). */
function password({ SHORTCODE, PASSKEY }: DarajaAccount, now: Date): { Password: string; Timestamp: string } {
  const timestamp = nairobiTimestamp(now);
  return { Password: base64(SHORTCODE + PASSKEY + timestamp), Timestamp: timestamp };
}

const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** `YYYYMMDDHHmmss`. Kenya is always three hours ahead of UTC. */
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
    // The last characters, because ids of orders often share their first ones.
    AccountReference: orderId.slice(-accountReferenceLengthMax),
    TransactionDesc: plainText(description ?? "", descriptionLengthMax) || plainText(orderId, descriptionLengthMax),
  };
}
