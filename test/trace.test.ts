import { describe, expect, it } from "vitest";
import { currentTrace, readTrace, traceHeaders, withTrace } from "../server/trace.ts";

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const span = "00f067aa0ba902b7";

describe("readTrace", () => {
  it.each([
    `00-${traceId}-${span}-01`,
    `01-${traceId}-${span}-01`,
    `cc-${traceId}-${span}-01-and-what-comes-later`,
    `fe-${traceId}-${span}-01-`,
  ])("reads %s", (header) => {
    expect(readTrace(header)).toEqual({ traceId, flags: "01" });
  });

  it.each([
    undefined,
    "",
    `00-${traceId}-${span}-01-extra`,
    `00-${traceId}-${span}-01-`,
    `ff-${traceId}-${span}-01`,
    `cc-${traceId}-${span}-01.extra`,
    `cc-${traceId}-${span}-01extra`,
    `00-${traceId}-${span}-0`,
    `00-${traceId.toUpperCase()}-${span}-01`,
    `00-${"0".repeat(32)}-${span}-01`,
    `01-${traceId}-${"0".repeat(16)}-01`,
    `0-${traceId}-${span}-01`,
    ` 00-${traceId}-${span}-01`,
  ])("replaces %s by a new trace", (header) => {
    const found = readTrace(header);
    expect(found).toEqual({ traceId: expect.stringMatching(/^[0-9a-f]{32}$/), flags: "00" });
    expect(found.traceId).not.toBe(traceId);
  });
});

describe("traceHeaders", () => {
  it("makes a new span of the current trace for each call", () => {
    expect(traceHeaders()).toEqual({});
    withTrace({ traceId, flags: "01" }, () => {
      expect(currentTrace()).toEqual({ traceId, flags: "01" });
      const spans = [traceHeaders(), traceHeaders()].map(({ traceparent = "" }) => traceparent);
      for (const header of spans) expect(header).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
      expect(spans[0]).not.toBe(spans[1]);
    });
  });
});
