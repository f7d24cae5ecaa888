import { referenceOf } from "../../../server/provider/mtn/messages.ts";
import { fixture } from "../../support/sandbox.ts";
import type { ScriptedAnswer } from "../../support/script.ts";
import { type Told, testProvider } from "../contract.ts";

const own = ({ paymentId, amountMinor, receipt }: Told) => ({
  amount: String(amountMinor),
  externalId: paymentId,
  financialTransactionId: receipt,
});

/** A fixture as the answer about this payment. */
function status(name: string, told: Told): ScriptedAnswer {
  const found = fixture("mtn", name);
  return { ...found, body: { ...found.body, ...own(told) } };
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
  refused: {
    "error-bad-request": "provider_error",
    "error-target-environment": "provider_error",
    "error-callback-host": "provider_error",
    "error-currency": "provider_error",
    "error-payer-not-found": "declined",
    "error-too-many-requests": "provider_error",
    "error-firewall": "provider_error",
  },
  unknown: ["error-internal", "error-unavailable"],
  confirmed: {
    succeeded: (told) => status("status-successful", told),
    open: (told) => status("status-pending", told),
    fixture: status,
    ended: {
      "status-rejected": { status: "failed", reason: "cancelled" },
      "status-expired": { status: "expired", reason: "no_response" },
      "status-not-enough-funds": { status: "failed", reason: "insufficient_funds" },
      "status-low-balance": { status: "failed", reason: "insufficient_funds" },
      "status-payer-limit": { status: "failed", reason: "limit" },
      "status-failed": { status: "failed", reason: "provider_error" },
    },
    nothing: ["status-not-found", "status-unknown-word", "error-internal", "error-unavailable"],
  },
  succeeded: (told) => ({
    headers: {},
    body: JSON.stringify({ ...fixture("mtn", "webhook-successful").body, ...own(told) }),
  }),
  // MTN has no word for a wrong PIN.
  endings: { "04": [{ status: "failed", reason: "cancelled" }] },
});
