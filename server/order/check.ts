/** Moves a payment's next check outside the schedule, and reads whether its order is still to be paid. */
import type pg from "pg";
import { dueNow } from "./schedule.ts";
import { run } from "./statement.ts";

const checkNowStatement = {
  name: "check-now",
  text: `update payment set check_at = least(check_at, ${dueNow})
         where id = $1 and not is_final(status) and reason is distinct from 'rejected'`,
} as const;

/** Makes a payment due now. No effect on one that is paid, in review or rejected. */
export async function checkNow(pool: pg.Pool, paymentId: string): Promise<void> {
  await run(pool, checkNowStatement, [paymentId]);
}

const deferStatement = {
  name: "defer-check",
  text: `update payment set check_at = least(check_at, ${dueNow})
         where id = $1 and status <> 'review' and (status <> 'succeeded' or receipt is null)`,
} as const;

/** Makes a claimed payment due again at once, because its provider could not be queried. It then waits for the pace. */
export async function defer(pool: pg.Pool, paymentId: string): Promise<void> {
  await run(pool, deferStatement, [paymentId]);
}

const endReceiptCheckStatement = {
  name: "end-receipt-check",
  text: "update payment set check_at = null where id = $1 and status = 'succeeded'",
} as const;

/** Ends the checks of a success, because the provider was queried once for its receipt. */
export async function endReceiptCheck(pool: pg.Pool, paymentId: string): Promise<void> {
  await run(pool, endReceiptCheckStatement, [paymentId]);
}

const payableStatement = {
  name: "payable",
  text: `select not is_final(o.status) as is_payable from payment p join "order" o on o.id = p.order_uuid where p.id = $1`,
} as const;

/** Whether the payment's order is still to be paid. False after another attempt has paid it or may have paid it. */
export async function isPayable(pool: pg.Pool, paymentId: string): Promise<boolean> {
  return (await run<{ is_payable: boolean }>(pool, payableStatement, [paymentId]))[0]?.is_payable ?? false;
}
