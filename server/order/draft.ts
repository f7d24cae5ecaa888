/** What a merchant wants to be paid, and what the database and the provider are told of it. */
import { v7 as uuidv7 } from "uuid";
import { HubError } from "../errors.ts";
import type { Payment, StatusEvent } from "./order.ts";
import type { StateRow } from "./row.ts";

/** What a merchant asks for, checked and normalised. */
export interface PaymentDraft {
  orderId: string;
  provider: string;
  live: boolean;
  amountMinor: bigint;
  currency: string;
  /** E.164. */
  phone?: string;
  description?: string;
  customer?: Record<string, unknown>;
  metadata?: Record<string, unknown>;
  returnUrl?: string;
  /** From asking to `expired`, in seconds. */
  deadlineS: number;
  /** From asking for the money to the first question about it, in seconds. */
  firstCheckS: number;
  /** Makes the same request safe to send again for 72 hours. */
  idempotencyKey?: string;
}

/** As `openStatement` reads them. */
export function openValues(draft: PaymentDraft, paymentId: string): unknown[] {
  const key = draft.idempotencyKey;
  return [
    uuidv7(),
    draft.orderId,
    draft.amountMinor,
    draft.currency,
    draft.description,
    toJson(draft.customer),
    toJson(draft.metadata),
    paymentId,
    draft.provider,
    draft.deadlineS,
    draft.live,
    key,
    draft.phone,
    draft.returnUrl,
    key === undefined ? undefined : canonicalRequest(draft),
  ];
}

/** What must be the same for an idempotency key to mean the same request; PostgreSQL's jsonb orders the fields. */
export function canonicalRequest(draft: PaymentDraft): string {
  const { deadlineS: _, firstCheckS: __, live: ___, idempotencyKey: ____, ...request } = draft;
  return JSON.stringify({ ...request, amountMinor: String(draft.amountMinor) });
}

const toJson = (value: object | undefined): string | undefined => value && JSON.stringify(value);

/** What is to be asked for, of the order as it is now. */
export function paymentOf(draft: PaymentDraft, row: StateRow, paymentId: string): Payment {
  const { orderId, provider, amountMinor, currency, phone, description, returnUrl } = draft;
  return {
    id: paymentId,
    orderId,
    attempt: row.payment.attempt,
    provider,
    amountMinor,
    currency,
    ...(phone !== undefined && { phone }),
    ...(description !== undefined && { description }),
    ...(returnUrl !== undefined && { returnUrl }),
  };
}

/** Why an order is not open to another try, or undefined when by now it is. */
export function conflictOf(order: StatusEvent, draft: PaymentDraft): HubError | undefined {
  if (BigInt(order.amountMinor) !== draft.amountMinor || order.currency !== draft.currency) {
    return new HubError("order_mismatch", undefined, { order });
  }
  if (order.status === "succeeded") return new HubError("order_paid", undefined, { order });
  if (order.status === "review") return new HubError("order_in_review", undefined, { order });
  return order.settled ? undefined : new HubError("payment_in_progress", undefined, { order });
}
