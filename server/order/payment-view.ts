/** Payments as the merchant's backend sees them. */
import type { Selectable } from "kysely";
import { maskPhone, type Reason, type Status } from "./order.ts";
import type { StoredPayment, Tables } from "./tables.ts";

/** One attempt. The phone is masked. */
export interface PaymentView extends StoredPayment {
  status: Status;
  reason?: Reason;
  phone?: string;
  reference?: string;
  /** When the money moved, as far as Tukio knows. Only of a success. */
  paidAt?: string;
}

export type PaymentRow = Selectable<Tables["payment"]>;

/** A row, or its JSON, in which times are texts. */
type ReadRow = Pick<
  PaymentRow,
  | "id"
  | "provider"
  | "attempt"
  | "live"
  | "status"
  | "reason"
  | "phone"
  | "reference"
  | "receipt"
  | "amount_paid_minor"
  | "action"
> & { started_at: Date | string; expires_at: Date | string; paid_at: Date | string | null };

export function toPaymentView(row: ReadRow): PaymentView {
  return {
    id: row.id,
    provider: row.provider,
    attempt: row.attempt,
    live: row.live,
    status: row.status,
    ...(row.reason && { reason: row.reason }),
    ...(row.phone && { phone: maskPhone(row.phone) }),
    ...(row.reference && { reference: row.reference }),
    ...(row.receipt && { receipt: row.receipt }),
    ...(row.amount_paid_minor !== null && { amountPaidMinor: row.amount_paid_minor }),
    ...(row.paid_at !== null && row.status === "succeeded" && { paidAt: isoOf(row.paid_at) }),
    ...(row.action && row.status === "processing" && { action: row.action }),
    startedAt: isoOf(row.started_at),
    expiresAt: isoOf(row.expires_at),
  };
}

const isoOf = (at: Date | string): string => new Date(at).toISOString();
