/**
 * bKash tokenized checkout (Bangladesh). The payer approves the payment on bKash's page and returns; Tukio then takes the
 * money with Execute.
 *
 * The returning browser proves nothing, and bKash sends no webhook for a failed payment. Tukio sends Execute at most once
 * per payment (G10). If the answer is inconclusive Tukio queries the payment and does not send Execute again. The
 * notification of a completed payment only causes a query (notification.ts). bKash blocks a merchant for an hour after more
 * than two token calls in an hour (developer.bka.sh, "Token Management").
 */
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import type { AccessToken, FetchedToken } from "../access-token.ts";
import { defineProvider } from "../define.ts";
import { type Answer, CallFailed, type Client } from "../http-client.ts";
import type { Provider } from "../provider.ts";
import { providerText } from "../provider-text.ts";
import { declineUnreachable } from "../refusal.ts";
import { createTokenClient, fetchToken, lifetime } from "../token-client.ts";
import { isTokenRefused, readAcceptance, readExecution, readQuery } from "./messages.ts";
import { authenticate, confirmSubscription, translate } from "./notification.ts";
import { createSnsVerifier, type SnsOptions } from "./sns.ts";

/** bKash issues these to a merchant at go-live. */
const variables = z.object({
  USERNAME: z.string(),
  PASSWORD: z.string(),
  APP_KEY: z.string(),
  APP_SECRET: z.string(),
  /** The SNS topic of the merchant's notifications. Without it Tukio confirms no subscription and checks no signature. */
  SNS_TOPIC_ARN: z
    .string()
    .regex(/^arn:aws(-cn)?:sns:[\w-]+:\d{12}:[\w-]{1,256}$/, "must be the ARN of an SNS topic")
    .optional(),
});

export type BkashAccount = z.infer<typeof variables>;

export const bkash = defineProvider(
  {
    name: "bkash",
    liveBaseUrl: "https://tokenized.pay.bka.sh/v1.2.0-beta",
    testHosts: ["tokenized.sandbox.bka.sh"],
    deadlineS: 1_800,
    credentials: ["USERNAME", "PASSWORD", "APP_KEY", "APP_SECRET"],
    variables,
  },
  (account, { baseUrl, client, accessToken }) => {
    const config = { ...account, baseUrl };
    const fetch = (refreshToken?: string) => fetchBkashToken(config, client, refreshToken);
    return createBkash(config, { client, accessToken: accessToken({ fetch, callsPerHourMax: 2 }) });
  },
);

export interface BkashConfig extends BkashAccount {
  baseUrl: () => string;
}

export interface BkashDependencies {
  client: Client;
  accessToken: AccessToken;
  /** The deadline of each call. By default 30 s for Execute and 10 s for other calls. */
  deadlineMs?: number;
  /** For tests: replaces parts of the signature check. */
  sns?: SnsOptions;
}

/** 30 s, because bKash documents it as the longest time that Execute takes (developer.bka.sh, "Checkout (URL Based)"). */
const executeDeadlineMs = 30_000;

/**
 * BDT with two decimals. bKash documents no limits of the API, and refuses what a wallet cannot pay. The maximum is BDT
 * 500,000, because a wallet holds at most that (unverified).
 */
const limits = { minMinor: 100n, maxMinor: 50_000_000n, stepMinor: 1n } as const;

const text = z.string().regex(/^[\x21-\x7e]{1,8192}$/);

const tokenReply = z.object({
  statusCode: z.literal("0000").optional(),
  id_token: text,
  expires_in: lifetime,
  refresh_token: text.optional().catch(undefined),
});

