import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseJson } from "../server/json.ts";
import { jsonFault } from "../server/json-fault.ts";

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

describe("the fault of a text that is not JSON", () => {
  it.each([
    ['{"a":1,}', "line 1, column 7 has a comma too many"],
    ['{"a":[1,\n2,\n]}', "line 2, column 2 has a comma too many"],
    ['{"a":1,,}', "line 1, column 8 needs the name of a field in double quotes"],
    ["[,]", "line 1, column 2 needs a value: a string in double quotes, a number, true, false, null, { or ["],
    ['{"a":1,', "it ends at line 1, column 8, which needs the name of a field in double quotes"],
    ["{'a':1}", "line 1, column 2 needs the name of a field in double quotes"],
    ['{"a" 1}', "line 1, column 6 needs a colon"],
    ['{"a":1 "b":2}', "line 1, column 8 needs a comma or }"],
    ["[1 2]", "line 1, column 4 needs a comma or ]"],
    [
      '{\n  "a": NaN\n}',
      "line 2, column 8 needs a value: a string in double quotes, a number, true, false, null, { or [",
    ],
    ['{"a":01}', "line 1, column 6 needs a value: a string in double quotes, a number, true, false, null, { or ["],
    ['{"a":"x\ny"}', "line 1, column 8 needs an escape in place of a control character, such as \\n"],
    ['{"a":"\\x"}', "line 1, column 7 needs a valid escape"],
    ["{} {}", "line 1, column 4 needs the end of the text"],
    ['{"a":1', "it ends at line 1, column 7, which needs a comma or }"],
    ['{"a":"secret', "it ends at line 1, column 13, which needs the quote that ends the string"],
    ["a=1&b=2", "line 1, column 1 needs a value: a string in double quotes, a number, true, false, null, { or ["],
  ])("of %j is named with its place", (text, fault) => {
    expect(jsonFault(text)).toBe(`is not JSON: ${fault}`);
  });

  it("exists if and only if JSON.parse refuses the text, and never contains the text", () => {
    const damaged = fc
      .tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2, unit: fc.constantFrom(...'{}[]",:\\0-e.tn \u0001\n') }))
      .map(([json, at, text]) => json.slice(0, at % (json.length + 1)) + text + json.slice(at % (json.length + 1)));
    const any = fc.oneof(damaged, fc.json(), fc.string());
    fc.assert(
      fc.property(any, (text) => {
        expect(jsonFault(text) === undefined).toBe(isJson(text.replace(/^\ufeff/, "")));
      }),
      { numRuns: 3_000 },
    );
    expect(jsonFault('{"password": hunter2}')).not.toContain("hunter2");
  });

  it("is found in a long text without a stack overflow", () => {
    expect(jsonFault(`{"a":"${"x".repeat(65_000)}`)).toContain("ends the string");
    expect(jsonFault(`${"[".repeat(100)}x`)).toContain("needs a value");
  });
});

describe("parseJson", () => {
  it("skips one byte order mark", () => {
    expect(parseJson('\ufeff{"a":1}')).toEqual({ a: 1 });
    expect(() => parseJson("\ufeff\ufeff{}")).toThrow(SyntaxError);
    expect(() => parseJson("\ufeff")).toThrow(SyntaxError);
  });
});
