import type { NotificationWords } from "./words.ts";

export const english: NotificationWords = {
  receipt: {
    title: "Receipt",
    subject: "Receipt from {shop}: {amount}",
    thanks: "Thank you. {shop} has received your payment.",
    total: "Total",
    order: "Order",
    receipt: "{provider} receipt",
    method: "Paid with",
    phone: "Phone number",
    at: "Paid on",
    code: "Code",
    open: "Open the receipt",
    openHint: "You can print it or save it as a PDF.",
    notTax: "This receipt confirms your payment. It is not a tax invoice.",
    why: "You receive this mail because this address was given with the payment.",
    print: "Print",
    unknown: ["There is no such receipt", "Check the address, or ask the shop for a new receipt."],
  },
  alert: {
    kinds: {
      review: {
        one: "{count} order needs your decision",
        many: "{count} orders need your decision",
        text: "Money has arrived that does not match the order. The order counts as unpaid until you accept the payment.",
        advice:
          "Compare the payment with the provider’s statement. Then record your decision with POST /v1/orders/:orderId/resolve.",
      },
      paid_twice: {
        one: "{count} order was paid more than once",
        many: "{count} orders were paid more than once",
        text: "Another payment arrived for an order that was already paid.",
        advice: "Refund the additional payment in the provider’s portal.",
      },
      endpoint_disabled: {
        one: "{count} endpoint receives no more events",
        many: "{count} endpoints receive no more events",
        text: "The endpoint answered 410, or every attempt to reach it failed for 5 days. Tukio has disabled it.",
        advice:
          "Repair the endpoint. Then enable it with PATCH /v1/endpoints/:id; what it has missed is delivered at once.",
      },
      provider_failing: {
        one: "{count} provider is failing",
        many: "{count} providers are failing",
        text: "Most calls to the provider fail. Payers may be unable to pay with it.",
        advice: "Check the provider’s status page and your credentials. GET /v1/providers shows the latest calls.",
      },
      invariant_violated: {
        one: "{count} check of the data failed",
        many: "{count} checks of the data failed",
        text: "Stored data contradicts a guarantee of Tukio, so a payment may show a wrong state.",
        advice: "Keep the logs and a backup of the database, and report the error.",
      },
    },
    more: "and {count} more",
    mismatch: "{paid} arrived instead of {amount}",
    receiptReused: "the receipt belongs to another payment",
    currencyMismatch: "another currency arrived",
    failedCalls: "{failed} of {total} calls failed",
    why: "You receive this mail because MERCHANT_EMAIL is set to this address. Each kind of alert is sent at most once an hour.",
    whyDefault:
      "MERCHANT_EMAIL is not set, so the sandbox uses this address. Each kind of alert is sent at most once an hour.",
  },
  testMail: {
    title: "Test mail",
    text: "Tukio can send receipts and alerts for {shop} from this address.",
    why: "You receive this mail because a test was requested with an API key of the shop.",
  },
  testSubject: "[Test] {subject}",
};
