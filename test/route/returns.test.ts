/** What the payer's return leads to, with the question to the provider staged. */
import Fastify from "fastify";
import { expect, it, onTestFinished, vi } from "vitest";
import { createUrlSecrets } from "../../server/auth/keys.ts";
import type { Outcome } from "../../server/order/order.ts";
import { createInFlight } from "../../server/payment/in-flight.ts";
import { returnRoutes } from "../../server/route/returns.ts";
import { openProvider } from "../support/scripted-provider.ts";

const paymentId = "0199f2c4-7c1e-7b1a-9f5e-2d8c6a3b4e52";
const secrets = createUrlSecrets(["a secret that is long enough for anybody"], "return");

/** Comes back with "cancel"; the provider answers so, each time that it is asked. */
async function cancel(answers: readonly (Outcome | undefined)[]) {
  const advance = vi.fn();
  const ask = vi.fn(async () => answers[ask.mock.calls.length - 1]);
  const payment = { id: paymentId, orderId: "ORD-1", attempt: 1, provider: "bkash", amountMinor: 1n, currency: "BDT" };
  const app = Fastify();
  onTestFinished(() => app.close());
  returnRoutes(app, {
    providers: new Map([["bkash", openProvider("bkash", "http://127.0.0.1:9")]]),
    secrets,
    store: {
      advance,
      checkNow: vi.fn(),
      recordReturn: async () => ({ payment, status: "processing", completes: false }),
      clearCompletionLock: vi.fn(),
      slowQueries: vi.fn(),
    },
    ask,
    inFlight: createInFlight(),
    log: app.log,
  });
  await app.inject(`/return/${secrets.seal("bkash", paymentId)}?status=cancel`);
  return { ask, advance };
}

const open: Outcome = { status: "processing", source: "query" };

it('a payer\'s "no" is believed when the question was taken by somebody else the first time', async () => {
  const { ask, advance } = await cancel([undefined, open]);
  expect(ask).toHaveBeenCalledTimes(2);
  expect(advance).toHaveBeenCalledWith(paymentId, { status: "failed", reason: "cancelled", source: "payer" });
});

it('a payer\'s "no" is not believed while the provider says nothing, however often', async () => {
  const { ask, advance } = await cancel([]);
  expect(ask).toHaveBeenCalledTimes(3);
  expect(advance).not.toHaveBeenCalled();
});
