/**
 * ZenoPay, mobile money in Tanzania. The payer answers a prompt on their phone; ZenoPay sends a webhook only for a paid
 * payment, and without the amount.
 *
 * A query finds the failures and the amount. The caller chooses `order_id`, which is our payment's id, so a payment can be
 * queried even if the reply to its request was lost.
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import { commaList } from "../../validation.ts";
import { defineProvider } from "../define.ts";
import type { Call } from "../http-client.ts";
import { probe } from "../probe.ts";
import { declineUnreachable } from "../refusal.ts";
import { readAcceptance, readQuery, translate } from "./messages.ts";

const variables = z.object({
  /**
   * The first is sent with each call. ZenoPay returns any of them with a webhook, so that the key can be changed at ZenoPay. A
   * reader of either can request money in the merchant's name.
   */
  API_KEY: commaList.pipe(
    z
      .array(z.string().regex(/^[\x21-\x7e]+$/, "must be visible ASCII without spaces"))
      .min(1, "must have at least one key"),
  ),
});

/**
 * ZenoPay documents no limits; integrators report a minimum of TZS 100 and of TZS 1,000. These are wide, because ZenoPay
 * refuses an amount that it does not accept, and a refusal is harmless.
 */
const limits = {
  minMinor: 100n,
  maxMinor: 1_000_000_000n,
  /** Whole shillings, as in every sample. */
  stepMinor: 100n,
  phone: /^\+255[67]\d{8}$/,
} as const;

/**
 * Every official sample has an e-mail address, and ZenoPay's QR endpoint requires one; whether this endpoint does is not
 * known. This one is reserved (RFC 2606) and in ZenoPay's samples, because the payer's address must not be passed on.
 */
const buyerEmail = "customer@example.com";

export const zenopay = defineProvider(
  {
    name: "zenopay",
    liveBaseUrl: "https://zenoapi.com/api/payments",
    deadlineS: 300,
    credentials: ["API_KEY"],
    variables,
  },
  ({ API_KEY: apiKeys }, { baseUrl, client }) => {
    const [apiKey] = apiKeys;
    assert(apiKey !== undefined, "the schema requires a key");
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
      translate: (webhook) => translate(webhook, apiKeys),
      async confirm({ id }, signal) {
        const path = `/order-status?order_id=${encodeURIComponent(id)}`;
        return readQuery(await call(path, { method: "GET", signal }), id);
      },
      // A query about a payment that ZenoPay does not have.
      probe: (signal) => {
        const url = `${baseUrl()}/order-status?order_id=00000000-0000-4000-8000-000000000000`;
        return probe(client, { method: "GET", url, headers: { "x-api-key": apiKey }, signal });
      },
    };
  },
);

/** The fields of ZenoPay's samples. The phone is in local form, because an integrator reports that 255… is refused. */
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
