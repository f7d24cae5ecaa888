/**
 * Records a person's decision on a payment in review. Rejections are rare, so they use plain statements in one transaction.
 * Concurrent decisions: the first wins, the second gets `not_in_review`.
 */
import type pg from "pg";
import { asHubError, type Database } from "../database/pool.ts";
import { HubError } from "../errors.ts";
import type { StatusEvent } from "./order.ts";
import { columns, eventColumns, paymentJson, recordEvent, type StateRow, stateColumns, toEvent } from "./row.ts";
import type { OrderStore } from "./store.ts";
import type { Tables } from "./tables.ts";

export interface Decision {
  orderId: string;
  paymentId: string;
  as: "succeeded" | "failed";
  /** The reason; kept in the order's history. */
  note: string;
}

/** A decision that was recorded, and the provider of its payment. */
export interface ResolvedReview extends Pick<Decision, "as"> {
  provider: string;
}

export interface Review {
  /**
   * Records the decision and returns the order's state after it. `failed` gets the reason `rejected` and allows another
   * attempt. Throws `order_unknown`, `payment_unknown` or `not_in_review` (with `order`).
   */
  resolve(decision: Decision): Promise<StatusEvent>;
}

export interface ReviewOptions {
  database: Database;
  store: Pick<OrderStore, "advance">;
  announce: (event: StatusEvent) => void;
  /** Called once with every decision, after its commit. */
  onResolved?: (resolved: ResolvedReview) => void;
}

export function createReview(options: ReviewOptions): Review {
  return {
    async resolve(decision) {
      try {
        return await resolve(options, decision);
      } catch (error) {
        throw asHubError(error);
      }
    },
  };
}

async function resolve(options: ReviewOptions, decision: Decision): Promise<StatusEvent> {
  const { database, onResolved } = options;
  const { orderId, paymentId, as } = decision;
  const order = await findOrder(database.pool, orderId);
  const { provider, status } = await findPayment(database.pool, order, paymentId);
  const isRecorded =
    status === "review" && (await (as === "failed" ? reject(options, order.id, decision) : accept(options, decision)));
  if (isRecorded) onResolved?.({ provider, as });
  const event = toEvent(await findOrder(database.pool, orderId));
  if (!isRecorded) throw new HubError("not_in_review", undefined, { order: event });
  return event;
}

async function findOrder(pool: pg.Pool, orderId: string): Promise<StateRow> {
  const { rows } = await pool.query<StateRow>(`select ${eventColumns('"order"')} from "order" where order_id = $1`, [
    orderId,
  ]);
  if (!rows[0]) throw new HubError("order_unknown");
  return rows[0];
}

type ReviewedPayment = Pick<Tables["payment"], "provider" | "status">;

async function findPayment(pool: pg.Pool, order: StateRow, paymentId: string): Promise<ReviewedPayment> {
  const { rows } = await pool.query<ReviewedPayment>(
    "select provider, status from payment where id = $1 and order_uuid = $2",
    [paymentId, order.id],
  );
  if (!rows[0]) throw new HubError("payment_unknown");
  return rows[0];
}

/** Accepts the payment. Returns false when it is not in review. */
const accept = async ({ store }: ReviewOptions, { paymentId, note }: Decision): Promise<boolean> =>
  (await store.advance(paymentId, { status: "succeeded", source: "person", note })).result === "applied";

const reviewedColumns = [
  "id",
  "order_uuid",
  "provider",
  "attempt",
  "live",
  "status",
  "reason",
  "receipt",
  "amount_paid_minor",
  "action",
  "started_at",
  "expires_at",
] as const;

/**
 * Rejects the payment $1 with the note $2: the only transition to a lower status. The transaction already holds the locks of
 * the payment and of the order, so that this statement sees the other attempts as they are now. The order is then in review if another attempt is,
 * else it gets the status of its latest attempt. A paid order stays as it is (G2).
 */
const rejectStatement = {
  name: "reject",
  text: `with rejected_payment as (
    update payment set status = 'failed', reason = 'rejected', check_at = null where id = $1
    returning ${columns("payment", reviewedColumns)}
  ),
  leading_payment as (
    select ${columns("p", reviewedColumns)} from (
      select ${columns("r", reviewedColumns)} from rejected_payment r
      union all
      select ${columns("other", reviewedColumns)} from payment other
        join rejected_payment r on other.order_uuid = r.order_uuid and other.id <> r.id
    ) p
    order by p.status = 'review' desc, p.attempt desc limit 1
  ),
  changed_order as (
    update "order" o set
      version = o.version + 1, status = p.status, reason = p.reason, payment = ${paymentJson("p")},
      changed_at = greatest(clock_timestamp(), o.changed_at)
    from leading_payment p
    where o.id = p.order_uuid and o.status = 'review'
    returning ${stateColumns("o")}
  ),
  ${recordEvent({ source: "'person'", note: "$2::text" })}
  select ${eventColumns("changed_order")} from changed_order`,
} as const;

/** Rejects the payment. Returns false when it is not in review. Locks the payment, then the order. */
async function reject(
  { database, announce }: ReviewOptions,
  orderUuid: string,
  { paymentId, note }: Decision,
): Promise<boolean> {
  const client = await database.pool.connect();
  try {
    await client.query("begin");
    const locked = await client.query("select from payment where id = $1 and status = 'review' for update", [
      paymentId,
    ]);
    if (locked.rowCount === 0) {
      await client.query("rollback");
      return false;
    }
    await client.query('select from "order" where id = $1 for update', [orderUuid]);
    const { rows } = await client.query<StateRow>({ ...rejectStatement, values: [paymentId, note] });
    await client.query("commit");
    if (rows[0]) announce(toEvent(rows[0]));
    return true;
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}
