/** What the merchant sees of stored webhooks. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { redactBody, redactHeaders } from "../../server/webhook/redact.ts";

const json = (body: unknown): string | null => redactBody(Buffer.from(JSON.stringify(body)), "application/json");

const parsed = (body: unknown): unknown => JSON.parse(json(body) ?? "null");

/** The webhooks that providers sent, from all fixtures. */
const fixtures = readdirSync("test/fixture", { recursive: true, encoding: "utf8" })
  .filter((path) => /\/webhook-.*\.json$/.test(path))
  .map((path): [string, unknown] => [path, JSON.parse(readFileSync(`test/fixture/${path}`, "utf8")).body]);

describe("the body of a webhook", () => {
  it.each(fixtures)("%s shows no phone, and the money's own facts", (path, body) => {
    expect(fixtures.length).toBeGreaterThan(30);
    const [sent, text] = [JSON.stringify(body), json(body) ?? ""];
    for (const [, digits = ""] of sent.matchAll(/"?\+?((?:254|255|256|880)\d{9,10})\b/g)) {
      expect([path, text]).toEqual([path, expect.not.stringContaining(digits.slice(-9))]);
    }
    for (const receipt of sent.match(/\b(?:NLJ7RT61SV|SAE3YULR0Y|CK250NROQ5)\b/g) ?? []) {
      expect([path, text]).toEqual([path, expect.stringContaining(receipt)]);
    }
  });

  it("masks phones in every form, also at the end of a reference, and keeps what is none", () => {
    expect(
      parsed({
        phone: "+254712345678",
        msisdn: 254_712_345_678,
        nested: [{ Text: "call 0712 345-678 now" }],
        CheckoutRequestID: "ws_CO_20112026205932104712345678",
        paymentId: "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
        note2: "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
        TransactionDate: 20_191_219_102_115,
        amount: 1_000_000,
        ok: true,
        none: null,
      }),
    ).toEqual({
      phone: "+2547*****678",
      msisdn: "25471****678",
      nested: [{ Text: "call 07123**678 now" }],
      CheckoutRequestID: "ws_CO_20112026205932104******678",
      paymentId: "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52",
      note2: "***",
      TransactionDate: 20_191_219_102_115,
      amount: 1_000_000,
      ok: true,
      none: null,
    });
  });

  it("hides names and secrets, in every spelling and depth", () => {
    const names = {
      FirstName: "Asha",
      customer_name: "Asha Njeri",
      payer: { email: "asha@example.com", partyId: "Asha 0712345678" },
      api_key: "sk_live_1",
      Token: 7,
      data: { signature: "x", text: "eyJhbGciOi.eyJvcmRl.c2ln", hex: "a".repeat(64) },
    };
    const text = json(names) ?? "";
    expect(text).not.toMatch(/Asha|Njeri|example|712345678|sk_live|eyJ|aaaa/);
    expect(JSON.parse(text)).toMatchObject({ FirstName: "***", api_key: "***", Token: "***" });
  });

  it("reads lists of names and values, JSON inside of texts, and forms", () => {
    const item = (Name: string, Value: unknown) => ({ Name, Value });
    expect(
      parsed({
        Item: [
          item("MpesaReceiptNumber", "NLJ7RT61SV"),
          item("PhoneNumber", 254_712_345_678),
          item("FirstName", "Asha"),
        ],
      }),
    ).toEqual({
      Item: [item("MpesaReceiptNumber", "NLJ7RT61SV"), item("PhoneNumber", "25471****678"), item("FirstName", "***")],
    });
    expect(parsed({ Message: JSON.stringify({ debitMSISDN: "8801770618575", trxID: "CK250NROQ5" }) })).toEqual({
      Message: JSON.stringify({ debitMSISDN: "88017*****575", trxID: "CK250NROQ5" }),
    });
    const form = redactBody(
      Buffer.from("name=Asha&phone=%2B254712345678&status=paid"),
      "application/x-www-form-urlencoded",
    );
    expect(JSON.parse(form ?? "")).toEqual({ name: "***", phone: "+2547*****678", status: "paid" });
  });

  it("is not shown if it is erased, or of a form in which a name could not be found", () => {
    for (const [text, type] of [
      ["", "application/json"],
      ["Paid by Asha", "text/plain"],
      ['{"phone": "+254712345678"', "application/json"],
      ["<name>Asha</name>", "application/xml"],
      ["[".repeat(60_000), "application/json"],
    ] as const) {
      expect(redactBody(Buffer.from(text), type)).toBeNull();
    }
  });
});

it("the headers of a webhook show no secret", () => {
  expect(
    redactHeaders({ "x-lipana-signature": "ab".repeat(32), host: "shop.example", "x-trace": "eyJhbGciOi.a.b" }),
  ).toEqual({
    "x-lipana-signature": "***",
    host: "shop.example",
    "x-trace": "***",
  });
});
