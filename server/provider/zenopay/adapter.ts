/**
 * ZenoPay, mobile money in Tanzania: a prompt on the payer's phone, and a webhook once they have paid, and only then.
 *
 * A payment that fails is found by asking; so is how much was paid, for the webhook does not say. Orders go by an id
 * that we choose, our payment's own, so a payment can be asked about although the reply to its request was lost.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import { defineProvider } from "../define.ts";
import type { Call } from "../http-client.ts";
import { declineUnreachable } from "../refusal.ts";
import { readAcceptance, readQuery, translate } from "./messages.ts";

const variables = z.object({
  /** Sent with every call, and sent back to us with every webhook: whoever reads those can ask for money in our name. */
  API_KEY: z.string().regex(/^[\x21-\x7e]+$/, "must be visible ASCII without spaces"),
});

/**
 * Neither limit is documented; of integrators, one names TZS 100 and one TZS 1,000 as the least. So these are wide:
 * ZenoPay refuses by itself what it does not carry, and nothing is lost by asking.
 */
const limits = {
  minMinor: 100n,
  maxMinor: 1_000_000_000n,
  /** Amounts are whole shillings in every sample. */
  stepMinor: 100n,
  phone: /^\+255[67]\d{8}$/,
} as const;

/**
 * Every official sample has an address (ZenoPay's QR endpoint says it is required; here it is not known). This one is of
 * the domain in its own samples, and belongs to nobody (RFC 2606): a payer's own is not ours to pass on.
 */
const buyerEmail = "customer@example.com";

export const zenopay = defineProvider(
  { name: "zenopay", liveBaseUrl: "https://zenoapi.com/api/payments", deadlineS: 300, variables },
  ({ API_KEY: apiKey }, { baseUrl, client }) => {
    const call = (path: string, rest: Pick<Call, "method" | "signal" | "body">) =>
      client.call({ url: `${baseUrl()}${path}`, headers: { "x-api-key": apiKey }, ...rest });

    return {
      name: "zenopay",
      currencies: ["TZS"],
      countries: ["TZ"],
      limits,
      statesAmount: true,
      statesReceipt: true,
      acknowledgement: { status: 200, contentType: "text/plain", body: "OK" },
      async initiate(payment, urls, signal) {
        const body = requestFields(payment, urls.webhook);
        const answer = await call("/mobile_money_tanzania", { method: "POST", body, signal }).catch(declineUnreachable);
        return readAcceptance(answer, payment.id);
      },
      translate: (webhook) => translate(webhook, apiKey),
      async confirm({ id }, signal) {
        const path = `/order-status?order_id=${encodeURIComponent(id)}`;
        return readQuery(await call(path, { method: "GET", signal }), id);
      },
    };
  },
);

/** As in ZenoPay's samples. An integrator reports phones in the form 255… refused. */
function requestFields({ id, orderId, phone, amountMinor }: Payment, webhookUrl: URL): object {
  assert(phone !== undefined && limits.phone.test(phone), "the payment has a phone that can be prompted");
  assert(amountMinor % limits.stepMinor === 0n, "the amount is in whole shillings");
  return {
    order_id: id,
    buyer_email: buyerEmail,
    buyer_name: orderId,
    buyer_phone: phone.replace("+255", "0"),
    amount: Number(amountMinor / limits.stepMinor),
    webhook_url: webhookUrl.href,
  };
}
