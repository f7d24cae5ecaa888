/**
 * Orders, payments and what is accepted about them. Pure types and rules: no clock, no network, no database.
 */
import type { Action, Reason, Status, StatusEvent } from "../../client-sdk/protocol.ts";
import { isSettled } from "../../client-sdk/protocol.ts";

export type { Action, Reason, Status, StatusEvent };
export { isSettled };

/** Where a fact came from. `reply`: to our request for money; `payer`: what the payer's browser said. */
export const sources = ["webhook", "query", "clock", "person", "reply", "payer"] as const;

export type Source = (typeof sources)[number];

/**
 * Something accepted as having happened to a payment. A success states what was paid where the provider tells
 * (`amountMinor` in minor units, `currency` by ISO 4217); the store compares that with what was agreed. `reason` says
 * `amount_mismatch` or `currency_mismatch` where one of them is stated and cannot be read.
 */
export interface Outcome {
  status: Status;
  reason?: Reason;
  /** The provider's own handle for the payment. */
  reference?: string;
  /** The provider's proof of the money, such as an M-Pesa receipt number. */
  receipt?: string;
  amountMinor?: bigint;
  currency?: string;
  action?: Action;
  source: Source;
  /** Why a person decided so. */
  note?: string;
}

/** One attempt to pay an order, as providers see it. */
export interface Payment {
  id: string;
  /** The merchant's name for the order. */
  orderId: string;
  attempt: number;
  provider: string;
  amountMinor: bigint;
  currency: string;
  /** E.164, unmasked; absent where the provider asks for it on a page of its own. */
  phone?: string;
  description?: string;
  returnUrl?: string;
  /** The provider's own handle, once known. */
  reference?: string;
}

/** A payment whose provider is to be asked now. */
export interface DuePayment extends Payment {
  status: Status;
  /** False when the provider's pace allows no query, and the payment is taken only because it is long over. */
  mayAsk: boolean;
  /** Its deadline has passed. */
  isOver: boolean;
  /** Twice the time to its deadline has passed. */
  isLongOver: boolean;
  /** Until then. */
  leftMs: number;
}

/**
 * Masks a phone for the way out: country code and first digit, then stars, then the last three digits
 * (`+254712345678` → `+2547*****678`).
 */
export function maskPhone(phone: string): string {
  const head = phone.slice(0, 5);
  const tail = phone.slice(-3);
  return head + "*".repeat(Math.max(1, phone.length - head.length - tail.length)) + tail;
}
