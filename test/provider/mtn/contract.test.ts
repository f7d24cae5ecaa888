import { referenceOf } from "../../../server/provider/mtn/messages.ts";
import { fixture } from "../../support/sandbox.ts";
import type { ScriptedAnswer } from "../../support/scripted-provider.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

const own = ({ paymentId, amountMinor, receipt }: StatedPayment) => ({
  amount: String(amountMinor),
  externalId: paymentId,
  financialTransactionId: receipt,
});

/** A fixture, changed into the answer about this payment. */
function status(name: string, stated: StatedPayment): ScriptedAnswer {
  const found = fixture("mtn", name);
  return { ...found, body: { ...found.body, ...own(stated) } };
}

testProvider({
  name: "mtn",
  currency: "UGX",
  amountMinor: 5_000,
  phone: (ending) => `+2567712345${ending}`,
  kindOf({ method, path }) {
    if (path.startsWith("/collection/token/")) return "token";
    return method === "POST" ? "initiate" : "confirm";
  },
  token: fixture("mtn", "token"),
  tokenRefused: "error-unauthorized",
  accepted: () => fixture("mtn", "request-accepted"),
  referenceOf: ({ id }) => referenceOf(id),
  confirmed: {
    succeeded: (stated) => status("status-successful", stated),
    open: (stated) => status("status-pending", stated),
  },
  succeeded: (stated) => ({
    headers: {},
    body: JSON.stringify({ ...fixture("mtn", "webhook-successful").body, ...own(stated) }),
  }),
  // MTN has no code for a wrong PIN.
  endings: { "04": [{ status: "failed", reason: "cancelled" }] },
});
