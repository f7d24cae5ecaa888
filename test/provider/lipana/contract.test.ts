import { lipanaWebhook, signLipana } from "../../support/lipana.ts";
import { fixture } from "../../support/sandbox.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

/** A fixture, changed into the answer about this payment. */
const status = (name: string, { reference, amountMinor, receipt }: StatedPayment) => {
  const { status, body } = fixture("lipana", name);
  const stated = { transactionId: reference, amount: amountMinor / 100, mpesaReceiptNumber: receipt };
  return { ...(status !== undefined && { status }), body: { ...body, ...stated } };
};

testProvider({
  name: "lipana",
  currency: "KES",
  amountMinor: 15_000,
  phone: (ending) => `+2547123456${ending}`,
  kindOf: ({ method }) => (method === "POST" ? "initiate" : "confirm"),
  accepted: (reference) => ({ body: { success: true, data: { transactionId: reference, status: "pending" } } }),
  confirmed: {
    succeeded: (stated) => status("status-success", stated),
    open: (stated) => status("status-pending", stated),
  },
  succeeded: (stated) => lipanaWebhook(stated),
  sign: (body) => signLipana(body),
  forged: (stated) => lipanaWebhook(stated, "another secret"),
  isAccountWide: true,
});
