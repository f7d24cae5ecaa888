import { describe, expect, it } from "vitest";
import type { Outcome } from "../../server/order/order.ts";
import { createWebhookBudget, evidenceOf, type Permit, type Refusal } from "../../server/webhook/budget.ts";
import { failed, paid } from "../support/store.ts";

interface Given {
  bytes: number;
  key: string;
}

/** A budget, its clock, and webhooks of one payment. */
function open() {
  const clock = { ms: 0 };
  const budget = createWebhookBudget(() => clock.ms);
  const admit = (evidence?: string, { bytes = 500, key = "payment" }: Partial<Given> = {}): Permit | Refusal =>
    budget.admit(key, { bytes, ...(evidence !== undefined && { evidence }) });
  /** Admits and stores a webhook. Returns the decision as text. */
  const store = (
    evidence?: string,
    given: Partial<Given> & { isChange?: boolean; isSettled?: boolean } = {},
  ): string => {
    const admission = admit(evidence, given);
    if (admission.isAdmitted) admission.commit(given);
    return textOf(admission);
  };
  return { budget, clock, admit, store };
}

const textOf = (admission: Permit | Refusal): string => {
  if (admission.isAdmitted) return admission.isNew ? "new" : "admitted";
  const { error, shouldCheck } = admission;
  const answer = error ? `${error.status} after ${error.details.retryAfterS} s` : "acknowledged";
  return shouldCheck ? `${answer}, check` : answer;
};

const times = (count: number, act: (index: number) => string): string[] =>
  Array.from({ length: count }, (_, n) => act(n));

const countOf = (decisions: readonly string[]) => decisions.filter((one) => one === "admitted" || one === "new").length;

describe("webhook budget", () => {
  it("admits 20 webhooks that change nothing in 10 minutes, counted from the first (G12)", () => {
    const { clock, store } = open();
    expect(countOf(times(20, () => store()))).toBe(20);
    clock.ms = 1_000;
    expect([store(), store()]).toEqual(["429 after 599 s, check", "429 after 599 s"]);
    clock.ms = 599_999;
    expect(store()).toBe("429 after 1 s, check");
    clock.ms = 600_000;
    expect(countOf(times(30, () => store()))).toBe(20);
  });

  it("charges less for a webhook that changes the payment", () => {
    const { store } = open();
    expect(times(3, (n) => store(`${n}`, { isChange: true }))).toEqual(["new", "new", "new"]);
    expect(countOf(times(30, () => store()))).toBe(19);
  });

  it("admits 128 KiB (G12)", () => {
    const { store } = open();
    expect(times(3, () => store(undefined, { bytes: 60_000 }))).toEqual([
      "admitted",
      "admitted",
      "429 after 600 s, check",
    ]);
    expect(store(undefined, { bytes: 131_072 - 120_000 })).toBe("admitted");
    expect(store(undefined, { bytes: 1 })).toBe("429 after 600 s");
  });

  it("admits 5 webhooks and 32 KiB an hour once the payment has ended (G12)", () => {
    const { clock, store } = open();
    expect(store("paid", { isChange: true, isSettled: true })).toBe("new");
    expect(countOf(times(30, () => store()))).toBe(4);
    expect(store("paid")).toBe("acknowledged");
    clock.ms = 600_000;
    expect(store()).toBe("429 after 3000 s, check");
    clock.ms = 3_600_000;
    expect(countOf(times(30, () => store()))).toBe(5);
    clock.ms = 2 * 3_600_000;
    expect(times(3, () => store(undefined, { bytes: 16_384 }))).toEqual([
      "admitted",
      "admitted",
      "429 after 3600 s, check",
    ]);
    // Money after a failure.
    expect(store("late")).toBe("new");
  });

  it("keeps the room of each payment apart", () => {
    const { store } = open();
    times(30, () => store());
    expect(store(undefined, { key: "other" })).toBe("admitted");
  });

  it("counts webhooks that are admitted at once, before any is stored", () => {
    const { admit } = open();
    const admissions = Array.from({ length: 100 }, () => admit());
    expect(countOf(admissions.map(textOf))).toBe(20);
    // A webhook that could not be stored costs nothing.
    for (const one of admissions) if (one.isAdmitted) one.release();
    expect(countOf(Array.from({ length: 100 }, () => textOf(admit())))).toBe(20);
  });
});

