import { describe, expect, it } from "vitest";
import { createRecentCalls, type FinishedCall } from "../../server/provider/call-stats.ts";

const callOf = (call: Partial<FinishedCall> = {}): FinishedCall => ({
  provider: "daraja",
  verb: "initiate",
  outcome: "answered",
  tookMs: 100,
  ...call,
});

describe("recent calls", () => {
  it("have quantiles by nearest rank, and count failures but not declined requests as errors", () => {
    const calls = createRecentCalls();
    for (let tookMs = 200; tookMs >= 1; tookMs -= 1) calls.add(callOf({ tookMs }));
    calls.add(callOf({ verb: "confirm", tookMs: 7.6, outcome: "failed" }));
    calls.add(callOf({ verb: "token", tookMs: 3, outcome: "declined" }));
    expect(calls.of("daraja")).toEqual({
      initiate: { count: 200, errors: 0, p50Ms: 100, p99Ms: 198 },
      confirm: { count: 1, errors: 1, p50Ms: 8, p99Ms: 8 },
      token: { count: 1, errors: 0, p50Ms: 3, p99Ms: 3 },
    });
    expect(calls.of("other").initiate).toEqual({ count: 0, errors: 0, p50Ms: null, p99Ms: null });
  });

  it("keep the last thousand per verb", () => {
    const calls = createRecentCalls();
    calls.add(callOf({ verb: "token" }));
    for (let count = 0; count < 2_500; count += 1)
      calls.add(callOf({ tookMs: count, outcome: count < 1_600 ? "failed" : "answered" }));
    expect(calls.of("daraja").initiate).toMatchObject({ count: 1_000, errors: 100, p50Ms: 1_999 });
    expect(calls.of("daraja").token.count).toBe(1);
  });

  it("cover the last 15 minutes", () => {
    let nowMs = 0;
    const calls = createRecentCalls(() => nowMs);
    calls.add(callOf({ tookMs: 1 }));
    nowMs = 600_000;
    calls.add(callOf({ tookMs: 2 }));
    nowMs = 900_000;
    expect(calls.of("daraja").initiate.count).toBe(2);
    nowMs = 900_001;
    expect(calls.of("daraja").initiate).toMatchObject({ count: 1, p50Ms: 2 });
  });
});
