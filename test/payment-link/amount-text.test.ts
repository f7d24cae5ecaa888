/** Amounts as payers type them. */
import { describe, expect, it } from "vitest";
import { readAmountText } from "../../server/payment-link/amount-text.ts";

describe("readAmountText", () => {
  it.each([
    ["1500", "KES", 150_000],
    ["1,500.00", "KES", 150_000],
    ["1 500", "KES", 150_000],
    ["1,00,000", "BDT", 10_000_000],
    ["KES 1500", "KES", 150_000],
    ["Ksh. 1,500", "KES", 150_000],
    ["KSh1500/=", "KES", 150_000],
    ["1500/-", "KES", 150_000],
    ["sh 50", "TZS", 5_000],
    ["Tsh 5,000/=", "TZS", 500_000],
    ["USh 42,000", "UGX", 42_000],
    ["৳৫০০", "BDT", 50_000],
    ["Tk 500.50", "BDT", 50_050],
    ["K50", "ZMW", 5_000],
    ["GH₵ 20", "GHS", 2_000],
    ["2000 F CFA", "XOF", 2_000],
    ["٥٠٠", "KES", 50_000],
    ["05", "KES", 500],
  ])("reads %s in %s", (text, currency, minor) => {
    expect(readAmountText(text, currency)).toBe(minor);
  });

  it.each([
    ["", "KES"],
    ["0", "KES"],
    ["-5", "KES"],
    ["1e3", "KES"],
    ["0x10", "KES"],
    ["1.500", "KES"],
    ["1,50", "KES"],
    ["12,50", "KES"],
    ["15.5", "UGX"],
    ["5k", "KES"],
    ["5K", "ZMW"],
    ["KESKES5", "KES"],
    ["UGX 500", "KES"],
    ["$5", "KES"],
    ["5 0 0 0", "KES"],
    ["9007199254740993", "KES"],
    ["99999999999999999999", "KES"],
  ])("reads no amount in %j in %s", (text, currency) => {
    expect(readAmountText(text, currency)).toBeUndefined();
  });
});
