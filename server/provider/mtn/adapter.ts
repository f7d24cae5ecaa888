/**
 * MTN MoMo Collections (momodeveloper.mtn.com). The payer answers a prompt on their phone; MTN then sends a webhook.
 *
 * The reference is derived from the payment's id, so a payment can be queried even if the reply to its request was lost. MTN
 * signs nothing, and its webhook does not contain the reference: the only proof is the secret in the URL that we gave it.
 * MTN treats a repeated reference as the same request; Tukio sends no second request nevertheless (G10).
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import type { AccessToken, FetchedToken } from "../access-token.ts";
import { defineProvider } from "../define.ts";
import type { Answer, Call, Client } from "../http-client.ts";
import { formatMinor, minorDigits } from "../money.ts";
import { plainText } from "../plain-text.ts";
import type { Limits, Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { createTokenClient, fetchToken, lifetime } from "../token-client.ts";
import { callingCodesOf, countriesOf, marketOf } from "./market.ts";
import { isTokenRefused, readAcceptance, readStatus, referenceOf, translate } from "./messages.ts";

/** For values that are sent in a header. */
const visible = z.string().regex(/^[\x21-\x7e]+$/, "must be visible ASCII without spaces");

/** An MTN account has one country and, almost always, one currency; MTN's own sandbox accepts EUR only. */
const variables = z
  .object({
    SUBSCRIPTION_KEY: visible,
    API_USER: visible.refine((user) => !user.includes(":"), "must not have a colon"),
    API_KEY: visible,
    /** Such as `mtnuganda`, or `sandbox`. */
    TARGET_ENVIRONMENT: z.string().regex(/^[a-z]{3,40}$/, "must be an environment such as mtnuganda, or sandbox"),
    /** ISO 4217; several currencies are separated by commas. */
    CURRENCY: z
      .string()
      .transform((text) => text.split(",").map((currency) => currency.trim()))
      .pipe(z.array(z.string().regex(/^[A-Z]{3}$/, "must be ISO 4217 codes such as UGX")).min(1)),
  })
  .superRefine(({ TARGET_ENVIRONMENT, CURRENCY }, { addIssue }) => {
    const market = marketOf(TARGET_ENVIRONMENT);
    if (!market || CURRENCY.every((currency) => market.currencies.includes(currency))) return;
    const message = `must be ${market.currencies.join(" or ")} for ${TARGET_ENVIRONMENT}`;
    addIssue({ code: "custom", path: ["CURRENCY"], message });
  });

type MtnAccount = z.infer<typeof variables>;

/** 160, the limit of `payerMessage` and `payeeNote` in MTN's API definition. It does not define the allowed characters. */
const noteLengthMax = 160;

const tokenReply = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,8192}$/),
  expires_in: lifetime,
});

export const mtn = defineProvider(
  {
    name: "mtn",
    liveBaseUrl: "https://proxy.momoapi.mtn.com",
    testHosts: ["sandbox.momodeveloper.mtn.com"],
    isTestAccount: ({ TARGET_ENVIRONMENT }) => TARGET_ENVIRONMENT === "sandbox",
    deadlineS: 300,
    credentials: ["SUBSCRIPTION_KEY", "API_USER", "API_KEY"],
    variables,
  },
  (account, { baseUrl, client, accessToken }) => {
    const config = { ...account, baseUrl };
    return createMtn(config, { client, accessToken: accessToken({ fetch: () => fetchMtnToken(config, client) }) });
  },
);

export interface MtnConfig extends MtnAccount {
  baseUrl: () => string;
}

export interface MtnDependencies {
  client: Client;
  accessToken: AccessToken;
}

