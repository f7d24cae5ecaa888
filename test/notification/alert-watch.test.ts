/** When a node raises alerts about providers and invariants. */
import { describe, expect, it } from "vitest";
import type { StoredAlert } from "../../server/notification/alert/store.ts";
import { createAlertWatch } from "../../server/notification/alert/watch.ts";
import type { CallOutcome } from "../../server/provider/call-stats.ts";

const hourMs = 3_600_000;

function watch({ isMailed = true } = {}) {
  const raised: StoredAlert[] = [];
  const errors: unknown[] = [];
  const clock = { nowMs: 500_000 * hourMs };
  const alerts = createAlertWatch({
    raise: async (alert) => void raised.push(alert),
    isLive: (provider) => provider !== "mtn",
    isMailed,
    onError: (error) => errors.push(error),
    nowMs: () => clock.nowMs,
  });
  const calls = (outcome: CallOutcome, count: number, provider = "daraja"): void => {
    for (let n = 0; n < count; n += 1) alerts.onCall({ provider, verb: "initiate", outcome, tookMs: 1 });
  };
  return { alerts, raised, clock, calls };
}

describe("alert watch", () => {
  it("reports a provider when half of its last 20 calls failed, once in an hour", () => {
    const { raised, clock, calls } = watch();
    calls("failed", 9);
    expect(raised).toEqual([]);
    calls("failed", 30);
    expect(raised).toEqual([{ kind: "provider_failing", live: true, subject: "daraja", version: 500_000 }]);
    clock.nowMs += hourMs;
    calls("failed", 1);
    expect(raised.map(({ version }) => version)).toEqual([500_000, 500_001]);
  });

  it("does not count refusals of a payer, answers without evidence, or failures long before", () => {
    const { raised, calls } = watch();
    calls("declined", 50);
    calls("nothing", 50);
    for (let n = 0; n < 10; n += 1) {
      calls("failed", 4);
      calls("answered", 16);
    }
    expect(raised).toEqual([]);
  });

  it("keeps providers apart, and says whether their money moves", () => {
    const { raised, calls } = watch();
    calls("failed", 9);
    calls("failed", 10, "mtn");
    expect(raised).toMatchObject([{ subject: "mtn", live: false }]);
  });

  it("reports a violated invariant with its order", () => {
    const { alerts, raised } = watch({ isMailed: false });
    alerts.onViolation({ invariant: "success_taken_back", id: "019f0000-0000-7000-8000-000000000001" });
    expect(raised).toEqual([
      {
        kind: "invariant_violated",
        live: false,
        subject: "success_taken_back: 019f0000-0000-7000-8000-000000000001",
        version: 1,
      },
    ]);
  });
});
