/** The return of a payer who cancelled, with scripted answers of the provider. */
import Fastify from "fastify";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import { createInFlight } from "../../server/in-flight.ts";
import type { Outcome } from "../../server/order/order.ts";
import { returnRoutes } from "../../server/route/returns.ts";
import { openProvider } from "../support/scripted-provider.ts";

const paymentId = "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52";
const secrets = createUrlSecrets(["a secret that is long enough for anybody"], "return");

/** Returns with "cancel". `answers`: the results of the checks, in order. */
async function cancel(answers: readonly (Outcome | undefined)[], end = "") {
  const advance = vi.fn();
  const check = vi.fn(async () => answers[check.mock.calls.length - 1]);
  const payment = { id: paymentId, orderId: "ORD-1", attempt: 1, provider: "bkash", amountMinor: 1n, currency: "BDT" };
  const app = Fastify();
  onTestFinished(() => app.close());
  returnRoutes(app, {
    providers: new Map([["bkash", openProvider("bkash", "http://127.0.0.1:9")]]),
    secrets,
    isBlocked: () => false,
    store: {
      advance,
      checkNow: vi.fn(),
      recordReturn: async () => ({ payment, status: "processing", completes: false }),
      clearCompletionLock: vi.fn(),
      slowQueries: vi.fn(),
    },
    query: { findByPayment: async () => undefined },
    tokens: { issue: () => ({ watchToken: "", watchTokenExpiresAt: "" }) },
    check,
    inFlight: createInFlight(),
    log: app.log,
  });
  await app.inject(`/return/${secrets.seal("bkash", paymentId)}${end}?status=cancel`);
  return { check, advance };
}

const open: Outcome = { status: "processing", source: "query" };

describe("payer's cancellation", () => {
  it("counts when another node had claimed the first check", async () => {
    const { check, advance } = await cancel([undefined, open]);
    expect(check).toHaveBeenCalledTimes(2);
    expect(advance).toHaveBeenCalledWith(paymentId, { status: "failed", reason: "cancelled", source: "payer" });
  });

  it("counts at a URL with a slash at the end", async () => {
    const { advance } = await cancel([open], "/");
    expect(advance).toHaveBeenCalledWith(paymentId, { status: "failed", reason: "cancelled", source: "payer" });
  });

  it("does not count while the provider gives no answer", async () => {
    const { check, advance } = await cancel([]);
    expect(check).toHaveBeenCalledTimes(3);
    expect(advance).not.toHaveBeenCalled();
  });
});
