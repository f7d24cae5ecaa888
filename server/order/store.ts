/**
 * The SQL of orders. Every change is one statement, so it is whole or it did not happen, however many processes race;
 * whoever's change is accepted announces the event, after the commit and exactly once. A crash between the two loses
 * the announcement, never the change: watchers find it by reading again.
 */
import type pg from "pg";
import { v7 as uuidv7 } from "uuid";
import { asHubError, type Database, sqlState } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import { limited } from "../rate-limit.ts";
import { type Advanced, type AdvancedRow, createAdvance, type InboxRow } from "./advance.ts";
import { changedStatement, currentStatement } from "./decide.ts";
import { canonicalRequest, conflictOf, type PaymentDraft, paymentOf } from "./draft.ts";
import {
  assessSuccessStatement,
  checkNowStatement,
  claimDueStatement,
  clearCompletionLockStatement,
  deferStatement,
  endReceiptCheckStatement,
  locateOwnStatement,
  locateStatement,
  payableStatement,
  recordReturnStatement,
} from "./due.ts";
import { keyStatement, openRecord, openStatement, reachedStatement } from "./open.ts";
import type { DuePayment, Outcome, Payment, Reason, Status, StatusEvent } from "./order.ts";
import { preparePaceStatement, restMaxS, restS, slowStatement } from "./query-pace.ts";
import { type DueRow, type ProviderRow, type StateRow, toDuePayment, toEvent, toPayment } from "./row.ts";
import { type Allowance, toClaim } from "./schedule.ts";

/** `payment` is what is to be asked for now; absent when an idempotency key was used again and nothing was opened. */
export interface Opened {
  event: StatusEvent;
  payment?: Payment;
}

/** A payer who has come back from the provider's page. */
export interface Returned {
  payment: Payment;
  status: Status;
  /** This return, and no other ever, is to complete the payment. */
  completes: boolean;
}

/** What a payment was before an event. */
export interface Before {
  status: Status;
  reason?: Reason;
}

/** Orders that changed, and the database's clock when it looked. */
export interface Changes {
  at: Date;
  changes: { id: string; version: number }[];
}

export interface OrderStore {
  /**
   * Opens an order or tries it again, committed when this returns. Throws `rate_limited`, `payment_in_progress`,
   * `order_paid`, `order_in_review`, `order_mismatch` (each of the last four with `order`) or `idempotency_mismatch`.
   */
  open(draft: PaymentDraft): Promise<Opened>;
  /** Climbs and records, or changes nothing. With a webhook: keeps its bytes in the same statement, whatever happens. */
  advance(paymentId: string, outcome: Outcome, webhook?: InboxRow): Promise<Advanced>;
  /** Takes payments whose provider is to be asked now, as allowed; no other process gets them until their next time. */
  claimDue(allowances: readonly Allowance[]): Promise<DuePayment[]>;
  /** Makes a payment that was taken due again at once, because its provider was asked too often. */
  defer(paymentId: string): Promise<void>;
  /** Ends the checks of a success: its receipt was asked for. */
  endReceiptCheck(paymentId: string): Promise<void>;
  /** To be called once for the providers whose pace is limited, before the first `claimDue`. */
  preparePace(providers: readonly string[]): Promise<void>;
  /** Halves a provider's pace for a while, for all nodes, and leaves it alone for so long, 10 s by default. */
  slowQueries(provider: string, retryAfterS?: number): Promise<void>;
  /** Whether the payment's order still wants money: false when another attempt paid it, or may have. */
  isPayable(paymentId: string): Promise<boolean>;
  /** The payer has come back, approved or not. Undefined when there is no such payment. */
  recordReturn(paymentId: string, isApproved: boolean): Promise<Returned | undefined>;
  /** What completing a payment led to is known: clock and payer may end it again. */
  clearCompletionLock(paymentId: string): Promise<void>;
  /** The id of the payment that a provider knows by this reference. */
  locate(provider: string, reference: string): Promise<string | undefined>;
  /** The id of the payment that we called so when we asked the provider for it. */
  locateOwn(provider: string, ownReference: string): Promise<string | undefined>;
  /** What was agreed of a payment, and whether this success would decide it. Throws `store_unavailable`. */
  assessSuccess(paymentId: string, success: Outcome): Promise<SuccessAssessment | undefined>;
  /** Makes an open payment due to be asked about now. */
  checkNow(paymentId: string): Promise<void>;
  /** The current states of those orders that exist, in no order. */
  current(ids: readonly string[]): Promise<StatusEvent[]>;
  /** What changed since `at` (absent: since now), reaching back 10 s further so that late commits are not missed. */
  changedSince(at?: Date): Promise<Changes>;
}

