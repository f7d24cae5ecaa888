/** What the receipt mail states, in HTML and in plain text. */
import { describe, expect, it } from "vitest";
import { receiptMail } from "../../server/notification/mail/receipt-mail.ts";
import type { Receipt } from "../../server/notification/receipt-facts.ts";
import { languages } from "../../server/order/order.ts";
import { outlookFaults, textNodes } from "../support/mail.ts";
import { evil, evilReceipt, now, receipts, receiptUrl, shop } from "../support/receipt.ts";

const mailOf = (receipt: Receipt, change: Partial<Parameters<typeof receiptMail>[1]> = {}) =>
  receiptMail(receipt, { shop, lang: "en", receiptUrl, now, ...change });

const ticket = receipts.ticket as Receipt;

const cases = languages.flatMap((lang) => Object.keys(receipts).map((name) => [name, lang] as const));

/** 102,400 bytes, above which Gmail hides the rest of a mail. */
const gmailBytesMax = 102_400;

describe("receipt mail", () => {
  it("states shop, items, amount, receipt, masked number, time, results and address", () => {
    expect(mailOf(ticket).text).toBe(`KES 1,500.00
Thank you. Mama Mboga Fresh Produce has received your payment.
Vegetable box, delivery on Friday

Sukuma wiki, bunch × 4: KES 200.00
Tomatoes, 1 kg × 2: KES 800.00
Delivery to Kilimani: KES 500.00
Total: KES 1,500.00

Order: ORD-2031
Paid with: M-Pesa
M-Pesa receipt: SLK4H7R6T2
Phone number: +2547*****678
Paid on: Nov 23, 2026, 12:04 PM GMT+3

Your purchase

Nairobi Jazz Night, 1 seat
Valid until Jan 31, 2027, 9:00 PM
Code: NJN-4F7K-22QX

Your seat map
https://shop.example/seats/4711

Delivery
Friday between 8 and 10 o’clock.
Please have the gate open.

Open the receipt: ${receiptUrl}
You can print it or save it as a PDF.

Questions? Contact the shop: +254 712 345 678
This receipt confirms your payment. It is not a tax invoice.
You receive this mail because this address was given with the payment.
`);
  });

  it.each(cases)("states in plain text all that the HTML shows: %s, %s", (name, lang) => {
    const { html, text } = mailOf(receipts[name] as Receipt, { lang });
    const shown = textNodes(html);
    expect(shown.length).toBeGreaterThan(10);
    // A link is a label in HTML, and an address in plain text.
    const links = [...html.matchAll(/<a [^>]*href="(https:[^"]+)"[^>]*>([^<]+)</g)];
    const labels = links.map(([, , label]) => label);
    expect(shown.filter((one) => !text.includes(one) && !labels.includes(one))).toEqual([]);
    expect(links.filter(([, href = ""]) => !text.includes(href))).toEqual([]);
  });

  it.each(cases)("shows in HTML all that the plain text states: %s, %s", (name, lang) => {
    const { html, text } = mailOf(receipts[name] as Receipt, { lang });
    const shown = [...textNodes(html), ...[...html.matchAll(/href="([^"]+)"/g)].map(([, href = ""]) => href)].join(" ");
    // The label of a code stands in plain text only, where no look tells that it is one.
    const stated = text.split("\n").flatMap((line) => line.replace(/^(Code|Msimbo|কোড): /, "").split(": "));
    expect(stated.filter((one) => !shown.includes(one.trim()))).toEqual([]);
  });

  it.each(cases)("has only what Outlook and Gmail show: %s, %s", (name, lang) => {
    const look = { ...shop, logoUrl: "https://shop.example/logo.png" };
    expect(outlookFaults(mailOf(receipts[name] as Receipt, { lang, shop: look }).html)).toEqual([]);
  });

  it("loads nothing but the shop's logo", () => {
    const look = { ...shop, logoUrl: "https://shop.example/logo.png?a=1&b=2" };
    const loaded = /(?:src|background|srcset|poster)\s*=\s*"([^"]*)"/g;
    expect([...mailOf(ticket, { shop: look }).html.matchAll(loaded)].map(([, url]) => url)).toEqual([
      "https://shop.example/logo.png?a=1&#38;b=2",
    ]);
    expect([...mailOf(ticket).html.matchAll(loaded)]).toEqual([]);
  });

  it("stays below the size at which Gmail cuts it, with 100 items", () => {
    const items = Array.from({ length: 100 }, (_, index) => ({
      name: `Item number ${index} with a name of usual length`,
      quantity: 2,
      unitAmountMinor: 750,
    }));
    expect(Buffer.byteLength(mailOf({ ...ticket, items }).html)).toBeLessThan(gmailBytesMax);
  });

  it("writes merchant's and payer's texts as text", () => {
    const { html, text, subject } = mailOf(evilReceipt, { shop: { name: evil, contact: evil, colour: evil } });
    expect(html).not.toMatch(/<script|<img|javascript:[^<]*"/i);
    expect(html).toContain("&#60;script&#62;");
    expect(subject).not.toMatch(/[\r\n]/);
    expect(text).not.toMatch(/^Bcc/m);
    expect(textNodes(html)).toContain(evil.replace(/\s+/g, " "));
  });

  it("marks a test payment in the subject and in the mail", () => {
    const mail = mailOf(receipts.sandbox as Receipt);
    expect(mail.subject).toBe("[Test] Receipt from Mama Mboga Fresh Produce: KES 1,500.00");
    expect(mail.text).toMatch(/^Test payment – no money moves\n/);
    expect(mailOf(ticket).subject).toBe("Receipt from Mama Mboga Fresh Produce: KES 1,500.00");
    expect(mailOf(ticket).text).not.toContain("Test payment");
  });

  it("leaves out what the order does not have", () => {
    const { text } = mailOf(receipts.few as Receipt);
    expect(text).toMatch(/Order: ORD-2031\nPaid with: Mobile money\nPaid on: /);
    expect(text).not.toMatch(/undefined|Phone number|money receipt:|Total/);
  });
});
