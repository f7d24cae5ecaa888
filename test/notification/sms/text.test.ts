import { describe, expect, it } from "vitest";
import { partsOf } from "../../../server/notification/sms/parts.ts";
import { composeSms, type SmsFacts } from "../../../server/notification/sms/text.ts";

const any = { isGsmOnly: false };
const gsmOnly = { isGsmOnly: true };

const facts = (some: Partial<SmsFacts> = {}): SmsFacts => ({
  lang: "en",
  amount: "KES 1,500.00",
  shop: "Asha’s Books",
  provider: "M‑Pesa",
  receipt: "SFF6XYZ123",
  codes: ["4821-9931-1120"],
  ...some,
});

const bangla: Partial<SmsFacts> = { lang: "bn", amount: "৳ ১,৫০০.০০", provider: "bKash", receipt: "BFD90JRLST" };

describe("composeSms", () => {
  it.each([
    ["en", "KES 1,500.00 paid to Asha's Books. M-Pesa receipt SFF6XYZ123. Code: 4821-9931-1120"],
    ["sw", "KES 1,500.00 imelipwa kwa Asha's Books. Risiti ya M-Pesa SFF6XYZ123. Msimbo: 4821-9931-1120"],
  ] as const)("writes %s in the GSM alphabet", (lang, text) => {
    expect(composeSms(facts({ lang }), any)).toBe(text);
    expect(partsOf(text)).toEqual({ alphabet: "gsm", parts: 1 });
  });

  it("writes Bangla, in one part if the shop's name is short", () => {
    const text = composeSms(facts({ ...bangla, shop: "আশার বই", codes: ["48219931"] }), any);
    expect(text).toBe("আশার বই: ৳ ১,৫০০.০০ পরিশোধিত। bKash রসিদ BFD90JRLST। কোড: 48219931");
    expect(partsOf(text)).toEqual({ alphabet: "ucs2", parts: 1 });
  });

  it("writes English for a gateway that has the GSM alphabet only", () => {
    const text = composeSms(facts({ ...bangla, amount: "BDT 1,500.00", shop: "আশার বই" }), gsmOnly);
    expect(text).toBe("BDT 1,500.00 paid. bKash receipt BFD90JRLST. Code: 4821-9931-1120");
  });

  it("leaves out receipt and code where there are none", () => {
    const { provider: _provider, receipt: _receipt, ...bare } = facts({ codes: [] });
    expect(composeSms(bare, any)).toBe("KES 1,500.00 paid to Asha's Books.");
    expect(composeSms({ ...bare, receipt: "SFF6XYZ123" }, any)).toBe(
      "KES 1,500.00 paid to Asha's Books. Receipt SFF6XYZ123.",
    );
    expect(composeSms({ ...bare, lang: "bn" }, any)).toBe("Asha’s Books: KES 1,500.00 পরিশোধিত।");
  });

  it("shortens the shop's name to stay in one part, and never a code", () => {
    const shop = "The Westlands Community Bookshop, Stationery and Coffee House";
    const code = "TICKET-4821-9931-1120-7718-8830-1162-5519-2210-0031-4417-0923-1184-5521";
    const text = composeSms(facts({ shop, codes: [code] }), any);
    expect(text).toBe(`KES 1,500.00 paid to The Westlands Community Bookshop. Receipt SFF6XYZ123. Code: ${code}`);
    expect(partsOf(text).parts).toBe(1);
    const uncut = composeSms(facts({ shop: "W".repeat(60), codes: [code] }), any);
    expect(uncut).toContain(`paid to ${"W".repeat(12)}. `);
    expect(partsOf(uncut).parts).toBe(1);
  });

  it("sends several parts for a code that needs them, with the whole name", () => {
    const code = "X".repeat(255);
    const text = composeSms(facts({ codes: [code] }), any);
    expect(text).toContain(`Asha's Books. M-Pesa receipt SFF6XYZ123. Code: ${code}`);
    expect(partsOf(text)).toEqual({ alphabet: "gsm", parts: 3 });
  });

  it("lists several codes, and says how many do not fit into three parts", () => {
    expect(composeSms(facts({ codes: ["A1", "B2"] }), any)).toMatch(/Codes: A1, B2$/);
    const many = Array.from({ length: 20 }, (_, index) => `CODE-${String(index).padStart(2, "0")}-${"7".repeat(40)}`);
    const text = composeSms(facts({ codes: many }), any);
    expect(partsOf(text).parts).toBe(3);
    const [, shown = "", left] = /Codes: (.*) and (\d+) more$/.exec(text) ?? [];
    expect(shown.split(", ")).toEqual(many.slice(0, 20 - Number(left)));
    expect(Number(left)).toBeGreaterThan(0);
  });

  it("keeps a code in characters that need UCS-2, except for a gateway that refuses them", () => {
    const text = composeSms(facts({ codes: ["ঢাকা-১২"] }), any);
    expect(text).toContain("ঢাকা-১২");
    expect(partsOf(text).alphabet).toBe("ucs2");
    expect(composeSms(facts({ codes: ["ঢাকা-১২"] }), gsmOnly)).not.toContain("Code");
  });

  it("does not replace braces in the shop's name or in a code", () => {
    expect(composeSms(facts({ shop: "{codes} Shop", codes: ["{amount}"] }), any)).toBe(
      "KES 1,500.00 paid to {codes} Shop. M-Pesa receipt SFF6XYZ123. Code: {amount}",
    );
  });

  it("writes no text that a gateway with the GSM alphabet only refuses", () => {
    for (const lang of ["en", "sw", "bn"] as const) {
      for (const shop of ["ঢাকা", "Asha’s", "☕", "{shop}"]) {
        const text = composeSms(facts({ lang, shop, amount: "BDT 15", codes: ["ক", "A"] }), gsmOnly);
        expect(partsOf(text)).toEqual({ alphabet: "gsm", parts: 1 });
        expect(text).not.toContain("undefined");
      }
    }
  });
});
