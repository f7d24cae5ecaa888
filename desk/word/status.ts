/** Statuses and reasons, in the merchant's words. */
import type { Reason, Status } from "../../merchant-sdk/model.ts";

export type Tone = "good" | "bad" | "caution" | "busy" | "quiet";

interface Look {
  text: string;
  tone: Tone;
}

export const statusLooks: Readonly<Record<Status, Look>> = {
  pending: { text: "Starting", tone: "busy" },
  processing: { text: "Waiting for payer", tone: "busy" },
  expired: { text: "Expired", tone: "quiet" },
  failed: { text: "Failed", tone: "bad" },
  review: { text: "Needs review", tone: "caution" },
  succeeded: { text: "Paid", tone: "good" },
};

const reasonTexts: Readonly<Record<string, string>> = {
  cancelled: "Payer cancelled",
  insufficient_funds: "Not enough money",
  wrong_pin: "Wrong PIN",
  declined: "Declined",
  limit: "Payer's limit reached",
  busy: "Another prompt was open",
  provider_error: "Provider refused",
  rejected: "Rejected",
  no_response: "No answer",
  deadline: "Time ran out",
  late: "Paid late",
  amount_mismatch: "Wrong amount",
  currency_mismatch: "Wrong currency",
  receipt_reused: "Receipt used before",
  paid_twice: "Paid twice",
} satisfies Record<Reason, string>;

/** A reason that this page does not know keeps its code. */
export const reasonText = (reason: string): string => reasonTexts[reason] ?? reason.replaceAll("_", " ");

export const statuses = Object.keys(statusLooks) as readonly Status[];
export const reasons: readonly string[] = Object.keys(reasonTexts);