/** What never changes of a payment; its reference, once it is known. */
export interface AgreedTerms {
  amountMinor: bigint;
  currency: string;
  reference?: string;
}

export interface SuccessAssessment extends AgreedTerms {
  /** It would make the payment succeed, or say of its success what is not known yet. */
  isDecisive: boolean;
  /** Its receipt is another payment's. */
  isReceiptUsed: boolean;
}

export interface OrderStoreOptions {
  database: Database;
  /** Hears of every accepted event, after its commit; without `before` it starts its payment. */
  announce: (event: StatusEvent, before?: Before) => void;
  /** Providers whose query cannot state the amount: their success without an amount is accepted as paid. */
  amountlessProviders: readonly string[];
  /** Providers whose query states the receipt: after a success without one they are asked for it, once. */
  receiptProviders?: readonly string[];
  /**
   * How many payments are opened for each phone (live and sandbox ones apart) and for each order in 10 minutes, by all
   * nodes together; without them, any number.
   */
  limits?: { phone: number; order: number };
}

export function createOrderStore(options: OrderStoreOptions): OrderStore {
  const { database, announce, amountlessProviders, receiptProviders = [], limits } = options;
  const { pool, webhookPool } = database;
  const advance = createAdvance(database, { amountlessProviders, receiptProviders });

  const announced = (row: StateRow, before?: Before): StatusEvent => {
    const event = toEvent(row);
    announce(event, before);
    return event;
  };

  const current = async (ids: readonly string[]): Promise<StatusEvent[]> =>
    (await run<StateRow>(pool, currentStatement, [ids])).map(toEvent);

  const openOrder = async (draft: PaymentDraft): Promise<Opened | undefined> => {
    const paymentId = uuidv7();
    const [row] = await run<StateRow>(pool, openStatement, [openRecord(draft, paymentId, limits)]);
    if (!row) return undefined;
    return { event: announced(row), payment: paymentOf(draft, row, paymentId) };
  };

  const replay = async (draft: PaymentDraft): Promise<Opened | undefined> => {
    const key = draft.idempotencyKey;
    if (key === undefined) return undefined;
    const [used] = await run<KeyRow>(pool, keyStatement, [key, JSON.stringify(canonicalRequest(draft))]);
    if (!used) return undefined;
    if (used.stale) {
      await pool.query(
        "delete from idempotency where key = $1 and created_at < clock_timestamp() - interval '72 hours'",
        [key],
      );
      return undefined;
    }
    if (!used.same) throw new HubError("idempotency_mismatch");
    const [event] = await current([used.order_uuid]);
    return event && { event };
  };

  const requireWithinLimits = async ({ phone, live, orderId }: PaymentDraft): Promise<void> => {
    const values = [phone, limits?.phone, orderId, limits?.order, live];
    const [reached] = await run<{ what: string; remaining_ms: number }>(pool, reachedStatement, values);
    if (reached) throw limited(`Too many payments for this ${reached.what}`, reached.remaining_ms);
  };

  return {
    current,

    async open(draft) {
      // The order may change between a refusal and the look at why; a second look then finds it open to another try.
      for (let look = 0; look < 3; look += 1) {
        const opened = (await openOrder(draft).catch(unlessRaced)) ?? (await replay(draft));
        if (opened) return opened;
        await requireWithinLimits(draft);
        const { rows } = await pool.query<StateRow>('select * from "order" where order_id = $1', [draft.orderId]);
        const conflict = rows[0] && conflictOf(toEvent(rows[0]), draft);
        if (conflict) throw conflict;
      }
      throw new HubError("store_unavailable", "The order is changing too fast; try again", { retryAfterS: 1 });
    },

    async advance(paymentId, outcome, webhook) {
      const row = await advance(paymentId, outcome, webhook);
      const { result } = row;
      return isPlaced(row) ? { result, event: announced(row, toBefore(row)) } : { result };
    },

    async claimDue(allowances) {
      const values = [JSON.stringify(allowances.map(toClaim))];
      return (await run<DueRow>(pool, claimDueStatement, values)).map(toDuePayment);
    },

    async defer(paymentId) {
      await run(pool, deferStatement, [paymentId]);
    },

    async endReceiptCheck(paymentId) {
      await run(pool, endReceiptCheckStatement, [paymentId]);
    },

    async preparePace(providers) {
      if (providers.length > 0) await run(pool, preparePaceStatement, [providers]);
    },

    async slowQueries(provider, retryAfterS = restS) {
      await run(pool, slowStatement, [provider, Math.min(retryAfterS, restMaxS)]);
    },

    async recordReturn(paymentId, isApproved) {
      const values = [paymentId, isApproved];
      const [row] = await run<ProviderRow & { completes: boolean }>(pool, recordReturnStatement, values);
      return row && { payment: toPayment(row), status: row.status, completes: row.completes };
    },

    async clearCompletionLock(paymentId) {
      await run(pool, clearCompletionLockStatement, [paymentId]);
    },

    async locate(provider, reference) {
      return (await run<{ id: string }>(webhookPool, locateStatement, [provider, reference]))[0]?.id;
    },

    async locateOwn(provider, ownReference) {
      return (await run<{ id: string }>(webhookPool, locateOwnStatement, [provider, ownReference]))[0]?.id;
    },

    async isPayable(paymentId) {
      return (await run<{ wanted: boolean }>(pool, payableStatement, [paymentId]))[0]?.wanted ?? false;
    },

    async assessSuccess(paymentId, { amountMinor, currency, reference, receipt }) {
      const values = [paymentId, amountMinor?.toString(), currency, reference, receipt, amountlessProviders];
      const [row] = await run<AssessmentRow>(webhookPool, assessSuccessStatement, values);
      return (
        row && {
          amountMinor: BigInt(row.amount_minor),
          currency: row.currency,
          ...(row.reference !== null && { reference: row.reference }),
          isDecisive: row.is_decisive,
          isReceiptUsed: row.is_receipt_used,
        }
      );
    },

    async checkNow(paymentId) {
      await run(pool, checkNowStatement, [paymentId]);
    },

    async changedSince(at) {
      const [row] = await run<ChangedRow>(pool, changedStatement, [at ?? null]);
      if (!row) throw new Error("changed always answers one row");
      const versions = elements(row.versions);
      return { at: row.at, changes: elements(row.ids).map((id, index) => ({ id, version: Number(versions[index]) })) };
    },
  };
}