describe("webhook budget that is used up", () => {
  const full = () => {
    const ground = open();
    times(30, () => ground.store());
    times(30, () => ground.store(undefined, { bytes: 20_000 }));
    return ground;
  };

  it("admits new evidence, whatever came before it", () => {
    const { store } = full();
    expect(store("paid", { bytes: 16_384 })).toBe("new");
    expect(store("paid again")).toBe("new");
  });

  it("refuses new evidence that is larger than any provider's, and requests a check", () => {
    const { clock, store } = full();
    clock.ms = 15_000;
    expect(store("paid", { bytes: 16_385 })).toBe("429 after 585 s, check");
    expect(open().store("paid", { bytes: 16_385 })).toBe("new");
  });

  it("acknowledges evidence that is stored already", () => {
    const { store } = full();
    store("paid");
    expect(store("paid")).toBe("acknowledged");
  });

  it.each([
    ["commit", "acknowledged"],
    ["release", "new"],
  ] as const)("has a copy wait for the first of its kind: after its %s, the copy is %s", async (end, then) => {
    const { admit, store } = full();
    const first = admit("paid");
    const copy = admit("paid");
    if (!first.isAdmitted || copy.isAdmitted || !copy.inFlight) return expect.unreachable();
    expect(textOf(copy)).toBe("429 after 1 s");
    first[end]();
    await copy.inFlight;
    expect(store("paid")).toBe(then);
  });

  it("counts all hints as one piece of evidence, acknowledges them, and requests checks", () => {
    const { clock, store } = full();
    clock.ms = 15_000;
    const hint = evidenceOf({ proof: "signature", isHint: true, reference: "R" });
    expect([store(hint), store(hint), store(hint)]).toEqual(["new", "acknowledged, check", "acknowledged"]);
    clock.ms = 30_000;
    expect(store(hint)).toBe("acknowledged, check");
  });

  it("admits a webhook over budget where another limit applies", () => {
    const { budget, store } = full();
    times(8, (n) => store(`${n}`));
    const permit = budget.admitOverBudget("payment", { evidence: "paid", bytes: 20_000 });
    expect(textOf(permit)).toBe("new");
    permit.commit({ isChange: true });
    expect(store("paid")).toBe("acknowledged");
  });

  it("admits an honest sender that retries after the given time", () => {
    const { clock, store } = open();
    times(8, (n) => store(`${n}`));
    clock.ms = 1_000;
    expect(store("paid")).toBe("429 after 599 s, check");
    clock.ms += 599_000;
    expect([store("paid"), store("paid")]).toEqual(["new", "admitted"]);
  });

  it("treats evidence as new again when it could not be stored", () => {
    const { admit, store } = full();
    const first = admit("paid");
    if (first.isAdmitted) first.release();
    expect(store("paid")).toBe("new");
  });

  it("acknowledges evidence of which one of two copies was stored", () => {
    const { admit, store } = open();
    const [first, second] = [admit("paid"), admit("paid")];
    if (second.isAdmitted) second.commit({ isChange: true });
    if (first.isAdmitted) first.release();
    times(30, () => store());
    expect(store("paid")).toBe("acknowledged");
  });

  it("refuses more than 8 pieces of evidence in 10 minutes, and requests a check every 15 s at most (G12)", () => {
    const { clock, store } = open();
    expect(countOf(times(8, (n) => store(`${n}`)))).toBe(8);
    expect(times(3, (n) => store(`more ${n}`))).toEqual([
      "429 after 600 s, check",
      ...Array(2).fill("429 after 600 s"),
    ]);
    clock.ms = 15_000;
    expect(store("more")).toBe("429 after 585 s, check");
    // The first 8 are still known.
    times(30, () => store());
    expect(store("7")).toBe("acknowledged");
    clock.ms = 600_000;
    expect(store("more")).toBe("new");
  });
});

describe("evidenceOf", () => {
  const base = { proof: "secret", reference: "R1", outcome: paid({ receipt: "A" }) };
  const alter = (outcome: Partial<Outcome>) => ({ ...base, outcome: { ...base.outcome, ...outcome } });

  it("differs exactly where status, money, receipt, reference or proof differ", () => {
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

describe("webhook budget of more than 10,000 payments", () => {
  it("forgets the payment that was used least recently", () => {
    const { store } = open();
    for (const key of ["kept", "forgotten"]) times(20, () => store(undefined, { key }));
    for (let n = 0; n < 9_999; n += 1) {
      store(undefined, { key: `${n}` });
      if (n === 5_000) expect(store(undefined, { key: "kept" })).toBe("429 after 600 s, check");
    }
    expect(store(undefined, { key: "kept" })).toBe("429 after 600 s");
    expect(store(undefined, { key: "forgotten" })).toBe("admitted");
  });
});
