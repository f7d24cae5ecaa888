/** The phone of a payment request, for all providers: forms that people type and paste. */
import { describe, expect, it } from "vitest";
import { HubError } from "../../server/errors.ts";
import { readPhone } from "../../server/payment/phone.ts";
import { phoneDigits, plainPhone } from "../../server/phone-text.ts";
import type { Provider } from "../../server/provider/provider.ts";
import { type ProviderName, providerNames, registry } from "../../server/provider/registry.ts";
import { testAccount } from "../support/account.ts";

const offer = (name: ProviderName, variables: Record<string, string> = {}): Provider =>
  registry[name].definition.configure({ ...testAccount(name), ...variables })({
    baseUrl: () => "",
    client: { call: () => expect.unreachable("no call is expected"), close: async () => undefined },
    accessToken: () => ({ token: () => expect.unreachable("no call is expected") }),
  });

/** By provider: a number of its country, the currency that it is paid in, and the parts of the number. */
const numbers: Readonly<Record<ProviderName, { code: string; national: string; currency: string }>> = {
  daraja: { code: "254", national: "729351000", currency: "KES" },
  payhero: { code: "254", national: "729351000", currency: "KES" },
  lipana: { code: "254", national: "110351000", currency: "KES" },
  zenopay: { code: "255", national: "744963858", currency: "TZS" },
  bkash: { code: "880", national: "1712345678", currency: "BDT" },
  mtn: { code: "256", national: "772123456", currency: "UGX" },
};

const read = (name: ProviderName, phone: string): string =>
  readPhone(phone, { provider: offer(name), currency: numbers[name].currency });

const refusalOf = (reading: () => string): HubError => {
  try {
    throw new Error(`${reading()} was accepted`);
  } catch (error) {
    if (error instanceof HubError) return error;
    throw error;
  }
};

const inDigits = (zero: number, text: string): string =>
  text.replace(/\d/g, (digit) => String.fromCodePoint(zero + Number(digit)));

/** The digits of Arabic, Persian, Devanagari, Bangla and full-width text. */
const scripts = { Arabic: 0x660, Persian: 0x6f0, Devanagari: 0x966, Bangla: 0x9e6, "full-width": 0xff10 };

describe.each(providerNames)("a phone at %s", (name) => {
  const { code, national } = numbers[name];
  const number = `+${code}${national}`;
  const spaced = `+${code} ${national.slice(0, 3)} ${national.slice(3)}`;

  it.each<[string, string]>([
    ["E.164", number],
    ["without a plus", `${code}${national}`],
    ["local", `0${national}`],
    ["with separators", spaced.replaceAll(" ", "-")],
    ["with dots", `0${national.slice(0, 3)}.${national.slice(3)}`],
    ["with the marks of a contact card (N12)", `\u202a${spaced}\u202c`],
    ["with marks of direction", `\u200e\u2066${spaced}\u2069\u200f\u061c`],
    ["with zero-width characters", `\u200b0${national.slice(0, 4)}\u200d${national.slice(4)}\u2060`],
    ["with a byte order mark", `\ufeff${number}`],
    ["with no-break spaces", spaced.replaceAll(" ", "\u00a0")],
    ["with narrow spaces", spaced.replaceAll(" ", "\u202f")],
    ["with a soft hyphen", `0${national.slice(0, 4)}\u00ad${national.slice(4)}`],
    ["with a non-breaking hyphen", `0${national.slice(0, 4)}\u2011${national.slice(4)}`],
    ["with a line end", `0${national}\r\n`],
    ["with a tab", `+${code}\t${national}`],
    ["with 00", `00${code}${national}`],
    ["with 00 and spaces", `00 ${code} ${national}`],
    ["with a trunk zero in parentheses", `+${code} (0) ${national}`],
    ["with a trunk zero in parentheses after 00", `00${code}(0)${national}`],
    ["with a trunk zero after the code", `+${code} 0${national}`],
    ["with parentheses around the code", `(+${code}) ${national}`],
    ["with a full-width plus", `\uff0b${code}${national}`],
    ["as a tel: link", `tel:+${code}-${national}`],
    ...Object.entries(scripts).map(([script, zero]): [string, string] => [
      `in ${script} digits (N22)`,
      inDigits(zero, `0${national}`),
    ]),
    ...Object.entries(scripts).map(([script, zero]): [string, string] => [
      `in ${script} digits after an ASCII code`,
      `+${code}${inDigits(zero, national)}`,
    ]),
  ])("is read %s", (_form, phone) => {
    expect(read(name, phone)).toBe(number);
  });

  it.each([
    "",
    " ",
    "+",
    "junk",
    "O729351000",
    `call 0${national}`,
    `0${national} x5`,
    `0${national};ext=1`,
    `0${national}/0${national}`,
    `0${national},0${national}`,
    `+${code}+${national}`,
    `++${code}${national}`,
    `+00${code}${national}`,
    `0${national.slice(1)}`,
    `0${national}0`,
    `${"\u200b".repeat(70)}0${national}`,
    "\u0000",
    `0${national.slice(0, -1)}\u00b2`,
    `0${national.slice(0, -1)}\u2466`,
    `0${national.slice(0, -1)}\u1041`,
    `7.29351E+08`,
    `0${national}.0`,
  ])("is refused as %j, with an example and without the provider's internal name", (phone) => {
    const { code, message } = refusalOf(() => read(name, phone));
    expect(code).toBe("phone_invalid");
    expect(message).toMatch(/^phone: is not .*, such as \+\d+$/);
    for (const internal of ["daraja", "payhero", "lipana", "zenopay", "bkash", "mtn"]) {
      expect(message).not.toContain(internal);
    }
  });
});

