/** Assesses a success before it is recorded: whether the full decision (decide.ts) would accept it. */
import type pg from "pg";
import type { Outcome } from "./order.ts";
import { run } from "./statement.ts";

/** The amount and currency that a payment agreed, which never change, and its reference once it is known. */
export interface AgreedTerms {
  amountMinor: bigint;
  currency: string;
  reference?: string;
}

export interface SuccessAssessment extends AgreedTerms {
  /** It would make the payment succeed, or add a receipt or an amount that its success lacks. */
  isDecisive: boolean;
  /** Its receipt belongs to another payment. */
  isReceiptUsed: boolean;
}

/** A success with another payment's receipt is never decisive, because any number of such webhooks may arrive. */
const assessSuccessStatement = {
  name: "assess-success",
  text: `select p.amount_minor, p.currency, p.reference,
    (p.reference = $4::text) is not false
    and ((p.amount_minor = $2::bigint and p.currency = $3::text) is true
      or (p.amount_minor = $2) is not false and (p.currency = $3) is not false and p.provider = any ($6::text[])
        and p.status <> 'review' and p.reason is distinct from 'rejected')
    and (p.status <> 'succeeded' or p.receipt is null and $5::text is not null or p.amount_paid_minor is null and $2 is not null)
    and not used.is_used as is_decisive,
    used.is_used as is_receipt_used
  from payment p, lateral (
    select exists (select from receipt r where r.provider = p.provider and r.receipt = $5 and r.payment_id <> p.id) as is_used
  ) used
  where p.id = $1`,
} as const;

interface AssessmentRow {
  amount_minor: number;
  currency: string;
  reference: string | null;
  is_decisive: boolean;
  is_receipt_used: boolean;
}

/** Returns undefined when there is no such payment. Throws `store_unavailable`. */
export async function assessSuccess(
  pool: pg.Pool,
  paymentId: string,
  { amountMinor, currency, reference, receipt }: Outcome,
  amountlessProviders: readonly string[],
): Promise<SuccessAssessment | undefined> {
  const values = [paymentId, amountMinor?.toString(), currency, reference, receipt, amountlessProviders];
  const [row] = await run<AssessmentRow>(pool, assessSuccessStatement, values);
  return (
    row && {
      amountMinor: BigInt(row.amount_minor),
      currency: row.currency,
      ...(row.reference !== null && { reference: row.reference }),
      isDecisive: row.is_decisive,
      isReceiptUsed: row.is_receipt_used,
    }
  );
}
