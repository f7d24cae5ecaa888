import { testAccount } from "../../support/account.ts";
import { fixture } from "../../support/sandbox.ts";
import type { ScriptedAnswer } from "../../support/scripted-provider.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

/** A fixture of the query, changed into the answer about this payment. */
function query(name: string, { paymentId, amountMinor, receipt }: StatedPayment): ScriptedAnswer {
  const { status = 200, body } = fixture("zenopay", name);
  if (!Array.isArray(body.data)) return { status, body };
  const own = { order_id: paymentId, amount: String(amountMinor / 100), transid: `${receipt}SETSN` };
  return { status, body: { ...body, data: body.data.map((row: object) => ({ ...row, ...own })) } };
}

testProvider({
  name: "zenopay",
  currency: "TZS",
  amountMinor: 150_000,
  phone: (ending) => `+2557123456${ending}`,
  kindOf: ({ path }) => (path.startsWith("/order-status?") ? "confirm" : "initiate"),
  accepted: (_reference, call) => ({ body: { ...fixture("zenopay", "accepted").body, order_id: call.body.order_id } }),
  referenceOf: ({ id }) => id,
  confirmed: {
    succeeded: (stated) => query("query-completed", stated),
    open: (stated) => query("query-pending", stated),
  },
  succeeded: ({ paymentId }) => ({
    headers: { "x-api-key": testAccount("zenopay").API_KEY },
    body: JSON.stringify({ ...fixture("zenopay", "webhook-completed").body, order_id: paymentId }),
  }),
  // The query has no reason beside FAILED, and an unanswered prompt stays PENDING.
  endings: {
    "03": [{ status: "failed", reason: "declined" }],
    "04": [{ status: "failed", reason: "declined" }],
    "05": [{ status: "expired", reason: "deadline" }],
  },
});
