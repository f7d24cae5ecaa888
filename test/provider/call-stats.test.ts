import { describe, expect, it } from "vitest";
import type { Outcome, Payment } from "../../server/order/order.ts";
import { createRecentCalls, type FinishedCall, measureProviders } from "../../server/provider/call-stats.ts";
import type { Completion, Provider } from "../../server/provider/provider.ts";

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
      complete: { count: 0, errors: 0, p50Ms: null, p99Ms: null },
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

describe("a measured provider", () => {
  const known = { id: "p", reference: "r" } as Payment;
  const unknown = { id: "p" } as Payment;
  const signal = new AbortController().signal;
  const success: Outcome = { status: "succeeded", source: "reply" };

  /** A measured provider with these answers, and the outcomes of its calls by verb. */
  function open(answers: { confirm?: Outcome; complete?: Completion; needsReference?: true }) {
    const outcomes: string[] = [];
    const { confirm, complete = { isConclusive: true }, ...rest } = answers;
    const checkout = { read: () => undefined, complete: async () => complete };
    const provider = { name: "p", confirm: async () => confirm, checkout, ...rest } as Partial<Provider> as Provider;
    const measured = measureProviders([provider], ({ verb, outcome }) => outcomes.push(`${verb} ${outcome}`)).get("p");
    if (!measured?.checkout) throw new Error("the provider is missing");
    return { outcomes, confirm: measured.confirm, complete: measured.checkout.complete };
  }

  it("reports a query without news, also without a reference, unless that sends no request", async () => {
    const free = open({});
    for (const payment of [known, unknown]) await free.confirm(payment, signal);
    expect(free.outcomes).toEqual(["confirm nothing", "confirm nothing"]);
    const bound = open({ needsReference: true });
    for (const payment of [known, unknown]) await bound.confirm(payment, signal);
    expect(bound.outcomes).toEqual(["confirm nothing"]);
  });

  it.each<[string, Completion, string[]]>([
    ["a conclusive answer", { isConclusive: true, outcome: success }, ["complete answered"]],
    ["an inconclusive answer", { isConclusive: false }, ["complete nothing"]],
    ["a lost answer", { isConclusive: false, isLost: true }, ["complete failed"]],
  ])("reports the completion of a payment with %s", async (_name, completion, outcomes) => {
    const { outcomes: reported, complete } = open({ complete: completion });
    expect(await complete(known, signal)).toEqual(completion);
    expect(reported).toEqual(outcomes);
  });
});
