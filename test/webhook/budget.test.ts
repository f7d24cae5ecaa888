import { describe, expect, it } from "vitest";
import type { Outcome } from "../../server/order/order.ts";
import { createWebhookBudget, evidenceOf, type Permit, type Refusal } from "../../server/webhook/budget.ts";
import { failed, paid } from "../support/store.ts";

interface Given {
  bytes: number;
  key: string;
}

/** A budget, its clock, and what it says to webhooks of one payment. */
function open() {
  const clock = { ms: 0 };
  const budget = createWebhookBudget(() => clock.ms);
  const tell = (evidence?: string, { bytes = 500, key = "payment" }: Partial<Given> = {}): Permit | Refusal =>
    budget.admit(key, { bytes, ...(evidence !== undefined && { evidence }) });
  /** Lets it in and stores it, or says why not. */
  const store = (
    evidence?: string,
    given: Partial<Given> & { isChange?: boolean; isSettled?: boolean } = {},
  ): string => {
    const admission = tell(evidence, given);
    if (admission.isAdmitted) admission.stored(given);
    return sayOf(admission);
  };
  return { budget, clock, tell, store };
}

const sayOf = (admission: Permit | Refusal): string => {
  if (admission.isAdmitted) return admission.isNew ? "new" : "in";
  const { error, asks } = admission;
  return `${error ? `${error.status} after ${error.details.retryAfterS} s` : "known"}${asks ? ", asks" : ""}`;
};

const times = (count: number, act: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, n) => act(n));

const countOf = (said: readonly string[]) => said.filter((one) => one === "in" || one === "new").length;

describe("the webhooks of one payment", () => {
  it("that change nothing have room for 20 in 10 minutes, counted from the first", () => {
    const { clock, store } = open();
    expect(countOf(times(20, () => store()))).toBe(20);
    clock.ms = 1_000;
    expect([store(), store()]).toEqual(["429 after 599 s, asks", "429 after 599 s"]);
    clock.ms = 599_999;
    expect(store()).toBe("429 after 1 s, asks");
    clock.ms = 600_000;
    expect(countOf(times(30, () => store()))).toBe(20);
  });

  it("cost less where they change the payment", () => {
    const { store } = open();
    expect(times(3, (n) => store(`${n}`, { isChange: true }))).toEqual(["new", "new", "new"]);
    expect(countOf(times(30, () => store()))).toBe(19);
  });

  it("have room for 128 KiB", () => {
    const { store } = open();
    expect(times(3, () => store(undefined, { bytes: 60_000 }))).toEqual(["in", "in", "429 after 600 s, asks"]);
    expect(store(undefined, { bytes: 131_072 - 120_000 })).toBe("in");
    expect(store(undefined, { bytes: 1 })).toBe("429 after 600 s");
  });

  it("have room for 5 an hour and 32 KiB once the payment has ended", () => {
    const { clock, store } = open();
    expect(store("paid", { isChange: true, isSettled: true })).toBe("new");
    expect(countOf(times(30, () => store()))).toBe(4);
    expect(store("paid")).toBe("known");
    clock.ms = 600_000;
    expect(store()).toBe("429 after 3000 s, asks");
    clock.ms = 3_600_000;
    expect(countOf(times(30, () => store()))).toBe(5);
    clock.ms = 2 * 3_600_000;
    expect(times(3, () => store(undefined, { bytes: 16_384 }))).toEqual(["in", "in", "429 after 3600 s, asks"]);
    // Money after a failure.
    expect(store("late")).toBe("new");
  });

  it("use up no other payment's room", () => {
    const { store } = open();
    times(30, () => store());
    expect(store(undefined, { key: "other" })).toBe("in");
  });

  it("take no more room when they come at once, before any is stored", () => {
    const { tell } = open();
    const admissions = Array.from({ length: 100 }, () => tell());
    expect(countOf(admissions.map(sayOf))).toBe(20);
    // What could not be stored has cost nothing.
    for (const one of admissions) if (one.isAdmitted) one.failed();
    expect(countOf(Array.from({ length: 100 }, () => sayOf(tell())))).toBe(20);
  });
});

