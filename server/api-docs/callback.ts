/** Where providers and the payer's browser come back to. */
import type { ErrorCode } from "../errors.ts";
import { anybody, type Body, type Operation } from "./operation.ts";

/** Safaricom portal, M-Pesa Express: a callback of a payment. */
const body: Body = {
  examples: {
    daraja: {
      summary: "Safaricom: paid",
      value: {
        Body: {
          stkCallback: {
            MerchantRequestID: "29115-34620561-1",
            CheckoutRequestID: "ws_CO_191220191020363925",
            ResultCode: 0,
            ResultDesc: "The service request is processed successfully.",
            CallbackMetadata: {
              Item: [
                { Name: "Amount", Value: 150 },
                { Name: "MpesaReceiptNumber", Value: "NLJ7RT61SV" },
                { Name: "PhoneNumber", Value: 254_708_374_149 },
              ],
            },
          },
        },
      },
    },
  },
};

const answers = {
  200: {
    description: "On disk, matched or not. In the provider's own form; here as Safaricom wants it.",
    example: { ResultCode: 0, ResultDesc: "Accepted" },
  },
};

const problems: readonly ErrorCode[] = [
  "webhook_unreadable",
  "webhook_rejected",
  "provider_unknown",
  "body_too_large",
  "rate_limited",
  "provider_unavailable",
  "internal",
  "store_unavailable",
];

const withSecret = (method: "POST" | "PUT"): Operation => ({
  method,
  url: "/webhooks/:provider/:secret",
  id: method === "POST" ? "receiveWebhook" : "receivePutWebhook",
  tag: "Webhooks",
  summary: method === "POST" ? "One payment's webhook" : "One payment's webhook, from providers that PUT it",
  description:
    "The URL was given to the provider when it was asked; the secret in it is the proof. One payment's webhooks have a budget: beyond it, what cannot be read, and more than 8 different messages in 10 minutes (an hour once the payment has ended), are answered 429 and not stored, and the provider is asked; repeats are acknowledged. A success that decides the payment is taken whatever the count.",
  openedBy: anybody,
  body,
  answers,
  problems,
});

const accountWide: Operation = {
  method: "POST",
  url: "/webhooks/:provider",
  id: "receiveAccountWebhook",
  tag: "Webhooks",
  summary: "A provider's account-wide webhook",
  description: "Believed by its signature. A provider that has none of these, such as Safaricom, is refused here.",
  openedBy: anybody,
  body: { examples: {} },
  answers,
  problems,
};

const comeBack: Operation = {
  method: "GET",
  url: "/return/:secret",
  id: "comeBack",
  tag: "Return address",
  summary: "The payer comes back from the provider's page",
  description:
    "Completes the payment once, then sends the payer on to its `returnUrl`. What the provider's page adds to the query proves nothing.",
  openedBy: anybody,
  answers: {
    200: { description: "The payment has no `returnUrl`: a page that says so.", type: "text/html" },
    303: {
      description: "On to the merchant's page.",
      headers: {
        Location: {
          description: "The payment's `returnUrl` with `orderId`, and nothing secret.",
          schema: { type: "string", format: "uri" },
        },
      },
    },
    404: { description: "The address belongs to no payment: a page that says so.", type: "text/html" },
  },
  problems: ["rate_limited", "internal", "store_unavailable"],
};

export const callbackOperations: readonly Operation[] = [withSecret("POST"), withSecret("PUT"), accountWide, comeBack];
