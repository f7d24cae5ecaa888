import { describe, expect, it } from "vitest";
import type { Outcome, Payment } from "../../server/order/order.ts";
import { figuresOf, measureProviders } from "../../server/provider/call-stats.ts";
import type { Completion, Provider } from "../../server/provider/provider.ts";

describe("the figures of counted calls", () => {
  it("have quantiles by nearest rank", () => {
    const single = Array.from({ length: 200 }, (_, index) => ({ took_ms: index + 1, calls: 1, failed: 0 }));
    expect(figuresOf(single)).toEqual({ count: 200, errors: 0, p50Ms: 100, p99Ms: 198 });
    const slow = [
      { took_ms: 3, calls: 98, failed: 1 },
      { took_ms: 900, calls: 2, failed: 2 },
    ];
    expect(figuresOf(slow)).toEqual({ count: 100, errors: 3, p50Ms: 3, p99Ms: 900 });
    expect(figuresOf([])).toEqual({ count: 0, errors: 0, p50Ms: null, p99Ms: null });
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
