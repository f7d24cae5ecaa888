/** Webhooks with Lipana's signature. */
import { createHmac } from "node:crypto";
import { testAccount } from "./account.ts";
import { fixture } from "./sandbox.ts";

/** A success in shape B, signed with the sandbox's secret by default. */
export function lipanaWebhook(
  { reference, amountMinor, receipt }: { reference: string; amountMinor: number; receipt: string },
  secret: string = testAccount("lipana").WEBHOOK_SECRET,
): { headers: Record<string, string>; body: string } {
  const body = JSON.stringify({
    ...fixture("lipana", "webhook-b-success").body,
    transaction_id: reference,
    amount: amountMinor / 100,
    mpesa_receipt_number: receipt,
  });
  return { headers: signLipana(body, secret), body };
}

/** The header with the signature of a body. */
export const signLipana = (
  body: string,
  secret: string = testAccount("lipana").WEBHOOK_SECRET,
): Record<string, string> => ({
  "x-lipana-signature": createHmac("sha256", secret).update(body).digest("hex"),
});
