import { fixture } from "../../support/sandbox.ts";
import type { ScriptedAnswer } from "../../support/scripted-provider.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

/** A fixture, changed into the answer about this payment. */
const query = (name: string, { reference }: Pick<StatedPayment, "reference">): ScriptedAnswer => {
  const { status = 200, body } = fixture("payhero", name);
  return { status, body: status === 200 ? { ...body, reference } : body };
};

testProvider({
  name: "payhero",
  currency: "KES",
  amountMinor: 15_000,
  phone: (ending) => `+2547123456${ending}`,
  kindOf: ({ method }) => (method === "POST" ? "initiate" : "confirm"),
  accepted: (reference) => ({ status: 201, body: { ...fixture("payhero", "payment-queued").body, reference } }),
  confirmed: {
    succeeded: (stated) => query("query-success", stated),
    open: (stated) => query("query-queued", stated),
  },
  succeeded: ({ paymentId, amountMinor, receipt }) => {
    const { response, ...body } = fixture("payhero", "webhook-success").body;
    const own = { Amount: amountMinor / 100, ExternalReference: paymentId, MpesaReceiptNumber: receipt };
    return { headers: {}, body: JSON.stringify({ ...body, response: { ...Object(response), ...own } }) };
  },
});
