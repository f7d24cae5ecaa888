/**
 * The store: the SQL of orders. Every change is one statement, so that it happens completely or not at all, however many processes
 * race. The node whose change is accepted announces the event once, after the commit. A crash between commit and announcement loses
 * the announcement, never the change: the hub of each node reads changed orders from PostgreSQL (G4).
 */
import type { Database } from "../database/pool.ts";
import { type Advanced, type AdvancedRow, createAdvance } from "./advance.ts";
import { type AgreedTerms, assessSuccess, type SuccessAssessment } from "./assess.ts";
import { checkNow, defer, endReceiptCheck, isPayable } from "./check.ts";
import { claimDue } from "./claim-due.ts";
import { clearCompletionLock, type Returned, recordReturn } from "./completion.ts";
import { type Changes, readChanges, readCurrent, readCurrentWithTime, type TimedState } from "./current.ts";
import type { PaymentDraft } from "./draft.ts";
import { createEpochs, type EpochOptions } from "./epoch.ts";
import type { InboxRow } from "./evidence.ts";
import { type AskedPayment, findAsked, locate, locateOwn } from "./locate.ts";
import { type Opened, type OpenLimits, openOrder } from "./open.ts";
import type { DuePayment, Outcome, Reason, Result, Status, StatusEvent } from "./order.ts";
import { datePayments } from "./paid-time.ts";
import { preparePace, slowQueries, takeQuery } from "./query-pace.ts";
import { type ChangedResults, putResult, removeResult } from "./result.ts";
import { type StateRow, toEvent } from "./row.ts";
import type { Allowance } from "./schedule.ts";

export type {
  AgreedTerms,
  AskedPayment,
  ChangedResults,
  Changes,
  InboxRow,
  Opened,
  Returned,
  StatusEvent,
  SuccessAssessment,
  TimedState,
};

/** A payment's status and reason before an event. */
export interface Before {
  status: Status;
  reason?: Reason;
}

/** A method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export interface OrderStore {
  /**
   * Opens an order or a further attempt to pay it, and commits it. Throws `rate_limited`, `payment_in_progress`,
   * `order_paid`, `order_in_review`, `order_mismatch` (the last four with `order`, unless the order id belongs to a payment link),
   * `payment_link_closed` or `idempotency_mismatch`.
   */
  open(draft: PaymentDraft): Promise<Opened>;
  /** Decides on evidence: the payment gets a higher status, or keeps its own. With a webhook, the same statement stores its bytes in either case. */
  advance(paymentId: string, outcome: Outcome, webhook?: InboxRow): Promise<Advanced>;
  /** Claims payments whose provider must be queried now. No other process gets them before their next check. */
  claimDue(allowances: readonly Allowance[]): Promise<DuePayment[]>;
  /** Makes a claimed payment due again at once, because its provider could not be queried. */
  defer(paymentId: string): Promise<void>;
  /** Ends the checks of a success, because the provider was queried for its receipt. */
  endReceiptCheck(paymentId: string): Promise<void>;
  /** Must be called once for the providers whose pace is limited, before the first `claimDue`. */
  preparePace(providers: readonly string[]): Promise<void>;
  /** Halves a provider's pace for all nodes and pauses its queries for `retryAfterS` seconds (default 10). */
  slowQueries(provider: string, retryAfterS?: number): Promise<void>;
  /** Takes one query from the provider's pace. Returns the seconds to wait if the pace allows none now. */
  takeQuery(provider: string, perMinute: number | undefined): Promise<number>;
  /** A payment of any status, to ask its provider. Undefined when there is no such payment. */
  findAsked(paymentId: string): Promise<AskedPayment | undefined>;
  /** Whether the payment's order is still to be paid: false after another attempt has paid it or may have paid it. */
  isPayable(paymentId: string): Promise<boolean>;
  /** Records that the payer has returned from the provider's page. Undefined when there is no such payment. */
  recordReturn(paymentId: string, isApproved: boolean): Promise<Returned | undefined>;
  /** Clears the completion lock: clock and payer may end the payment again. */
  clearCompletionLock(paymentId: string): Promise<void>;
  /** The id of the payment that the provider knows by this reference. */
  locate(provider: string, reference: string): Promise<string | undefined>;
  /** The id of the payment that we gave this reference. */
  locateOwn(provider: string, ownReference: string): Promise<string | undefined>;
  /** The agreed terms of a payment, and whether this success would be accepted. Undefined when there is no such payment. */
  assessSuccess(paymentId: string, success: Outcome): Promise<SuccessAssessment | undefined>;
  /** Makes a payment due now, unless it is paid, in review or rejected. */
  checkNow(paymentId: string): Promise<void>;
  /**
   * Adds a result to a paid order, or replaces the one with its id. Throws `order_unknown`, `order_unpaid` (with `order`), or
   * `body_invalid` when the order would have too many or too large results. With `onlyAtVersion` it changes nothing at another version.
   */
  putResult(orderId: string, result: Result, onlyAtVersion?: number): Promise<ChangedResults>;
  /** Removes a result, and returns the state after it. Throws `order_unknown` or `result_unknown`. */
  removeResult(orderId: string, resultId: string): Promise<StatusEvent>;
  /** Adds the time of the money to some successes without one. Returns whether more may remain. */
  datePayments(): Promise<boolean>;
  /** The current states of those orders that exist, in no order. */
  current(ids: readonly string[]): Promise<StatusEvent[]>;
  /** Like `current`, with PostgreSQL's time of the read. */
  currentWithTime(ids: readonly string[]): Promise<TimedState[]>;
  /** Starts a new epoch if the database may have lost commits, and returns the current one. */
  checkEpoch(): Promise<number>;
  /** Starts a new epoch after `epoch`, because an order had a lower version in it than before. */
  reportLoss(epoch: number): Promise<void>;
  /** The orders that changed since `at` (default: now), minus 10 s so that late commits are not missed. */
  changedSince(at?: Date): Promise<Changes>;
}