describe("the test numbers of a provider", () => {
  it.each<[ProviderName, string, string]>([
    ["daraja", "254708374149", "+254708374149"],
    ["zenopay", "0744963858", "+255744963858"],
    ["bkash", "01770618575", "+8801770618575"],
    ["bkash", "01619777283", "+8801619777283"],
    ...[
      "46733123450",
      "46733123451",
      "46733123452",
      "46733123453",
      "46733123454",
      "56733123450",
      "56733123453",
    ].flatMap((phone): [ProviderName, string, string][] => [
      ["mtn", phone, `+${phone}`],
      ["mtn", `+${phone}`, `+${phone}`],
    ]),
  ])("at %s include %s (N27)", (name, phone, number) => {
    expect(read(name, phone)).toBe(number);
  });

  it.each([
    ["UGX", "+447911123456"],
    // A digit too many for Uganda, and a number of Kazakhstan.
    ["UGX", "77212345678"],
    ["ZMW", "+256772123456"],
    ["XAF", "+254712345678"],
  ])("at MTN's sandbox are not joined by phones of countries that do not pay in %s: %s", (currency, phone) => {
    const { code, message } = refusalOf(() => readPhone(phone, { provider: offer("mtn"), currency }));
    expect(code).toBe("phone_invalid");
    expect(message).toContain("is not a number that MTN MoMo can prompt");
  });

  it("at MTN's sandbox are joined by the phones of every country in EUR, which MTN uses in place of its currency", () => {
    expect(readPhone("+447911123456", { provider: offer("mtn"), currency: "EUR" })).toBe("+447911123456");
  });

  it("at MTN are refused by a live account, which cannot prompt them", () => {
    const live = offer("mtn", { TARGET_ENVIRONMENT: "mtnuganda", CURRENCY: "UGX" });
    expect(refusalOf(() => readPhone("46733123453", { provider: live, currency: "UGX" })).message).toContain(
      "MTN MoMo",
    );
  });
});

describe("a phone that can be read in two ways", () => {
  const mtn = offer("mtn");

  it("is refused, and the problem asks for the country code", () => {
    // A number of Uganda, Zambia and others, and EUR tells no country.
    expect(refusalOf(() => readPhone("0772123456", { provider: mtn, currency: "EUR" })).message).toBe(
      "phone: can be read as several numbers; write it with + and its country code, as in +256772123456",
    );
    // From Uganda, 005 is a prefix of its own: +673 3123453 or +56 733123453.
    expect(refusalOf(() => readPhone("0056733123453", { provider: mtn, currency: "EUR" })).message).toContain(
      "several numbers",
    );
  });

  it.each([
    ["UGX", "+256772123456"],
    ["ZMW", "+260772123456"],
    ["RWF", "+250772123456"],
  ])("is read as one of the country that pays in %s", (currency, number) => {
    expect(readPhone("0772123456", { provider: mtn, currency })).toBe(number);
  });

  it("keeps a zero in parentheses that belongs to the number", () => {
    expect(readPhone("+225 (0) 7 07 12 34 56", { provider: offer("mtn"), currency: "XOF" })).toBe("+2250707123456");
  });
});

describe("plainPhone", () => {
  it("keeps characters that it does not know", () => {
    expect(plainPhone(" \u202a٠٧١٢ x² \u202c")).toBe("0712 x²");
    expect(phoneDigits("+২৫৪ 7 12")).toBe("254712");
  });
});
