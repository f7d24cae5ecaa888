import { fixture } from "../../support/sandbox.ts";
import { type StatedPayment, testProvider } from "../contract.ts";

const callback = (reference: string, fields: object): string =>
  JSON.stringify({ Body: { stkCallback: { MerchantRequestID: "1-2-3", CheckoutRequestID: reference, ...fields } } });

/** A fixture, changed into the answer about this payment. */
const query = (name: string, { reference }: Pick<StatedPayment, "reference">) => {
  const { status, body } = fixture("daraja", name);
  return { ...(status !== undefined && { status }), body: { ...body, CheckoutRequestID: reference } };
};

testProvider({
  name: "daraja",
  currency: "KES",
  amountMinor: 15_000,
  phone: (ending) => `+2547123456${ending}`,
  kindOf({ path }) {
    if (path.startsWith("/oauth/")) return "token";
    return path.includes("/stkpush/") ? "initiate" : "confirm";
  },
  token: { body: { access_token: "token", expires_in: "3599" } },
  tokenRefused: "error-invalid-token",
  accepted: (reference) => ({ body: { ...fixture("daraja", "push-accepted").body, CheckoutRequestID: reference } }),
  confirmed: {
    succeeded: (stated) => query("query-success", stated),
    open: (stated) => query("query-open", stated),
  },
  succeeded: ({ reference, amountMinor, receipt }) => ({
    headers: {},
    body: callback(reference, {
      ResultCode: 0,
      CallbackMetadata: {
        Item: [
          { Name: "Amount", Value: amountMinor / 100 },
          { Name: "MpesaReceiptNumber", Value: receipt },
        ],
      },
    }),
  }),
});
