import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatMinor, minorDigits, parseMinor } from "../../server/provider/money.ts";

const minorMax = 10n ** 15n - 1n;
const minor = fc.bigInt({ min: 0n, max: minorMax });

const decimalOf = (value: bigint): string => {
  const digits = value.toString().padStart(3, "0");
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
};

describe("parseMinor", () => {
  test.each([
    [150, 15_000n],
    ["150", 15_000n],
    ["150.00", 15_000n],
    ["150.5", 15_050n],
    [0.07, 7n],
    [1.1, 110n],
    [4.35, 435n],
    [0, 0n],
    ["1.2300", 123n],
    ["9999999999999.99", 999_999_999_999_999n],
  ])("reads %j as %s minor units", (value, expected) => {
    expect(parseMinor(value, 2)).toBe(expected);
  });

  test("reads an amount of a currency without minor units", () => {
    expect(parseMinor("500", 0)).toBe(500n);
    expect(parseMinor("500.00", 0)).toBe(500n);
    expect(parseMinor("500.50", 0)).toBeUndefined();
  });

  test("returns every formatted amount exactly, as text and as a JSON number", () => {
    fc.assert(
      fc.property(minor, (value) => {
        const text = decimalOf(value);
        expect(parseMinor(text, 2)).toBe(value);
        expect(parseMinor(JSON.parse(text), 2)).toBe(value);
      }),
    );
  });

  test("accepts further decimals only if they are zeros", () => {
    fc.assert(
      fc.property(minor, fc.stringMatching(/^\d{1,8}$/), (value, further) => {
        const expected = /^0+$/.test(further) ? value : undefined;
        expect(parseMinor(decimalOf(value) + further, 2)).toBe(expected);
      }),
    );
  });

  test.each([
    ["-1"],
    [-1],
    ["+1"],
    ["1e3"],
    [1e21],
    [1e-7],
    [Number.NaN],
    [Number.POSITIVE_INFINITY],
    ["NaN"],
    [""],
    [" 1"],
    ["1 "],
    ["1\n"],
    ["01"],
    ["1."],
    [".5"],
    ["1,000"],
    ["0x10"],
    ["١"],
    ["1.001"],
    [1.001],
    [0.1 + 0.2],
    ["10000000000000.00"],
    [2 ** 53],
    [null],
    [undefined],
    [true],
    [["1"]],
    [{ toString: () => "1" }],
  ])("refuses %j", (value) => {
    expect(parseMinor(value, 2)).toBeUndefined();
  });

  test("refuses too long text, and other types than numbers and text", () => {
    expect(parseMinor("9".repeat(1_000_000), 2)).toBeUndefined();
    expect(parseMinor(`1.${"0".repeat(1_000_000)}`, 2)).toBeUndefined();
    expect(parseMinor(10n, 2)).toBeUndefined();
  });

  test("never throws and never returns a negative amount", () => {
    fc.assert(
      fc.property(fc.oneof(fc.anything({ withBigInt: true }), fc.string(), fc.double()), (value) => {
        const parsed = parseMinor(value, 2);
        expect(parsed === undefined || parsed >= 0n).toBe(true);
      }),
    );
  });
});

describe("minorDigits", () => {
  test.each([
    ["UGX", 0],
    ["XAF", 0],
    ["XOF", 0],
    ["RWF", 0],
    ["GNF", 0],
    ["KES", 2],
    ["TZS", 2],
    ["BDT", 2],
    ["GHS", 2],
    ["ZMW", 2],
    ["EUR", 2],
    ["TND", 3],
  ])("gives %s %i decimals", (currency, digits) => {
    expect(minorDigits(currency)).toBe(digits);
  });
});

describe("formatMinor", () => {
  test.each([
    [5_000n, 0, "5000"],
    [15_000n, 2, "150.00"],
    [7n, 2, "0.07"],
    [0n, 2, "0.00"],
    [1n, 3, "0.001"],
  ] as const)("writes %s with %i decimals as %s", (value, digits, text) => {
    expect(formatMinor(value, digits)).toBe(text);
  });

  test("is the inverse of parseMinor", () => {
    fc.assert(
      fc.property(minor, fc.constantFrom(0, 2, 3), (value, digits) => {
        expect(parseMinor(formatMinor(value, digits), digits)).toBe(value);
      }),
    );
  });
});
