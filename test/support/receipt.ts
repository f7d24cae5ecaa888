/** Receipts and alerts as they occur, for mails and the page. */
import type { Alert } from "../../server/notification/mail/alert-mail.ts";
import type { Receipt } from "../../server/notification/receipt-facts.ts";
import { type AlertKind, alertKinds } from "../../server/notification/words.ts";

export const shop = { name: "Mama Mboga Fresh Produce", colour: "#0b5fa5", contact: "+254 712 345 678" };

export const receiptUrl = "https://pay.example/receipts/3q2-7wAAAAAAAAAAAAAAAQ";

/** When the mails are made, for the expiry of results. */
export const now = new Date("2026-11-23T09:05:00Z");

const plain: Receipt = {
  orderId: "ORD-2031",
  amountMinor: 150_000,
  currency: "KES",
  description: "Vegetable box, delivery on Friday",
  maskedPhone: "+2547*****678",
  provider: "daraja",
  receipt: "SLK4H7R6T2",
  paidAt: new Date("2026-11-23T09:04:12Z"),
  isSandbox: false,
  results: [],
};

const items = [
  { name: "Sukuma wiki, bunch", quantity: 4, unitAmountMinor: 5_000 },
  { name: "Tomatoes, 1 kg", quantity: 2, unitAmountMinor: 40_000 },
  { name: "Delivery to Kilimani", quantity: 1, unitAmountMinor: 50_000 },
];

const results: Receipt["results"] = [
  {
    id: "t",
    kind: "ticket",
    title: "Nairobi Jazz Night, 1 seat",
    code: "NJN-4F7K-22QX",
    expiresAt: "2027-01-31T18:00:00Z",
  },
  { id: "l", kind: "link", title: "Your seat map", url: "https://shop.example/seats/4711" },
  { id: "x", kind: "text", title: "Delivery", text: "Friday between 8 and 10 o’clock.\nPlease have the gate open." },
];

const { maskedPhone: _phone, receipt: _receipt, description: _description, ...few } = plain;

/** By name. */
export const receipts: Readonly<Record<string, Receipt>> = {
  plain,
  items: { ...plain, items },
  ticket: { ...plain, items, results },
  sandbox: { ...plain, items, results: results.slice(0, 1), isSandbox: true },
  few: { ...few, provider: "zenopay", currency: "TZS", amountMinor: 3_000_000 },
  long: {
    ...plain,
    orderId: "INVOICE-2026-11-23-NAIROBI-WESTLANDS-BRANCH-000000123456-RETRY-2",
    description: "Donaudampfschifffahrtsgesellschaftskapitänsmützenabzeichenverordnung",
    amountMinor: 900_719_925_474_000,
    items: [
      {
        name: "Donaudampfschifffahrtsgesellschaftskapitän".repeat(2),
        quantity: 1000,
        unitAmountMinor: 900_719_925_474,
      },
    ],
  },
  taka: {
    ...plain,
    orderId: "DHK-77",
    amountMinor: 145_050,
    currency: "BDT",
    provider: "bkash",
    receipt: "BKJ70QZ9TR",
    maskedPhone: "+8801*****678",
    description: "ঢাকাই জামদানি শাড়ি",
  },
};

/** What a merchant or a payer may write, which must stay text. */
export const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>&\r\nBcc: victim@example.com`;

export const evilReceipt: Receipt = {
  ...plain,
  orderId: evil,
  description: evil,
  items: [{ name: evil, quantity: 2, unitAmountMinor: 75_000 }],
  maskedPhone: evil,
  provider: evil,
  receipt: evil,
  results: [
    { id: "1", kind: "ticket", title: evil, code: evil },
    { id: "2", kind: "link", title: evil, url: "javascript:alert(3)" },
    // A result's text may have several lines.
    { id: "3", kind: "text", title: evil, text: evil.replace(/\s+/g, " ") },
  ],
};

const at = new Date("2026-11-23T08:40:00Z");
const money = { amountMinor: 150_000, currency: "KES" };

const entries: Readonly<Record<AlertKind, Alert["entries"]>> = {
  review: [
    { subject: "ORD-2031", at, money: { ...money, paidMinor: 140_000 }, reason: "amount_mismatch" },
    { subject: "ORD-2032", at, money, reason: "receipt_reused" },
  ],
  paid_twice: [{ subject: "ORD-2033", at, money, reason: "paid_twice" }],
  endpoint_disabled: [{ subject: "https://shop.example/hooks/tukio", at }],
  provider_failing: [{ subject: "daraja", at, calls: { failed: 14, total: 20 } }],
  invariant_violated: [{ subject: "version_gap", at }],
};

export const alerts: readonly Alert[] = alertKinds.map((kind) => ({
  kind,
  count: kind === "review" ? 14 : 1,
  entries: entries[kind],
  isSandbox: kind === "paid_twice",
}));
