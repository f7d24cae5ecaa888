/** Evidence in the form that the statements of the decision read. */
import type { Outcome } from "./order.ts";

/** One webhook as the inbox stores it, together with its result. Headers never include credentials. */
export interface InboxRow {
  provider: string;
  proof: "signature" | "secret" | "none";
  headers: Record<string, unknown>;
  body: Buffer;
}

/** One element of the JSON array that `readEvidence` (decide.ts) reads. */
export type Evidence = ReturnType<typeof toEvidence>;

export const toEvidence = (paymentId: string, outcome: Outcome, webhook?: InboxRow) => ({
  payment_id: paymentId,
  new_status: outcome.status,
  new_reason: outcome.reason,
  new_reference: outcome.reference?.toWellFormed(),
  new_receipt: outcome.receipt?.toWellFormed(),
  new_amount_minor: outcome.amountMinor?.toString(),
  new_currency: outcome.currency,
  new_action: outcome.action,
  source: outcome.source,
  note: outcome.note,
  ...(webhook && {
    sender: webhook.provider,
    proof: webhook.proof,
    headers: webhook.headers,
    body: webhook.body.toString("base64"),
  }),
});

/** The evidence states exactly what `acceptStatement` (fast-path.ts) records. */
export const isAcceptance = ({ source, status, reference, reason, receipt, amountMinor, note }: Outcome): boolean =>
  source === "reply" &&
  status === "processing" &&
  reference !== undefined &&
  !reason &&
  !receipt &&
  !amountMinor &&
  !note;

/** The evidence states exactly what `payBatchStatement` (fast-path.ts) records. */
export const isPlainSuccess = ({ source, status, reason, receipt, action, note }: Outcome): boolean =>
  source === "webhook" && status === "succeeded" && receipt !== undefined && !reason && !action && !note;