describe("evidence", () => {
  const full = () => {
    const ground = open();
    times(30, () => ground.store());
    times(30, () => ground.store(undefined, { bytes: 20_000 }));
    return ground;
  };

  it("that is new is let in, whatever came before it", () => {
    const { store } = full();
    expect(store("paid", { bytes: 16_384 })).toBe("new");
    expect(store("paid again")).toBe("new");
  });

  it("that is larger than any provider's needs room, and makes us ask", () => {
    const { clock, store } = full();
    clock.ms = 15_000;
    expect(store("paid", { bytes: 16_385 })).toBe("429 after 585 s, asks");
    expect(open().store("paid", { bytes: 16_385 })).toBe("new");
  });

  it("that is stored already is acknowledged when there is no room for it", () => {
    const { store } = full();
    store("paid");
    expect(store("paid")).toBe("known");
  });

  it.each([
    ["stored", "known"],
    ["failed", "new"],
  ] as const)("that is being stored waits for what becomes of the first: %s, it is %s", async (became, then) => {
    const { tell, store } = full();
    const first = tell("paid");
    const copy = tell("paid");
    if (!first.isAdmitted || copy.isAdmitted || !copy.whenKnown) return expect.unreachable();
    expect(sayOf(copy)).toBe("429 after 1 s");
    first[became]();
    await copy.whenKnown;
    expect(store("paid")).toBe(then);
  });

  it("that is only a reason to ask is one of the 8, is acknowledged, and makes us ask beyond the budget too", () => {
    const { clock, store } = full();
    clock.ms = 15_000;
    const hint = evidenceOf({ proof: "signature", isHint: true, reference: "R" });
    expect([store(hint), store(hint), store(hint)]).toEqual(["new", "known, asks", "known"]);
    clock.ms = 30_000;
    expect(store(hint)).toBe("known, asks");
  });

  it("is let in whatever the count where its bound is another's", () => {
    const { budget, store } = full();
    times(8, (n) => store(`${n}`));
    const permit = budget.admitAnyway("payment", { evidence: "paid", bytes: 20_000 });
    expect(sayOf(permit)).toBe("new");
    permit.stored({ isChange: true });
    expect(store("paid")).toBe("known");
  });

  it("of an honest sender who comes again when it was told to is let in", () => {
    const { clock, store } = open();
    times(8, (n) => store(`${n}`));
    clock.ms = 1_000;
    expect(store("paid")).toBe("429 after 599 s, asks");
    clock.ms += 599_000;
    expect([store("paid"), store("paid")]).toEqual(["new", "in"]);
  });

  it("that could not be stored is new again", () => {
    const { tell, store } = full();
    const first = tell("paid");
    if (first.isAdmitted) first.failed();
    expect(store("paid")).toBe("new");
  });

  it("that one of two copies stored is known, although the other failed", () => {
    const { tell, store } = open();
    const [first, second] = [tell("paid"), tell("paid")];
    if (second.isAdmitted) second.stored({ isChange: true });
    if (first.isAdmitted) first.failed();
    times(30, () => store());
    expect(store("paid")).toBe("known");
  });

  it("of more than 8 kinds in 10 minutes is refused, and makes us ask every 15 s at most", () => {
    const { clock, store } = open();
    expect(countOf(times(8, (n) => store(`${n}`)))).toBe(8);
    expect(times(3, (n) => store(`more ${n}`))).toEqual(["429 after 600 s, asks", ...Array(2).fill("429 after 600 s")]);
    clock.ms = 15_000;
    expect(store("more")).toBe("429 after 585 s, asks");
    // What came before is still known.
    times(30, () => store());
    expect(store("7")).toBe("known");
    clock.ms = 600_000;
    expect(store("more")).toBe("new");
  });
});

describe("what evidence is", () => {
  const base = { proof: "secret", reference: "R1", outcome: paid({ receipt: "A" }) };
  const alter = (outcome: Partial<Outcome>) => ({ ...base, outcome: { ...base.outcome, ...outcome } });

  it("differs where status, money, receipt, reference or proof do, and nowhere else", () => {
    const different = [
      base,
      { ...base, proof: "signature" },
      { ...base, proof: "none" },
      { ...base, reference: "R2" },
      { ...base, ownReference: "O1" },
      { proof: "secret", reference: "R1" },
      { ...base, outcome: failed() },
      alter({ receipt: "B" }),
      alter({ amountMinor: 1n }),
      alter({ currency: "TZS" }),
    ];
    expect(new Set(different.map(evidenceOf)).size).toBe(different.length);
    const hints = [{ proof: "none" }, { proof: "none", reference: "R1" }, { ...base, isHint: true as const }];
    expect(new Set(hints.map(evidenceOf)).size).toBe(1);
    expect(evidenceOf({ ...base, outcome: failed({ reason: "busy" }) })).toBe(
      evidenceOf({ ...base, outcome: failed() }),
    );
  });
});

describe("budgets of more payments than are kept", () => {
  it("are forgotten, the one that was used least recently first", () => {
    const { store } = open();
    for (const key of ["kept", "forgotten"]) times(20, () => store(undefined, { key }));
    for (let n = 0; n < 9_999; n += 1) {
      store(undefined, { key: `${n}` });
      if (n === 5_000) expect(store(undefined, { key: "kept" })).toBe("429 after 600 s, asks");
    }
    expect(store(undefined, { key: "kept" })).toBe("429 after 600 s");
    expect(store(undefined, { key: "forgotten" })).toBe("in");
  });
});
