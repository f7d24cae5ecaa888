/**
 * Lipana (Kenya), M-Pesa STK push. The payer answers a prompt on their phone; Lipana then sends a signed webhook.
 *
 * Lipana sends all webhooks of an account to one URL. They name the payment by Lipana's id, so a webhook may arrive before
 * that id is stored. No idempotency key is known, so Tukio does not repeat a push whose answer was lost (G10): it finds
 * the push in the list of transactions by its account reference.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Outcome, Payment } from "../../order/order.ts";
import { commaList } from "../../validation.ts";
import { defineProvider } from "../define.ts";
import type { Answer, Call, Client } from "../http-client.ts";
import { mpesaLimits } from "../mpesa.ts";
import { plainText } from "../plain-text.ts";
import { probe } from "../probe.ts";
import type { Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { accountReferenceOf, readAcceptance, readPage, readStatus, translate } from "./messages.ts";

/** The merchant finds these in Lipana's dashboard. */
const variables = z.object({
  /** Such as `lip_sk_live_…`. Visible ASCII, because it is sent in a header. */
  SECRET_KEY: z.string().regex(/^[\x21-\x7e]+$/, "must be visible characters without spaces"),
  /** The keys of the webhooks' signatures, of which any may have signed, so that the key can be changed at Lipana. */
  WEBHOOK_SECRET: commaList.pipe(z.array(z.string()).min(1, "must have at least one secret")),
});

type LipanaAccount = z.infer<typeof variables>;

/** The live URL is from npm @lipana/sdk 1.0.3; its sandbox is `https://api-sandbox.lipana.dev/v1`. */
export const lipana = defineProvider(
  {
    name: "lipana",
    liveBaseUrl: "https://api.lipana.dev/v1",
    testHosts: ["api-sandbox.lipana.dev"],
    isTestAccount({ SECRET_KEY = "" }) {
      const [, mode] = /^lip_sk_(test|live)_/.exec(SECRET_KEY) ?? [];
      return mode === undefined ? undefined : mode === "test";
    },
    deadlineS: 180,
    credentials: ["SECRET_KEY"],
    variables,
  },
  (account, { baseUrl, client }) => createLipana({ ...account, baseUrl }, client),
);

interface LipanaConfig extends LipanaAccount {
  baseUrl: () => string;
}

/** KES 10 to 150,000, as one integrator reports (unverified), in whole shillings because M-Pesa accepts no others. */
const limits = {
  minMinor: 1_000n,
  maxMinor: 15_000_000n,
  stepMinor: 100n,
  phone: mpesaLimits.phone,
} as const;

/** 13, because M-Pesa shows no more (Safaricom portal, "M-Pesa Express", TransactionDesc). */
const descriptionLengthMax = 13;

/**
 * The part of the list that is searched for a push whose answer was lost. That the newest transactions come first is not
 * documented. If a push is further back, its webhook stays parked and the deadline ends the payment.
 */
const pagesMax = 3;
const pageSize = 100;

function createLipana({ SECRET_KEY, WEBHOOK_SECRET, baseUrl }: LipanaConfig, client: Client): Provider {
  const call = (method: Call["method"], path: string, rest: Pick<Call, "body" | "signal">): Promise<Answer> =>
    client.call({ method, url: `${baseUrl()}/transactions${path}`, headers: { "x-api-key": SECRET_KEY }, ...rest });

  /** Searches the list of transactions for a payment whose reference is not known. */
  const search = async (payment: Payment, signal: AbortSignal): Promise<Outcome | undefined> => {
    const wanted = { accountReference: accountReferenceOf(payment.id), amountMinor: payment.amountMinor };
    for (let page = 1; page <= pagesMax; page += 1) {
      const answer = await call("GET", `?page=${page}&limit=${pageSize}`, { signal });
      const { found, isLast } = readPage(answer, page, wanted);
      if (found || isLast) return found;
    }
    return undefined;
  };

  return {
    name: "lipana",
    currencies: ["KES"],
    countries: ["KE"],
    limits,
    statesAmount: true,
    statesReceipt: true,
    isAccountWide: true,
    signsWebhooks: true,
    // Any 2xx: Lipana documents no body.
    acknowledgement: { status: 200, contentType: "application/json", body: JSON.stringify({ received: true }) },
    async initiate(payment, _urls, signal) {
      const answer = await call("POST", "/push-stk", { body: pushFields(payment), signal }).catch(declineUnreachable);
      return readAcceptance(answer);
    },
    translate: (webhook) => translate(webhook, WEBHOOK_SECRET),
    async confirm(payment, signal) {
      const { reference } = payment;
      if (reference === undefined) return search(payment, signal);
      return readStatus(await call("GET", `/${encodeURIComponent(reference)}`, { signal }), reference);
    },
    probe: (signal) => {
      const url = `${baseUrl()}/transactions?page=1&limit=1`;
      return probe(client, { method: "GET", url, headers: { "x-api-key": SECRET_KEY }, signal });
    },
  };
}

function pushFields(payment: Payment): object {
  const { phone, amountMinor, orderId, description } = payment;
  assert(phone !== undefined && limits.phone.test(phone), "the payment has a phone that can be prompted");
  assert(amountMinor % limits.stepMinor === 0n, "the amount is in whole shillings");
  return {
    phone,
    amount: Number(amountMinor / limits.stepMinor),
    accountReference: accountReferenceOf(payment.id),
    transactionDesc: plainText(description ?? "", descriptionLengthMax) || plainText(orderId, descriptionLengthMax),
  };
}