interface AssessmentRow {
  amount_minor: string;
  currency: string;
  reference: string | null;
  is_decisive: boolean;
  is_receipt_used: boolean;
}

interface ChangedRow {
  at: Date;
  ids: string | null;
  versions: string | null;
}

/** The elements of a PostgreSQL array of uuids or numbers, which has nothing quoted in it. Null stands for none. */
const elements = (array: string | null): string[] => array?.slice(1, -1).split(",") ?? [];

interface KeyRow {
  order_uuid: string;
  same: boolean;
  stale: boolean;
}

const isPlaced = (row: AdvancedRow): row is AdvancedRow & StateRow => row.id !== null;

const toBefore = ({ was_status: status, was_reason: reason }: AdvancedRow): Before => ({
  status,
  ...(reason && { reason }),
});

/** Runs a prepared statement; a database that cannot be reached becomes `store_unavailable`. */
async function run<Row extends object>(
  pool: pg.Pool,
  statement: { name: string; text: string },
  values: unknown[],
): Promise<Row[]> {
  try {
    return (await pool.query<Row>({ ...statement, values })).rows;
  } catch (error) {
    throw asHubError(error);
  }
}

/** Requests raced with one key, or for one phone, and others won: nothing was opened here. */
function unlessRaced(error: unknown): undefined {
  if (sqlState(error) === "TK429") return undefined;
  if (sqlState(error) === "23505" && String((error as { constraint?: unknown }).constraint).startsWith("idempotency")) {
    return undefined;
  }
  throw error;
}
