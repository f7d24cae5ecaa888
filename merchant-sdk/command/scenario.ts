/** The endings of a sandbox payment that `tukio trigger` offers. docs/sandbox.md explains the test numbers. */
import type { Reason, Status, StatusEvent } from "../model.ts";

export interface Scenario {
  name: string;
  help: string;
  /** The last two digits of the payer's phone. */
  ending: string;
  /** The phone of a second attempt, which is started when the first one has expired. */
  secondEnding?: string;
  /** How the order ends. */
  status: Status;
  /** The reason, where every provider gives it. */
  reason?: Reason;
  /** The providers whose sandbox has this outcome; absent: all. */
  providers?: readonly string[];
}

/** bKash takes no money without the payer's browser, and so not after the deadline. */
const promptsOnly = ["daraja", "payhero", "lipana", "zenopay", "mtn"] as const;

/** A query of the others states no amount, and may find the success before their webhook states it. */
const amountStating = ["lipana", "zenopay", "bkash", "mtn"] as const;

export const scenarios: readonly Scenario[] = [
  { name: "succeeded", help: "the payer approves", ending: "01", status: "succeeded" },
  { name: "cancelled", help: "the payer cancels", ending: "02", status: "failed", reason: "cancelled" },
  { name: "failed", help: "the payer has too little money", ending: "03", status: "failed" },
  { name: "wrong-pin", help: "the payer types a wrong PIN", ending: "04", status: "failed" },
  {
    name: "busy",
    help: "another prompt is open on the phone",
    ending: "20",
    status: "failed",
    providers: ["daraja", "bkash"],
  },
  { name: "expired", help: "the payer does not answer", ending: "05", status: "expired", providers: promptsOnly },
  {
    name: "late",
    help: "expires, and succeeds 3 s later",
    ending: "09",
    status: "succeeded",
    reason: "late",
    providers: promptsOnly,
  },
  {
    name: "paid-twice",
    help: "expires, is paid by a second attempt, and then by the first one too",
    ending: "09",
    secondEnding: "01",
    status: "succeeded",
    reason: "paid_twice",
    providers: promptsOnly,
  },
  {
    name: "amount-mismatch",
    help: "the payer pays another amount",
    ending: "10",
    status: "review",
    reason: "amount_mismatch",
    providers: amountStating,
  },
  {
    name: "no-webhook",
    help: "succeeds; no webhook arrives, and a query finds the success",
    ending: "06",
    status: "succeeded",
  },
  { name: "repeated-webhook", help: "succeeds; the webhook arrives three times", ending: "07", status: "succeeded" },
  {
    name: "early-webhook",
    help: "succeeds; the webhook arrives before the provider's answer",
    ending: "08",
    status: "succeeded",
  },
  {
    name: "lost-answer",
    help: "succeeds; the provider's answer is lost",
    ending: "11",
    status: "succeeded",
    providers: promptsOnly,
  },
  { name: "provider-down", help: "the provider is down; expires", ending: "12", status: "expired", reason: "deadline" },
];

export const hasEnded = ({ status, reason }: Pick<Scenario, "status" | "reason">, order: StatusEvent): boolean =>
  order.status === status && (reason === undefined || order.reason === reason);

/** Phones of the sandbox, by currency: the beginning, and the number of digits that are free before the last two. */
const phones: Readonly<Record<string, { prefix: string; free: number; amountMinor: number }>> = {
  KES: { prefix: "+25471", free: 5, amountMinor: 15_000 },
  TZS: { prefix: "+25571", free: 5, amountMinor: 300_000 },
  BDT: { prefix: "+88017", free: 6, amountMinor: 14_000 },
  UGX: { prefix: "+25677", free: 5, amountMinor: 4_200 },
};

/** A payer in one of the currencies. The free digits are random, because one phone takes ten payments in ten minutes. */
export function payerOf(
  currencies: readonly string[],
  ending: string,
): { currency: string; phone: string; amountMinor: number } | undefined {
  const currency = currencies.find((one) => phones[one]);
  const found = currency === undefined ? undefined : phones[currency];
  if (currency === undefined || !found) return undefined;
  const { prefix, free, amountMinor } = found;
  const digits = String(Math.floor(Math.random() * 10 ** free)).padStart(free, "0");
  return { currency, phone: prefix + digits + ending, amountMinor };
}
