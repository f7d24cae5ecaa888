/**
 * Completion: a provider such as bKash moves the money only when Tukio completes the payment, after the payer has returned from the
 * provider's page. At most one return of a payment begins its completion (G10). While it is in flight, neither the clock nor the
 * payer can end the payment.
 */
import type pg from "pg";
import type { Payment, Status } from "./order.ts";
import {
  columns,
  type ProviderRow,
  providerColumns,
  providerOrderNames,
  providerPaymentNames,
  toPayment,
} from "./row.ts";
import { run } from "./statement.ts";

/** A payer who has returned from the provider's page. */
export interface Returned {
  payment: Payment;
  status: Status;
  /** The caller must now complete the payment. True for at most one return of a payment (G10). */
  completes: boolean;
}

/**
 * Locks the payment, then its order, as every statement does. Decides by the locked rows, because the snapshot may be older: a payment
 * that another transaction is accepting is still `pending` in it.
 */
export const recordReturnStatement = {
  name: "record-return",
  text: `with locked_payment as (
    select ${columns("payment", providerPaymentNames)}, payment.order_uuid, payment.completing_at
    from payment where id = $1::uuid for no key update
  ),
  locked_order as (
    select ${columns("o", providerOrderNames)}, o.id, o.status, o.attempt
    from "order" o join locked_payment p on o.id = p.order_uuid for no key update of o
  ),
  begun as (
    update payment p set completing_at = clock_timestamp() from locked_payment l, locked_order o
    where $2::boolean and p.id = $1 and l.completing_at is null and l.status = 'processing'
      and not is_final(o.status) and o.attempt = l.attempt
    returning p.id
  )
  select ${providerColumns}, exists (select from begun) as completes from locked_payment p, locked_order o`,
} as const;

/**
 * Records that the payer has returned. Begins the completion if the payer approved, the payment is processing, it is its order's
 * latest attempt, and the order is neither paid nor in review. Returns undefined when there is no such payment.
 */
export async function recordReturn(
  pool: pg.Pool,
  paymentId: string,
  isApproved: boolean,
): Promise<Returned | undefined> {
  type Row = ProviderRow & { completes: boolean };
  const [row] = await run<Row>(pool, recordReturnStatement, [paymentId, isApproved]);
  return row && { payment: toPayment(row), status: row.status, completes: row.completes };
}

const clearCompletionLockStatement = {
  name: "clear-completion-lock",
  text: "update payment set completing_at = completing_at - interval '1 minute' where id = $1",
} as const;

/** Clears the completion lock: clock and payer may end the payment again. The completion does not begin a second time. */
export async function clearCompletionLock(pool: pg.Pool, paymentId: string): Promise<void> {
  await run(pool, clearCompletionLockStatement, [paymentId]);
}
