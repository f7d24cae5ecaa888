/**
 * The wire types and rules that the server and every client share. This file imports nothing.
 *
 * One rule carries the protocol: every message is the whole current state of one order, numbered by `version`;
 * keep the newer, drop the rest. Duplicates, reordering and replays are then harmless.
 */

/** What an order or a payment can be, from lowest to highest: a payment only climbs this list. */
export const statuses = ["pending", "processing", "expired", "failed", "review", "succeeded"] as const;

export type Status = (typeof statuses)[number];

/** Why a status is what it is. Clients must accept reasons they do not know. */
export const reasons = [
  "cancelled",
  "insufficient_funds",
  "wrong_pin",
  "declined",
  "limit",
  "busy",
  "provider_error",
  "rejected",
  "no_response",
  "deadline",
  "late",
  "amount_mismatch",
  "currency_mismatch",
  "receipt_reused",
  "paid_twice",
] as const;

export type Reason = (typeof reasons)[number];

/** What the payer has to do, while a payment is `processing`. The phone is masked. */
export type Action = { type: "prompt"; phone: string } | { type: "redirect"; url: string };

/** The attempt that an order's state comes from. Money is in minor units, times are ISO 8601 UTC. */
export interface EventPayment {
  id: string;
  provider: string;
  /** 1 for the order's first attempt. */
  attempt: number;
  startedAt: string;
  expiresAt: string;
  amountPaidMinor?: number;
  receipt?: string;
  action?: Action;
}

/** The whole current state of one order, never a delta. */
export interface StatusEvent {
  /** The order's own uuid. A different id means a different order, whose versions start again. */
  id: string;
  /** The merchant's name for the order. */
  orderId: string;
  /** Starts at 1 and grows by one with every change. */
  version: number;
  status: Status;
  /** Nothing left to wait for, though a late success or another try may still come. */
  settled: boolean;
  reason?: Reason;
  amountMinor: number;
  currency: string;
  /** False in the sandbox: no money moved. */
  live: boolean;
  payment: EventPayment;
  /** Further attempts of this order that were paid too. */
  alsoPaid?: string[];
  openedAt: string;
  occurredAt: string;
}

/** Whether nothing is left to wait for in this status. */
export const isSettled = (status: Status): boolean => status !== "pending" && status !== "processing";

/** The state in what a server or a storage gave us, or undefined. Fields, statuses and reasons we do not know are kept. */
export function readEvent(value: unknown): StatusEvent | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, orderId, version, status, settled, amountMinor, currency, payment } = value as Partial<StatusEvent>;
  const isEvent =
    typeof id === "string" &&
    typeof orderId === "string" &&
    Number.isSafeInteger(version) &&
    typeof status === "string" &&
    typeof settled === "boolean" &&
    Number.isSafeInteger(amountMinor) &&
    typeof currency === "string" &&
    typeof payment === "object" &&
    payment !== null;
  return isEvent ? (value as StatusEvent) : undefined;
}