export interface OrderStoreOptions {
  database: Database;
  /** Called with every accepted event, after its commit. `before` is absent for an event that opens a payment. */
  announce: (event: StatusEvent, before?: Before) => void;
  /** Providers whose query cannot state the amount: their success without an amount is accepted as paid. */
  amountlessProviders: readonly string[];
  /** Providers whose query states the receipt: they are queried once for the receipt of a success without one. */
  receiptProviders?: readonly string[];
  /** Default: no limit. */
  limits?: OpenLimits;
  /** Called when this node starts an epoch, and when it cannot read the database server's place in its log. */
  epochListener?: Pick<EpochOptions, "onStarted" | "onUnreadable">;
}

export function createOrderStore(options: OrderStoreOptions): OrderStore {
  const { database, announce, amountlessProviders, receiptProviders = [], limits } = options;
  const { pool, webhookPool } = database;
  const epochs = createEpochs({ pool, ...options.epochListener });
  const advance = createAdvance(database, { amountlessProviders, receiptProviders });

  return {
    async open(draft) {
      const opened = await openOrder(pool, draft, limits);
      if (opened.payment) announce(opened.event);
      return opened;
    },
    async advance(paymentId, outcome, webhook) {
      const row = await advance(paymentId, outcome, webhook);
      if (!isChanged(row)) return { result: row.result };
      const event = toEvent(row);
      announce(event, beforeOf(row));
      return { result: row.result, event };
    },
    claimDue: (allowances) => claimDue(pool, allowances),
    defer: (paymentId) => defer(pool, paymentId),
    endReceiptCheck: (paymentId) => endReceiptCheck(pool, paymentId),
    preparePace: (providers) => preparePace(pool, providers),
    slowQueries: (provider, retryAfterS) => slowQueries(pool, provider, retryAfterS),
    takeQuery: (provider, perMinute) => takeQuery(pool, provider, perMinute),
    findAsked: (paymentId) => findAsked(pool, paymentId),
    isPayable: (paymentId) => isPayable(pool, paymentId),
    recordReturn: (paymentId, isApproved) => recordReturn(pool, paymentId, isApproved),
    clearCompletionLock: (paymentId) => clearCompletionLock(pool, paymentId),
    locate: (provider, reference) => locate(webhookPool, provider, reference),
    locateOwn: (provider, ownReference) => locateOwn(webhookPool, provider, ownReference),
    assessSuccess: (paymentId, success) => assessSuccess(webhookPool, paymentId, success, amountlessProviders),
    checkNow: (paymentId) => checkNow(pool, paymentId),
    async putResult(orderId, result, onlyAtVersion) {
      const changed = await putResult(pool, orderId, result, onlyAtVersion);
      if (changed.isChanged) announce(changed.event, changed.event);
      return changed;
    },
    async removeResult(orderId, resultId) {
      const event = await removeResult(pool, orderId, resultId);
      announce(event, event);
      return event;
    },
    datePayments: () => datePayments(pool),
    current: (ids) => readCurrent(pool, ids),
    currentWithTime: (ids) => readCurrentWithTime(pool, ids),
    checkEpoch: epochs.check,
    reportLoss: epochs.reportLoss,
    changedSince: (at) => readChanges(pool, at),
  };
}

const isChanged = (row: AdvancedRow): row is AdvancedRow & StateRow => row.id !== null;

const beforeOf = ({ was_status: status, was_reason: reason }: AdvancedRow): Before => ({
  status,
  ...(reason && { reason }),
});
