/** Orders, payments and outcomes: types and pure rules, without clock, network or database. */
import type { Action, Reason, Result, Status, StatusEvent } from "../../client-sdk/protocol.ts";
import { compareStates, isSettled } from "../../client-sdk/protocol.ts";

export type { Action, Reason, Result, Status, StatusEvent };
export { compareStates, isSettled };

/**
 * The source of a state. `reply`: the provider's answer to our request for money. `payer`: the payer's browser. `merchant`: the
 * merchant's backend, which changed the results.
 */
export const sources = ["webhook", "query", "clock", "person", "reply", "payer", "merchant"] as const;

export type Source = (typeof sources)[number];

/** The languages of messages to the payer. */
export const languages = ["en", "sw", "bn"] as const;

export type Language = (typeof languages)[number];

/** One line of what the order is for. */
export interface Item {
  name: string;
  quantity: number;
  unitAmountMinor: number;
  sku?: string;
}

/**
 * The outcome of a payment by one piece of evidence. A success has the amount paid if the provider states it (`amountMinor` in minor
 * units, `currency` by ISO 4217); the store compares it with the agreed amount. `reason` is `amount_mismatch` or `currency_mismatch`
 * if the provider states an amount or a currency that cannot be read.
 */
export interface Outcome {
  status: Status;
  reason?: Reason;
  /** The provider's handle for the payment. */
  reference?: string;
  /** The provider's proof of the money, for example an M-Pesa receipt number. */
  receipt?: string;
  amountMinor?: bigint;
  currency?: string;
  action?: Action;
  source: Exclude<Source, "merchant">;
  /** The note of a person's decision. */
  note?: string;
}

/** One attempt to pay an order, as adapters see it. */
export interface Payment {
  id: string;
  /** The merchant's name for the order. */
  orderId: string;
  attempt: number;
  provider: string;
  amountMinor: bigint;
  currency: string;
  /** E.164, unmasked. Absent where the provider's own page asks for it. */
  phone?: string;
  description?: string;
  returnUrl?: string;
  /** The provider's handle, once it is known. */
  reference?: string;
}

/** A claimed payment whose provider must be queried now. */
export interface DuePayment extends Payment {
  status: Status;
  /** False when the pace allows no query: the payment was claimed only to expire it. */
  mayAsk: boolean;
  /** Its deadline has passed. */
  isOver: boolean;
  /** Twice its time to the deadline has passed. */
  isLongOver: boolean;
  /** Milliseconds until `isLongOver`; 0 after it. */
  leftMs: number;
}

/** The last state that a watcher has seen. A client that knows no epochs names the version only. */
export interface Position {
  epoch?: number | undefined;
  version: number;
}

/** The position before every state. */
export const nowhere: Position = { version: 0 };

/**
 * Whether a watcher at this position has the event. A position without an epoch is one of the first epoch, because clients name the
 * epoch in every later one.
 */
export const isAt = ({ epoch = 0, version }: Position, event: StatusEvent): boolean =>
  version === event.version && epoch === (event.epoch ?? 0);

/** Masks a phone number: `+254712345678` becomes `+2547*****678`. */
export function maskPhone(phone: string): string {
  const head = phone.slice(0, 5);
  const tail = phone.slice(-3);
  return head + "*".repeat(Math.max(1, phone.length - head.length - tail.length)) + tail;
}
