/**
 * The wire types and rules that the server and every client share. This file imports nothing.
 *
 * Every message is the whole current state of one order, numbered by `version`. A client keeps the newer state and
 * drops the rest, so duplicates, reordering and replays are harmless.
 */

/**
 * The statuses of an order or a payment, lowest first. A payment only moves up this list, except that a person may reject a payment
 * in review, which then is `failed`. An order also returns to `pending` with another attempt.
 */
export const statuses = ["pending", "processing", "expired", "failed", "review", "succeeded"] as const;

export type Status = (typeof statuses)[number];

/** The reason for a status. Clients must accept unknown reasons. */
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

/** The payer must answer the prompt on this phone, whose number is masked. */
export interface PromptAction {
  type: "prompt";
  phone: string;
}

/** The payer must open this page of the provider. */
export interface RedirectAction {
  type: "redirect";
  url: string;
}

/**
 * The action that a payer must take while a payment is `processing`. Clients must accept unknown types: they show the
 * status alone.
 */
export type Action = PromptAction | RedirectAction;

/** The payment attempt that determines the order's state. Amounts are in minor units, times are ISO 8601 UTC. */
export interface EventPayment {
  id: string;
  provider: string;
  /** The number of the attempt, from 1. */
  attempt: number;
  startedAt: string;
  expiresAt: string;
  amountPaidMinor?: number;
  receipt?: string;
  action?: Action;
}

/** The kinds of results. Clients must accept unknown kinds: show the title, and the code, link and text that are there. */
export const resultKinds = ["voucher", "ticket", "link", "text"] as const;

export type ResultKind = (typeof resultKinds)[number];

/** A voucher, ticket, link or text that the payer receives for the money. */
export interface Result {
  /** The merchant's id for the result, unique within the order. */
  id: string;
  kind: ResultKind;
  title: string;
  /** Present for a voucher and a ticket. */
  code?: string;
  /** https, or http on the server's own machine. Present for a link. */
  url?: string;
  /** Present for a text. */
  text?: string;
  /** ISO 8601 UTC. */
  expiresAt?: string;
}

/** The whole current state of one order. Never a delta. */
export interface StatusEvent {
  /** The order's UUID. A different id is a different order, whose versions start again. */
  id: string;
  /** The merchant's id for the order. */
  orderId: string;
  /**
   * The epoch of the server's database: it grows when the database has lost commits. Versions compare within one epoch.
   * Servers before epochs do not send it, which means 0.
   */
  epoch?: number;
  /** Starts at 1 and grows by one with every change (G3). */
  version: number;
  status: Status;
  /** The payer has nothing left to wait for. A late success or another attempt may still follow. */
  settled: boolean;
  reason?: Reason;
  amountMinor: number;
  currency: string;
  /** False in the sandbox, where no money moves. */
  live: boolean;
  payment: EventPayment;
  /** The ids of further attempts of this order that were also paid. */
  alsoPaid?: string[];
  /** The results, in the order in which the merchant added them. Only a paid order has some. */
  results?: Result[];
  openedAt: string;
  occurredAt: string;
  /**
   * The server's time when it sent this state. A countdown needs it, because the clock of the payer's device may be wrong.
   * Only a watcher that asks for it with `clock` receives it, with the first state of each connection.
   */
  sentAt?: string;
}

type Numbered = Pick<StatusEvent, "epoch" | "version">;

/** A position in an order's history: `version` in the first epoch, `epoch.version` in a later one. Older servers know the version only. */
export type Position = number | string;

export const positionOf = ({ epoch, version }: Numbered): Position => (epoch ? `${epoch}.${version}` : version);

/** Compares two states of one order: positive if the first is newer, 0 if they are equal, negative if it is older. */
export const compareStates = (one: Numbered, other: Numbered): number =>
  (one.epoch ?? 0) - (other.epoch ?? 0) || one.version - other.version;

/** Whether the payer has nothing left to wait for in this status. */
export const isSettled = (status: Status): boolean => status !== "pending" && status !== "processing";

/**
 * Checks a value from a server or a storage. Returns undefined if it is no state; keeps unknown fields, statuses, reasons, actions and
 * kinds of results. Drops a result that cannot be read, and keeps the state.
 */
export function readEvent(value: unknown): StatusEvent | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, orderId, version, status, settled, amountMinor, currency, payment, results } =
    value as Partial<StatusEvent>;
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
  if (!isEvent) return undefined;
  const readable = results === undefined || (Array.isArray(results) && results.every(isResult));
  return readable
    ? (value as StatusEvent)
    : { ...(value as StatusEvent), results: Array.isArray(results) ? results.filter(isResult) : [] };
}

const isResult = (value: Partial<Result> | null): boolean =>
  typeof value?.id === "string" &&
  typeof value.kind === "string" &&
  typeof value.title === "string" &&
  [value.code, value.url, value.text, value.expiresAt].every((part) => part === undefined || typeof part === "string");
