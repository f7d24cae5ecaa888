import { describe, expect, it } from "vitest";
import { createSmsList, smsMax, smsPerPhoneMax } from "../../server/sandbox/sms-list.ts";

const sms = (phone: string, text = "") => ({ phone, from: "ASHA", text });

describe("the list of SMS", () => {
  it("lists the messages of a number in any form, oldest first", () => {
    const list = createSmsList();
    list.add(sms("+254712345600", "one"));
    list.add(sms("254712345600", "two"));
    list.add(sms("+254712345700", "other"));
    list.add(sms("+254112345600", "ends alike"));
    for (const number of ["0712 345 600", "+254712345600", "০৭১২৩৪৫৬০০"]) {
      expect(list.of(number).map(({ text }) => text)).toEqual(["one", "two"]);
    }
    expect(list.of("5600")).toEqual([]);
  });

  it("tells countries apart whose numbers end alike", () => {
    const list = createSmsList();
    const numbers = ["+254712345600", "+255712345600", "+8801712345600", "+26812345600"];
    for (const number of numbers) list.add(sms(number, number));
    const shown = (number: string) => list.of(number).map(({ text }) => text);
    for (const number of numbers) {
      for (const form of [number, number.slice(1), number.replace("+", "00")]) expect(shown(form)).toEqual([number]);
    }
    expect(shown("01712345600")).toEqual(["+8801712345600"]);
    // Two countries write this number so.
    expect(shown("0712345600")).toEqual(["+254712345600", "+255712345600"]);
    expect(shown("12345600")).toEqual(["+26812345600"]);
  });

  it("keeps the latest 50 of a phone", () => {
    const list = createSmsList();
    for (let n = 0; n <= smsPerPhoneMax; n += 1) list.add(sms("+254712345600", String(n)));
    const texts = list.of("0712345600").map(({ text }) => text);
    expect(texts).toHaveLength(smsPerPhoneMax);
    expect([texts[0], texts.at(-1)]).toEqual(["1", String(smsPerPhoneMax)]);
  });

  it("keeps a bounded number of all phones", () => {
    const list = createSmsList();
    list.add(sms("+254700000000"));
    for (let n = 0; n < smsMax; n += 1) list.add(sms(`+2547${String(n + 1).padStart(8, "0")}`));
    expect(list.of("+254700000000")).toEqual([]);
    expect(list.of("+254700000001")).toHaveLength(1);
  });
});
