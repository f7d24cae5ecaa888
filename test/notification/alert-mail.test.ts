/** What the alert mail states, in HTML and in plain text. */
import { describe, expect, it } from "vitest";
import { type Alert, alertMail } from "../../server/notification/mail/alert-mail.ts";
import { alertKinds } from "../../server/notification/words.ts";
import { languages } from "../../server/order/order.ts";
import { outlookFaults, textNodes } from "../support/mail.ts";
import { alerts, evil, shop } from "../support/receipt.ts";

const cases = languages.flatMap((lang) => alerts.map((alert) => [alert.kind, lang, alert] as const));

const alertOf = (kind: Alert["kind"]): Alert => alerts.find((one) => one.kind === kind) as Alert;

describe("alert mail", () => {
  it("names the first subjects with their facts, and counts the others", () => {
    const { subject, text } = alertMail(alertOf("review"), { shop, lang: "en" });
    expect(subject).toBe("14 orders need your decision – Mama Mboga Fresh Produce");
    expect(text).toBe(`14 orders need your decision
Money has arrived that does not match the order. The order counts as unpaid until you accept the payment.

ORD-2031, KES 1,400.00 arrived instead of KES 1,500.00, Nov 23, 2026, 11:40 AM GMT+3
ORD-2032, KES 1,500.00, the receipt belongs to another payment, Nov 23, 2026, 11:40 AM GMT+3
and 12 more

Compare the payment with the provider’s statement. Then record your decision with POST /v1/orders/:orderId/resolve.

Mama Mboga Fresh Produce
You receive this mail because MERCHANT_EMAIL is set to this address. Each kind of alert is sent at most once an hour.
`);
  });

  it("says that the sandbox chose the address if none is configured", () => {
    const { html, text } = alertMail({ ...alertOf("paid_twice"), isDefaultAddress: true }, { shop, lang: "en" });
    for (const shown of [html, text]) {
      expect(shown).toContain("MERCHANT_EMAIL is not set, so the sandbox uses this address.");
      expect(shown).not.toContain("because MERCHANT_EMAIL is set");
    }
  });

  it("states how many calls to a provider failed", () => {
    expect(alertMail(alertOf("provider_failing"), { shop, lang: "en" }).text).toContain(
      "M-Pesa, 14 of 20 calls failed, Nov 23, 2026, 8:40 AM UTC\n",
    );
  });

  it("names an endpoint without its query, which may have a secret", () => {
    const entries = [{ subject: "https://shop.example/hooks?key=s3cret#x", at: new Date(0) }];
    const { html, text } = alertMail({ ...alertOf("endpoint_disabled"), entries }, { shop, lang: "en" });
    expect(text).toContain("https://shop.example/hooks,");
    expect(html + text).not.toContain("s3cret");
  });

  it("marks test payments, and no others", () => {
    const subjects = alerts.map((alert) => alertMail(alert, { shop, lang: "en" }).subject);
    expect(subjects.filter((one) => one.startsWith("[Test] "))).toEqual([
      "[Test] 1 order was paid more than once – Mama Mboga Fresh Produce",
    ]);
  });

  it("names at most 10 subjects", () => {
    const [entry] = alertOf("review").entries;
    const many = Array.from({ length: 30 }, (_, index) => ({ ...entry, at: new Date(0), subject: `ORD-${index}` }));
    const { text } = alertMail({ ...alertOf("review"), count: 30, entries: many }, { shop, lang: "en" });
    expect(text.match(/^ORD-\d+/gm)).toHaveLength(10);
    expect(text).toContain("and 20 more");
  });

  it.each(cases)("has the same facts in HTML and in plain text, which Outlook shows: %s, %s", (_kind, lang, alert) => {
    const { html, text } = alertMail(alert, { shop, lang });
    const shown = textNodes(html);
    expect(shown.filter((one) => !text.includes(one))).toEqual([]);
    expect(outlookFaults(html)).toEqual([]);
  });

  it.each(alertKinds)("writes foreign texts as text: %s", (kind) => {
    const alert = { kind, count: 1, entries: [{ subject: evil, at: new Date(0) }], isSandbox: false };
    const { html, text, subject } = alertMail(alert, { shop: { name: evil }, lang: "en" });
    expect(html).not.toMatch(/<script|<img/);
    expect(`${subject}\n${text}`).not.toMatch(/^Bcc|\r/m);
  });
});
