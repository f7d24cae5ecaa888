/**
 * bKash tokenized checkout (Bangladesh): the payer agrees on bKash's own page and comes back, and only then do we take
 * the money, by executing the payment.
 *
 * What the returning browser says proves nothing, and bKash tells of failures nowhere else: so money moves at Execute,
 * which is sent once in a payment's life, and when its answer is not sure the query decides, never a second Execute.
 * The notification of a completed payment only makes us ask (notification.ts). Access tokens are rationed: more
 * than two token calls in an hour block the merchant for an hour (developer.bka.sh, "Token Management").
 */
import { z } from "zod";
import type { Outcome, Payment } from "../../order/order.ts";
import type { AccessToken, FetchedToken } from "../access-token.ts";
import { defineProvider } from "../define.ts";
import { type Answer, CallFailed, type Client } from "../http-client.ts";
import type { Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { createTokenClient, fetchToken, lifetime } from "../token-client.ts";
import { isTokenRefused, readAcceptance, readExecution, readQuery } from "./messages.ts";
import { authenticate, confirmSubscription, translate } from "./notification.ts";
import { createSnsVerifier, type SnsOptions } from "./sns.ts";

/** What bKash gives a merchant at go-live. */
const variables = z.object({
  USERNAME: z.string(),
  PASSWORD: z.string(),
  APP_KEY: z.string(),
  APP_SECRET: z.string(),
  /** The topic of the merchant's notifications; without it no subscription is confirmed, and no notification counts as signed. */
  SNS_TOPIC_ARN: z
    .string()
    .regex(/^arn:aws(-cn)?:sns:[\w-]+:\d{12}:[\w-]{1,256}$/, "must be the ARN of an SNS topic")
    .optional(),
});

export type BkashAccount = z.infer<typeof variables>;

export const bkash = defineProvider(
  { name: "bkash", liveBaseUrl: "https://tokenized.pay.bka.sh/v1.2.0-beta", deadlineS: 1_800, variables },
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
  /** How long bKash may take to answer: by default 30 s to Execute, as it documents, and 10 s to anything else. */
  deadlineMs?: number;
  /** How signatures of notifications are checked; something else in tests only. */
  sns?: SnsOptions;
}

const executeDeadlineMs = 30_000;

/**
 * BDT with two decimals. bKash documents no limits of the API; what a wallet may hold and spend is bKash's to refuse, and
 * it holds no more than BDT 500,000 (unverified).
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
        // The token as it is: without "Bearer", as in bKash's own plugin.
        headers: { accept: "application/json", authorization: token, "x-app-key": config.APP_KEY },
        body,
        ...call,
        ...(deadlineMs !== undefined && { deadlineMs }),
      }),
    );

  const confirm = async (payment: Payment, signal: AbortSignal): Promise<Outcome | undefined> => {
    const { reference } = payment;
    if (reference === undefined) return undefined;
    return readQuery(await post("/payment/status", { paymentID: reference }, { signal }), payment);
  };

  const execute = (paymentID: string, signal: AbortSignal): Promise<Answer | undefined> =>
    post("/execute", { paymentID }, { signal, deadlineMs: executeDeadlineMs }).catch((error: unknown) => {
      // No answer, or a lost one. Anything else has surely executed nothing.
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
    confirm,
    confirmSubscription: (url) => confirmSubscription(client, url),
    checkout: {
      // The signature beside it is the same for every status: it proves nothing (developer.bka.sh, samples of create).
      read({ status }) {
        if (status === "success") return "approved";
        if (status === "cancel") return "cancelled";
        return status === "failure" ? "declined" : undefined;
      },
      async complete(payment, signal) {
        if (payment.reference === undefined) return undefined;
        const { isSure, outcome } = readExecution(await execute(payment.reference, signal), payment);
        if (isSure) return outcome;
        const found = await confirm(payment, signal);
        return found?.status === "processing" ? (outcome ?? found) : found;
      },
    },
  };
}

/**
 * Makes one token call: refresh with a refresh token, grant without. Throws `HubError` `provider_unavailable`, which says
 * nothing of the credentials.
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

/** One payment without an agreement (mode 0011), taken at once (intent sale). */
function createFields(payment: Payment, returnUrl: URL): object {
  const { id, amountMinor } = payment;
  return {
    mode: "0011",
    payerReference: payerReference(payment),
    callbackURL: returnUrl.href,
    amount: `${amountMinor / 100n}.${String(amountMinor % 100n).padStart(2, "0")}`,
    currency: "BDT",
    intent: "sale",
    // The only name of ours that is in the notification.
    merchantInvoiceNumber: id,
  };
}

/** A wallet fills in bKash's page; the field is wanted in any case, and the order's name is of use to the merchant. */
function payerReference({ phone = "", orderId }: Payment): string {
  return /^\+8801\d{9}$/.test(phone) ? phone.slice("+88".length) : orderId;
}
