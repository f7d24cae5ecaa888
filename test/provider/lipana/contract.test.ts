import { lipanaWebhook } from "../../support/lipana.ts";
import { fixture } from "../../support/sandbox.ts";
import { type Told, testProvider } from "../contract.ts";

/** A fixture as the answer about this payment. */
const status = (name: string, { reference, amountMinor, receipt }: Told) => {
  const { status, body } = fixture("lipana", name);
  const told = { transactionId: reference, amount: amountMinor / 100, mpesaReceiptNumber: receipt };
  return { ...(status !== undefined && { status }), body: { ...body, ...told } };
};

testProvider({
  name: "lipana",
  currency: "KES",
  amountMinor: 15_000,
  phone: (ending) => `+2547123456${ending}`,
  kindOf: ({ method }) => (method === "POST" ? "initiate" : "confirm"),
  accepted: (reference) => ({ body: { success: true, data: { transactionId: reference, status: "pending" } } }),
  confirmed: {
    succeeded: (told) => status("status-success", told),
    open: (told) => status("status-pending", told),
  },
  succeeded: (told) => lipanaWebhook(told),
  forged: (told) => lipanaWebhook(told, "another secret"),
  isAccountWide: true,
});
