import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isGsm, partsOf, toGsm } from "../../../server/notification/sms/parts.ts";

/** The example of 3GPP TS 23.038: every character of the default alphabet and its extension, without the escape. */
const alphabet =
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const extension = "\f^{}\\[~]|€";

describe("partsOf", () => {
  it("knows the 127 characters of the alphabet and the 10 of its extension", () => {
    expect([...alphabet]).toHaveLength(127);
    expect(isGsm(alphabet + extension)).toBe(true);
    expect(["ç", "’", "ê", "৳", "🎫", "\t", "`"].filter(isGsm)).toEqual([]);
  });

  it.each([
    [0, "a", "gsm", 1],
    [160, "a", "gsm", 1],
    [161, "a", "gsm", 2],
    [306, "a", "gsm", 2],
    [307, "a", "gsm", 3],
    [80, "€", "gsm", 1],
    [81, "€", "gsm", 2],
    [70, "ক", "ucs2", 1],
    [71, "ক", "ucs2", 2],
    [134, "ক", "ucs2", 2],
    [135, "ক", "ucs2", 3],
    [35, "🎫", "ucs2", 1],
    [36, "🎫", "ucs2", 2],
    // A pair of surrogates is not separated, so a part of 67 units has 33 of them.
    [66, "🎫", "ucs2", 2],
    [67, "🎫", "ucs2", 3],
  ] as const)("counts %i times %s as %s in %i", (times, character, kind, parts) => {
    expect(partsOf(character.repeat(times))).toEqual({ alphabet: kind, parts });
  });

  it("does not separate an escape from its character", () => {
    expect(partsOf(`${"a".repeat(152)}€${"a".repeat(152)}`)).toEqual({ alphabet: "gsm", parts: 3 });
  });

  it("counts a text in UCS-2 as soon as one character needs it", () => {
    expect(partsOf(`${"a".repeat(69)}ক`)).toEqual({ alphabet: "ucs2", parts: 1 });
    expect(partsOf(`${"a".repeat(70)}ক`)).toEqual({ alphabet: "ucs2", parts: 2 });
  });

  it("never counts fewer parts than the units need, nor more than one part beyond them", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 500 }), (text) => {
        const { alphabet: kind, parts } = partsOf(text);
        const units =
          kind === "ucs2" ? text.length : text.length + [...text].filter((one) => extension.includes(one)).length;
        const [one, several] = kind === "ucs2" ? [70, 67] : [160, 153];
        const least = units <= one ? 1 : Math.ceil(units / several);
        expect(parts).toBeGreaterThanOrEqual(least);
        expect(parts).toBeLessThanOrEqual(Math.max(1, Math.ceil(units / (several - 1))));
      }),
    );
  });
});

describe("toGsm", () => {
  it.each([
    ["Asha’s “Books” – now…", 'Asha\'s "Books" - now...'],
    ["São João", "Sao Joao"],
    ["Café Ñandú", "Café Ñandu"],
    ["Kahawa ☕ House", "Kahawa House"],
    ["KES\u00a01,500.00", "KES 1,500.00"],
    ["M\u2011Pesa", "M-Pesa"],
    ["ﬁne ½", "fine 1/2"],
    ["a\tb", "a b"],
  ])("writes %j as %j", (text, plain) => {
    expect(toGsm(text)).toBe(plain);
  });

  it.each(["ঢাকা", "Книги", "本", "৳৫"])("leaves %j, whose letters it would lose", (text) => {
    expect(toGsm(text)).toBeUndefined();
  });

  it("returns only the GSM alphabet", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 50 }), (text) => {
        expect(isGsm(toGsm(text) ?? "")).toBe(true);
      }),
    );
  });
});
