/**
 * MTN MoMo Collections (momodeveloper.mtn.com): a prompt on the payer's phone, a webhook once they have answered.
 *
 * The reference is ours and made of the payment's id, so a request whose reply was lost can be asked about with nothing
 * stored. MTN signs nothing, and its webhook does not name the reference: the only proof is the secret in the URL we gave
 * it. MTN counts a repeated reference as the same request; nobody is asked twice all the same.
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
import { isTokenRefused, readAcceptance, readStatus, referenceOf, translate } from "./messages.ts";

/** Sent in a header. */
const visible = z.string().regex(/^[\x21-\x7e]+$/, "must be visible ASCII without spaces");

/** An account of MTN's is of one country, and nearly always of one currency; MTN's own sandbox takes EUR. */
const variables = z.object({
  SUBSCRIPTION_KEY: visible,
  API_USER: visible.refine((user) => !user.includes(":"), "must not have a colon"),
  API_KEY: visible,
  /** `mtnuganda` and its like, or `sandbox`. */
  TARGET_ENVIRONMENT: z.string().regex(/^[a-z]{3,40}$/, "must be such as mtnuganda, or sandbox"),
  /** ISO 4217; a comma list where the account has several. */
  CURRENCY: z
    .string()
    .transform((text) => text.split(",").map((currency) => currency.trim()))
    .pipe(z.array(z.string().regex(/^[A-Z]{3}$/, "must be ISO 4217 codes such as UGX")).min(1)),
});

type MtnAccount = z.infer<typeof variables>;

/** Target environments (MTN's "Common Error" page; Rwanda's is reported by integrators): country and calling code. */
const markets: ReadonlyMap<string, readonly [country: string, callingCode: string]> = new Map([
  ["mtnuganda", ["UG", "256"]],
  ["mtnghana", ["GH", "233"]],
  ["mtnivorycoast", ["CI", "225"]],
  ["mtnzambia", ["ZM", "260"]],
  ["mtncameroon", ["CM", "237"]],
  ["mtnbenin", ["BJ", "229"]],
  ["mtncongo", ["CG", "242"]],
  ["mtnswaziland", ["SZ", "268"]],
  ["mtnguineaconakry", ["GN", "224"]],
  ["mtnsouthafrica", ["ZA", "27"]],
  ["mtnliberia", ["LR", "231"]],
  ["mtnrwanda", ["RW", "250"]],
]);

/** "payerMessage" and "payeeNote": 160 characters (MTN's API definition; which ones is not said, so plain ones only). */
const noteLengthMax = 160;

const tokenReply = z.object({
  access_token: z.string().regex(/^[\x21-\x7e]{1,8192}$/),
  expires_in: lifetime,
});

export const mtn = defineProvider(
  { name: "mtn", liveBaseUrl: "https://proxy.momoapi.mtn.com", deadlineS: 300, variables },
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

  const market = markets.get(config.TARGET_ENVIRONMENT);
  return {
    name: "mtn",
    currencies: config.CURRENCY,
    // The sandbox, and an environment not known here, take phones of any country.
    countries: market ? [market[0]] : [...markets.values()].map(([country]) => country),
    limits: limitsOf(market?.[1]),
    statesAmount: true,
    statesReceipt: true,
    // What MTN wants to hear is not documented.
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

/** MTN documents no least or greatest amount; a wallet has limits of its own, which MTN answers by. */
const limitsOf = (callingCode = ""): Limits => ({
  minMinor: 1n,
  maxMinor: 100_000_000_000n,
  stepMinor: 1n,
  phone: new RegExp(`^\\+${callingCode}\\d{7,12}$`),
});

/**
 * Fetches an access token, with a POST of nothing, whose length must be said: MTN answers 411 otherwise (observed).
 * Throws `HubError` `provider_unavailable`, which says nothing of the credentials.
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
    // Whole amounts as in every sample of MTN's: without decimals.
    amount: formatMinor(amountMinor, minorDigits(currency)).replace(/\.0+$/, ""),
    currency,
    // Comes back in the webhook, and stands in the merchant's history beside the note.
    externalId: id,
    payer: { partyIdType: "MSISDN", partyId: phone.slice(1) },
    payerMessage: plainText(description ?? "", noteLengthMax) || plainText(orderId, noteLengthMax),
    payeeNote: plainText(orderId, noteLengthMax),
  };
}
