/**
 * PayHero Kenya resells M-Pesa. The payer answers a prompt on their phone; PayHero then sends a webhook.
 *
 * PayHero signs nothing: the proof is the secret in the URL that we gave it. A query needs PayHero's reference, which only
 * the reply to our request contains. If that reply is lost, a webhook or the deadline settles the payment. No idempotency
 * key is known, and many failed prompts block an account (reported by integrators), so Tukio repeats no request (G10).
 */
import assert from "node:assert/strict";
import { z } from "zod";
import type { Payment } from "../../order/order.ts";
import { defineProvider, type ProviderContext } from "../define.ts";
import { mpesaLimits } from "../mpesa.ts";
import { probe } from "../probe.ts";
import type { Provider } from "../provider.ts";
import { declineUnreachable } from "../refusal.ts";
import { readAcceptance, readQuery, translate } from "./messages.ts";

/** The merchant finds these in PayHero's dashboard: a user and password, and the same two as a ready-made header. */
const variables = z
  .object({
    USERNAME: z
      .string()
      .regex(/^[^:]+$/, "must not have a colon")
      .optional(),
    PASSWORD: z.string().optional(),
    /** The value of the `Authorization` header, with or without `Basic`. */
    AUTH: z
      .string()
      .trim()
      .regex(/^(Basic\s+)?[A-Za-z0-9+/]+={0,2}$/i, "must be the header's value: Basic and base64")
      .transform((header) => header.replace(/^Basic\s+/i, ""))
      .optional(),
    /** The payment channel, which stands for a till, a PayBill or a bank account. */
    CHANNEL_ID: z
      .string()
      .regex(/^[1-9]\d{0,8}$/, "must be digits")
      .transform(Number),
  })
  .superRefine(
    ({ USERNAME, PASSWORD, AUTH }, { addIssue }) => {
      const pair = { USERNAME, PASSWORD };
      const given = Object.values(pair).filter((value) => value !== undefined);
      if (AUTH !== undefined && given.length > 0) {
        addIssue({ code: "custom", path: ["AUTH"], message: "replaces USERNAME and PASSWORD: set it or them" });
      }
      for (const [variable, value] of Object.entries(pair)) {
        if (AUTH === undefined && value === undefined) {
          addIssue({ code: "custom", path: [variable], message: "is required unless AUTH is set" });
        }
      }
    },
    // Also runs if other variables are wrong, so that one error message lists all of them.
    { when: () => true },
  );

type Account = z.infer<typeof variables>;

export const payhero = defineProvider(
  {
    name: "payhero",
    liveBaseUrl: "https://backend.payhero.co.ke/api/v2",
    deadlineS: 180,
    credentials: ["USERNAME", "PASSWORD", "AUTH"],
    variables,
  },
  createPayhero,
);

function createPayhero(account: Account, { baseUrl, client }: Pick<ProviderContext, "baseUrl" | "client">): Provider {
  const headers = { authorization: authorizationOf(account) };
  return {
    name: "payhero",
    currencies: ["KES"],
    countries: ["KE"],
    // PayHero documents no limits of its own.
    limits: mpesaLimits,
    statesAmount: false,
    statesReceipt: true,
    needsReference: true,
    // PayHero reads the status only (docs.payhero.africa, "Callbacks & Webhooks").
    acknowledgement: { status: 200, contentType: "application/json", body: JSON.stringify({ success: true }) },
    async initiate(payment, urls, signal) {
      const body = paymentFields(account, payment, urls.webhook);
      const call = client.call({ method: "POST", url: `${baseUrl()}/payments`, headers, body, signal });
      const answer = await call.catch(declineUnreachable);
      return readAcceptance(answer);
    },
    translate,
    async confirm({ reference }, signal) {
      if (reference === undefined) return undefined;
      const url = `${baseUrl()}/transaction-status?${new URLSearchParams({ reference })}`;
      return readQuery(await client.call({ method: "GET", url, headers, signal }), reference);
    },
    // A query about a payment that PayHero does not have.
    probe: (signal) =>
      probe(client, { method: "GET", url: `${baseUrl()}/transaction-status?reference=TUKIOCHECK`, headers, signal }),
  };
}

function authorizationOf({ USERNAME, PASSWORD, AUTH }: Account): string {
  return `Basic ${AUTH ?? Buffer.from(`${USERNAME}:${PASSWORD}`).toString("base64")}`;
}

/** docs.payhero.co.ke, "Initiate MPESA STK Push Request". The webhook repeats `external_reference`. */
function paymentFields({ CHANNEL_ID }: Account, { id, phone, amountMinor }: Payment, webhookUrl: URL): object {
  assert(phone !== undefined && mpesaLimits.phone.test(phone), "the payment has a phone that can be prompted");
  assert(amountMinor % mpesaLimits.stepMinor === 0n, "the amount is in whole shillings");
  return {
    amount: Number(amountMinor / mpesaLimits.stepMinor),
    phone_number: phone.slice(1),
    channel_id: CHANNEL_ID,
    provider: "m-pesa",
    external_reference: id,
    callback_url: webhookUrl.href,
  };
}
