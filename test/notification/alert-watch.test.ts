/** When a node raises alerts about providers and invariants. */
import { describe, expect, it } from "vitest";
import type { StoredAlert } from "../../server/notification/alert/store.ts";
import { createAlertWatch } from "../../server/notification/alert/watch.ts";

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
  return { alerts, raised, clock };
}

describe("alert watch", () => {
  it("reports a failing provider once in an hour", () => {
    const { alerts, raised, clock } = watch();
    for (let n = 0; n < 3; n += 1) alerts.onProviderFailing("daraja");
    expect(raised).toEqual([{ kind: "provider_failing", live: true, subject: "daraja", version: 500_000 }]);
    clock.nowMs += hourMs;
    alerts.onProviderFailing("daraja");
    expect(raised.map(({ version }) => version)).toEqual([500_000, 500_001]);
  });

  it("keeps providers apart, and says whether their money moves", () => {
    const { alerts, raised } = watch();
    for (const provider of ["daraja", "mtn"]) alerts.onProviderFailing(provider);
    expect(raised).toMatchObject([
      { subject: "daraja", live: true },
      { subject: "mtn", live: false },
    ]);
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
