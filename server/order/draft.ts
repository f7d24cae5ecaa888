/** What a merchant wants to be paid, and what the database and the provider are told of it. */
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
  description?: string | undefined;
  customer?: Record<string, unknown> | undefined;
  metadata?: Record<string, unknown> | undefined;
  returnUrl?: string | undefined;
  /** From asking to `expired`, in seconds. */
  deadlineS: number;
  /** From asking for the money to the first question about it, in seconds. */
  firstCheckS: number;
  /** Makes the same request safe to send again for 72 hours. */
  idempotencyKey?: string;
}

/** What must be the same for an idempotency key to mean the same request; PostgreSQL's jsonb orders the fields. */
export function canonicalRequest(draft: PaymentDraft): object {
  const { deadlineS: _, firstCheckS: __, live: ___, idempotencyKey: ____, ...request } = draft;
  return { ...request, amountMinor: String(draft.amountMinor) };
}

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
