import { fixture } from "../../support/sandbox.ts";
import { type Told, testProvider } from "../contract.ts";

const callback = (reference: string, fields: object): string =>
  JSON.stringify({ Body: { stkCallback: { MerchantRequestID: "1-2-3", CheckoutRequestID: reference, ...fields } } });

/** A fixture as the answer about this payment. */
const query = (name: string, { reference }: Pick<Told, "reference">) => {
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
  refused: {
    "error-locked-subscriber": "busy",
    "error-invalid-field": "provider_error",
    "error-wrong-credentials": "provider_error",
    "error-invalid-payload": "provider_error",
    "error-invalid-authentication-header": "provider_error",
    "error-bad-request": "provider_error",
    "error-resource-not-found": "provider_error",
    "error-wrong-endpoint": "provider_error",
    "error-spike-arrest": "provider_error",
    "error-firewall": "provider_error",
    "push-refused": "provider_error",
  },
  unknown: ["error-system-busy", "error-internal"],
  confirmed: {
    succeeded: (told) => query("query-success", told),
    open: (told) => query("query-open", told),
    fixture: query,
    ended: {
      "query-cancelled": { status: "failed", reason: "cancelled" },
      "query-no-response": { status: "expired", reason: "no_response" },
      "query-ack-timeout": { status: "expired", reason: "no_response" },
    },
    nothing: ["query-does-not-exist", "query-unknown-id", "error-system-busy", "error-spike-arrest", "error-firewall"],
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