export function createBkash(
  config: BkashConfig,
  { client, accessToken, deadlineMs, sns }: BkashDependencies,
): Provider {
  const verifySns = createSnsVerifier(sns);

  const tokens = createTokenClient(accessToken, isTokenRefused);

  const post = (path: string, body: object, call: { signal: AbortSignal; deadlineMs?: number }): Promise<Answer> =>
    tokens.call((token) =>
      client.call({
        method: "POST",
        url: `${config.baseUrl()}/tokenized/checkout${path}`,
        // Without "Bearer", as in bKash's own plugin (bKash-developer/bKash-for-woocommerce).
        headers: { accept: "application/json", authorization: token, "x-app-key": config.APP_KEY },
        body,
        ...call,
        ...(deadlineMs !== undefined && { deadlineMs }),
      }),
    );

  const execute = (paymentID: string, signal: AbortSignal): Promise<Answer | undefined> =>
    post("/execute", { paymentID }, { signal, deadlineMs: executeDeadlineMs }).catch((error: unknown) => {
      // Execute may have arrived. After any other error it was not sent.
      if (error instanceof CallFailed) return undefined;
      throw error;
    });

  return {
    name: "bkash",
    currencies: ["BDT"],
    countries: ["BD"],
    limits,
    statesAmount: true,
    statesReceipt: true,
    needsReference: true,
    acknowledgement: { status: 200, contentType: "text/plain", body: "OK" },
    prepare: tokens.prepare,
    async initiate(payment, urls, signal) {
      const answer = await post("/create", createFields(payment, urls.return), { signal }).catch(declineUnreachable);
      return readAcceptance(answer);
    },
    authenticate: (webhook) => authenticate(webhook, config.SNS_TOPIC_ARN, verifySns),
    translate: (webhook, authenticity = "unsigned") => translate(webhook, config.SNS_TOPIC_ARN, authenticity),
    async confirm(payment, signal) {
      const { reference } = payment;
      if (reference === undefined) return undefined;
      return readQuery(await post("/payment/status", { paymentID: reference }, { signal }), payment);
    },
    confirmSubscription: (url) => confirmSubscription(client, url),
    // A query about a payment that bKash does not have.
    async probe(signal) {
      const { status, body } = await post("/payment/status", { paymentID: "TR0000000000000000000" }, { signal });
      const text = providerText(body, [config.PASSWORD, config.APP_KEY, config.APP_SECRET]);
      return { status, isJson: body !== undefined, text, body };
    },
    checkout: {
      // Proves nothing: the URL's signature is the same for every status (developer.bka.sh, samples of "Create Payment").
      read({ status }) {
        if (status === "success") return "approved";
        if (status === "cancel") return "cancelled";
        return status === "failure" ? "declined" : undefined;
      },
      async complete(payment, signal) {
        if (payment.reference === undefined) return { isConclusive: false };
        return readExecution(await execute(payment.reference, signal), payment);
      },
    },
  };
}

/**
 * Makes one token call: "refresh" with a refresh token, "grant" without. Throws `HubError` `provider_unavailable`, without
 * the credentials.
 */
export async function fetchBkashToken(
  config: BkashConfig,
  client: Client,
  refreshToken?: string,
): Promise<FetchedToken> {
  const isRefresh = refreshToken !== undefined;
  const reply = await fetchToken("bKash", {
    client,
    method: "POST",
    url: `${config.baseUrl()}/tokenized/checkout/token/${isRefresh ? "refresh" : "grant"}`,
    headers: { accept: "application/json", username: config.USERNAME, password: config.PASSWORD },
    body: {
      app_key: config.APP_KEY,
      app_secret: config.APP_SECRET,
      ...(isRefresh && { refresh_token: refreshToken }),
    },
    reply: tokenReply,
  });
  const { id_token: token, expires_in: lifetimeS, refresh_token } = reply;
  return { token, lifetimeS, ...(refresh_token !== undefined && { refreshToken: refresh_token }) };
}

/** Mode 0011 is one payment without an agreement; the intent `sale` takes the money at Execute. */
function createFields(payment: Payment, returnUrl: URL): object {
  const { id, amountMinor } = payment;
  return {
    mode: "0011",
    payerReference: payerReference(payment),
    callbackURL: returnUrl.href,
    amount: `${amountMinor / 100n}.${String(amountMinor % 100n).padStart(2, "0")}`,
    currency: "BDT",
    intent: "sale",
    // The only identifier of ours in the notification.
    merchantInvoiceNumber: id,
  };
}

/** bKash requires the field, and its page takes a wallet number from it. Otherwise the merchant sees the order's id. */
function payerReference({ phone = "", orderId }: Payment): string {
  return /^\+8801\d{9}$/.test(phone) ? phone.slice("+88".length) : orderId;
}