export function createMtn(config: MtnConfig, { client, accessToken }: MtnDependencies): Provider {
  const tokens = createTokenClient(accessToken, isTokenRefused);

  const call = (path: string, { headers, ...rest }: Omit<Call, "url">): Promise<Answer> =>
    tokens.call((token) =>
      client.call({
        url: `${config.baseUrl()}/collection/v1_0${path}`,
        headers: {
          authorization: `Bearer ${token}`,
          "ocp-apim-subscription-key": config.SUBSCRIPTION_KEY,
          "x-target-environment": config.TARGET_ENVIRONMENT,
          ...headers,
        },
        ...rest,
      }),
    );

  const market = marketOf(config.TARGET_ENVIRONMENT);
  return {
    name: "mtn",
    currencies: config.CURRENCY,
    countries: market ? [market.country] : countriesOf(config.CURRENCY),
    countriesOf: (currency) => (market ? [market.country] : countriesOf([currency])),
    // The sandbox and unknown environments accept phones of every country in EUR, which MTN's own sandbox requires.
    limits: { ...limitsOf(market?.callingCode), ...(!market && { phoneIn: sandboxPhoneIn }) },
    statesAmount: true,
    statesReceipt: true,
    // MTN documents no reply.
    acknowledgement: { status: 200, contentType: "text/plain", body: "" },
    prepare: tokens.prepare,
    async initiate(payment, urls, signal) {
      const reference = referenceOf(payment.id);
      const headers = { "x-reference-id": reference, "x-callback-url": urls.webhook.href };
      const body = requestFields(payment);
      const answer = await call("/requesttopay", { method: "POST", headers, body, signal }).catch(declineUnreachable);
      return readAcceptance(answer, reference);
    },
    translate,
    async confirm(payment, signal) {
      const reference = payment.reference ?? referenceOf(payment.id);
      const path = `/requesttopay/${encodeURIComponent(reference)}`;
      return readStatus(await call(path, { method: "GET", headers: {}, signal }), reference);
    },
  };
}

/** MTN's test numbers, which do not look like a number of its countries. */
const testNumbers = "[45]673312345[0-4]";

/** The phones that pay in a currency outside a known market: those of its countries, and MTN's test numbers. */
function sandboxPhoneIn(currency: string): RegExp {
  const codes = callingCodesOf(currency);
  return codes ? new RegExp(`^\\+(?:${testNumbers}|(?=\\d{8,15}$)(?:${codes.join("|")})\\d+)$`) : anyPhone;
}

/** MTN documents no limits of the API, and refuses a payment beyond the limits of the payer's wallet. */
const limitsOf = (callingCode = ""): Limits => ({
  minMinor: 1n,
  maxMinor: 100_000_000_000n,
  stepMinor: 1n,
  // 15 digits at most in E.164; a number of Côte d'Ivoire or Benin has 13.
  phone: new RegExp(`^\\+(?=\\d{8,15}$)${callingCode}\\d+$`),
});

const anyPhone = /^\+\d{8,15}$/;

/**
 * Fetches an access token with a POST without a body. It needs `Content-Length: 0`, because MTN answers 411 otherwise
 * (observed). Throws `HubError` `provider_unavailable`, without the credentials.
 */
export async function fetchMtnToken(config: MtnConfig, client: Client): Promise<FetchedToken> {
  const basic = Buffer.from(`${config.API_USER}:${config.API_KEY}`).toString("base64");
  const { access_token: token, expires_in: lifetimeS } = await fetchToken("MTN", {
    client,
    method: "POST",
    url: `${config.baseUrl()}/collection/token/`,
    headers: { authorization: `Basic ${basic}`, "ocp-apim-subscription-key": config.SUBSCRIPTION_KEY },
    reply: tokenReply,
  });
  return { token, lifetimeS };
}

function requestFields({ id, orderId, phone, amountMinor, currency, description }: Payment): object {
  assert(phone !== undefined, "the payment has a phone that can be prompted");
  return {
    // Whole amounts have no decimals, as in MTN's samples.
    amount: formatMinor(amountMinor, minorDigits(currency)).replace(/\.0+$/, ""),
    currency,
    // The webhook repeats it, and the merchant's history shows it.
    externalId: id,
    payer: { partyIdType: "MSISDN", partyId: phone.slice(1) },
    payerMessage: plainText(description ?? "", noteLengthMax) || plainText(orderId, noteLengthMax),
    payeeNote: plainText(orderId, noteLengthMax),
  };
}
