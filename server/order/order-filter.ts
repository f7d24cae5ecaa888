/** The filter of a list of orders, and its parts as conditions on a row of `order`. */
import { sql } from "kysely";
import type { Reason, Status } from "./order.ts";
import { all, type Sql } from "./page.ts";

export interface OrderFilter {
  status?: Status | undefined;
  provider?: string | undefined;
  reason?: Reason | undefined;
  /** Includes orders opened at this time or later. */
  from?: Date | undefined;
  /** Includes orders opened before this time. */
  to?: Date | undefined;
  /** Includes orders whose money moved at this time or later. Of several payments the one that paid the order counts. */
  paidFrom?: Date | undefined;
  /** Includes orders whose money moved before this time. */
  paidTo?: Date | undefined;
  /** A payment of the order has this receipt. */
  receipt?: string | undefined;
  /** A payment of the order was asked of one of these phones, in E.164. */
  phones?: readonly string[] | undefined;
  /** The customer's id, or email address in any case. */
  customer?: string | undefined;
  /** Only orders on which a person must act. */
  needsAttention?: true | undefined;
  /** Lists by change, oldest first, from 10 s before this time on. A later read may therefore repeat orders. */
  changedSince?: Date | undefined;
  /** The `nextCursor` of the previous page, read with the same filter. */
  cursor?: string | undefined;
  limit: number;
}

/** The rows of the index `order_attention`. */
export const mayNeedAttention = sql`"order".status = 'review' or "order".also_paid <> '{}'
  or "order".status = 'succeeded' and "order".reason in ('amount_mismatch', 'currency_mismatch', 'receipt_reused')`;

/** Nobody has accepted the mismatch that the order's reason states. A person's acceptance keeps it as the reason. */
const isUndecided = sql`"order".status = 'review' or "order".also_paid <> '{}' or not exists (
  select from event where event.order_uuid = "order".id and event.source = 'person' and event.status = 'succeeded')`;

/** A payment waits for a decision, although another one has paid the order. */
const hasReview = sql`exists (select from payment where payment.order_uuid = "order".id and payment.status = 'review')`;

export const needsAttention = sql`(${mayNeedAttention}) and (${isUndecided}) or ${hasReview}`;

export const hasCustomerId = (customer: string): Sql => sql`"order".customer ->> 'id' = ${customer}`;

export const hasCustomerEmail = (customer: string): Sql =>
  sql`lower("order".customer ->> 'email') = lower(${customer})`;

/** The receipt as it was given, or in capitals, because people type it in small letters. */
export const receiptsOf = (receipt: string): string[] => [...new Set([receipt, receipt.toUpperCase()])];

/** The payment has paid the order: not the second one of an order that was paid twice. */
const isPaying = sql`payment.status = 'succeeded' and payment.id::text = "order".payment ->> 'id'`;

export const isPaidWithin = ({ paidFrom, paidTo }: Pick<OrderFilter, "paidFrom" | "paidTo">): Sql =>
  all([
    sql`payment.paid_at is not null`,
    ...(paidFrom ? [sql`payment.paid_at >= ${paidFrom}::timestamptz`] : []),
    ...(paidTo ? [sql`payment.paid_at < ${paidTo}::timestamptz`] : []),
  ]);

/** A condition for each part of the filter that is given. */
export function conditionsOf(filter: OrderFilter) {
  const { status, provider, reason, from, to, paidFrom, paidTo, receipt, phones, customer } = filter;
  const when = (isGiven: unknown, condition: () => Sql): Sql[] => (isGiven ? [condition()] : []);
  return {
    ofStatus: when(status, () => sql`"order".status = ${status}`),
    ofProvider: when(provider, () => sql`"order".payment ->> 'provider' = ${provider}`),
    ofReason: when(reason, () => sql`"order".reason = ${reason}`),
    opensFrom: when(from, () => sql`"order".opened_at >= ${from}::timestamptz`),
    opensBefore: when(to, () => sql`"order".opened_at < ${to}::timestamptz`),
    ofPaid: when(paidFrom ?? paidTo, () => paymentOf(all([isPaying, isPaidWithin(filter)]))),
    ofReceipt: when(receipt, () => paymentOf(sql`payment.receipt = any (${receiptsOf(receipt ?? "")}::text[])`)),
    ofPhone: when(phones, () => paymentOf(sql`payment.phone = any (${phones}::text[])`)),
    ofCustomer: when(
      customer,
      () => sql`(${hasCustomerId(customer ?? "")} or ${hasCustomerEmail(customer ?? "")}) is true`,
    ),
    ofAttention: when(filter.needsAttention, () => needsAttention),
  };
}

const paymentOf = (condition: Sql): Sql =>
  sql`exists (select from payment where payment.order_uuid = "order".id and ${condition})`;
