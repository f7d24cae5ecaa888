/**
 * Lipana (Kenya), M-Pesa STK push: a prompt on the payer's phone, and a signed webhook once they have answered.
 *
 * Webhooks come to one address for the whole account and name a payment by Lipana's own id alone, so one may come
 * before we know that id. There is no idempotency key: a push whose answer is lost is never sent again, but found in the
 * list of transactions by the account reference that we gave it.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Outcome, Payment } from "../../order/order.ts";
import { defineProvider } from "../define.ts";
import type { Answer, Call, Client } from "../http-client.ts";
import { mpesaLimits } from "../mpesa.ts";
import { plainText } from "../plain-text.ts";
import type { Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { accountReferenceOf, readAcceptance, readPage, readStatus, translate } from "./messages.ts";

/** What Lipana's dashboard gives a merchant. */
const variables = z.object({
  /** Goes into a header: visible ASCII, such as `lip_sk_live_…`. */
  SECRET_KEY: z.string().regex(/^[\x21-\x7e]+$/, "must be visible characters without spaces"),
  /** Signs the webhooks. */
  WEBHOOK_SECRET: z.string(),
});

type LipanaAccount = z.infer<typeof variables>;

/** npm @lipana/sdk 1.0.3: the live address; `https://api-sandbox.lipana.dev/v1` is Lipana's own sandbox. */
export const lipana = defineProvider(
  { name: "lipana", liveBaseUrl: "https://api.lipana.dev/v1", deadlineS: 180, variables },
  (account, { baseUrl, client }) => createLipana({ ...account, baseUrl }, client),
);

interface LipanaConfig extends LipanaAccount {
  baseUrl: () => string;
}

/** From KES 10 to 150,000, as one integrator says (unverified), in whole shillings as M-Pesa takes them. */
const limits = {
  minMinor: 1_000n,
  maxMinor: 15_000_000n,
  stepMinor: 100n,
  phone: mpesaLimits.phone,
} as const;

/** M-Pesa shows no more of a description. */
const descriptionLengthMax = 13;

/**
 * How much of the list is looked through for a push whose answer was lost. That the newest come first is not
 * documented; if a busy account pushes ours further back, the webhook waits in vain and the deadline ends the payment.
 */
const pagesMax = 3;
const pageSize = 100;

function createLipana({ SECRET_KEY, WEBHOOK_SECRET, baseUrl }: LipanaConfig, client: Client): Provider {
  const call = (method: Call["method"], path: string, rest: Pick<Call, "body" | "signal">): Promise<Answer> =>
    client.call({ method, url: `${baseUrl()}/transactions${path}`, headers: { "x-api-key": SECRET_KEY }, ...rest });

  /** Finds the payment whose reference never reached us. */
  const recover = async (payment: Payment, signal: AbortSignal): Promise<Outcome | undefined> => {
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
    // Any 2xx will do: what Lipana makes of the body is not documented.
    acknowledgement: { status: 200, contentType: "application/json", body: JSON.stringify({ received: true }) },
    async initiate(payment, _urls, signal) {
      const answer = await call("POST", "/push-stk", { body: pushFields(payment), signal }).catch(declineUnreachable);
      return readAcceptance(answer);
    },
    translate: (webhook) => translate(webhook, WEBHOOK_SECRET),
    async confirm(payment, signal) {
      const { reference } = payment;
      if (reference === undefined) return recover(payment, signal);
      return readStatus(await call("GET", `/${encodeURIComponent(reference)}`, { signal }), reference);
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
