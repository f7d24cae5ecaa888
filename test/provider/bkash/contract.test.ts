import { fixture } from "../../support/sandbox.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

const about = ({ reference, paymentId }: Pick<StatedPayment, "reference" | "paymentId">) => ({
  paymentID: reference,
  merchantInvoice: paymentId,
});
const taka = (amountMinor: number): string => (amountMinor / 100).toFixed(2);

testProvider({
  name: "bkash",
  currency: "BDT",
  amountMinor: 15_000,
  phone: (ending) => `+88017123456${ending}`,
  kindOf({ path }) {
    if (path.includes("/token/")) return "token";
    if (path.endsWith("/create")) return "initiate";
    return path.endsWith("/payment/status") ? "confirm" : "other";
  },
  token: fixture("bkash", "token-granted"),
  tokenRefused: "error-unauthorized",
  accepted: (paymentID) => ({ body: { ...fixture("bkash", "create-accepted").body, paymentID } }),
  confirmed: {
    succeeded: (stated) => ({
      body: {
        ...fixture("bkash", "query-completed").body,
        ...about(stated),
        amount: taka(stated.amountMinor),
        trxID: stated.receipt,
      },
    }),
    open: (stated) => ({ body: { ...fixture("bkash", "query-initiated").body, ...about(stated) } }),
  },
  isAccountWide: true,
  succeeded({ paymentId, amountMinor, receipt }) {
    const { body } = fixture("bkash", "webhook-completed");
    const message = JSON.parse(String(body.Message));
    const paid = { ...message, merchantInvoiceNumber: paymentId, amount: taka(amountMinor), trxID: receipt };
    return {
      headers: { "content-type": "text/plain; charset=UTF-8" },
      body: JSON.stringify({ ...body, Message: JSON.stringify(paid) }),
    };
  },
  endings: {
    // A payer who returns after the deadline, or never gets to bKash's page, pays nothing.
    "09": [{ status: "expired", reason: "deadline" }],
    "11": [{ status: "expired", reason: "deadline" }],
  },
});
