/**
 * The durable work of one webhook, without a decision: one prepared statement writes the rows of a first success to Tukio's
 * tables in one commit. The floor and all peers that commit use it.
 */
import pg from "pg";
import type { StatusEvent } from "../client-sdk/protocol.ts";
import { type OrderRow, recordEvent, toEvent } from "../server/order/row.ts";

const text = `with paid as (
    update payment set status = 'succeeded', receipt = $2, amount_paid_minor = $3, check_at = null
    where id = $1::uuid returning *
  ), claimed as (
    insert into receipt (provider, receipt, payment_id) select provider, receipt, id from paid
  ), changed_order as (
    update "order" o set version = o.version + 1, status = 'succeeded', changed_at = clock_timestamp(),
      payment = o.payment || jsonb_build_object('receipt', $2::text, 'amountPaidMinor', $3::bigint)
    from paid p where o.id = p.order_uuid returning o.*
  ), ${recordEvent({ source: "'webhook'", note: "null" })}, kept as (
    insert into webhook (provider, payment_id, reference, proof, headers, body, result)
    values ('daraja', $1, $4, 'secret', $5::jsonb, $6::bytea, 'applied')
  )
  select * from changed_order`;

interface Callback {
  Body: {
    stkCallback: { CheckoutRequestID: string; CallbackMetadata: { Item: { Name: string; Value: string | number }[] } };
  };
}

export interface Work {
  /** Commits the success. Resolves with the event for watchers. */
  apply(id: string, body: Buffer, headers: object): Promise<StatusEvent>;
  current(id: string): Promise<StatusEvent | undefined>;
  pool: pg.Pool;
}

export function openWork(url: string): Work {
  // 10 connections, because Tukio's webhook pool has 10.
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  return {
    pool,
    async apply(id, body, headers) {
      const { reference, receipt, amountMinor } = readCallback(body);
      const values = [id, receipt, amountMinor, reference, JSON.stringify(headers), body];
      const { rows } = await pool.query<OrderRow>({ name: "pay", text, values });
      return toEvent({ ...(rows[0] as OrderRow), epoch: 0 });
    },
    async current(id) {
      const { rows } = await pool.query<OrderRow>({
        name: "current",
        text: 'select * from "order" where id = $1',
        values: [id],
      });
      return rows[0] && toEvent({ ...rows[0], epoch: 0 });
    },
  };
}

/** Inserts orders with a prompted payer in one statement, because these phases do not measure initiate. */
export async function insertOrders(pool: pg.Pool, count: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `with made as (select gen_random_uuid() as id, clock_timestamp() as at from generate_series(1, $1)),
     orders as (
       insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
       select id, 'O-' || id, 15000, 'KES', 2, 'processing', 1, jsonb_build_object('id', id, 'provider', 'daraja',
         'attempt', 1, 'startedAt', iso(at), 'expiresAt', iso(at + interval '1 day'), 'live', true,
         'action', jsonb_build_object('type', 'prompt', 'phone', '+2547*****678')), at, at from made returning *
     ), payments as (
       insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, phone, status, reference,
         started_at, expires_at)
       select id, id, 1, 'daraja', true, 15000, 'KES', '+254712345678', 'processing', 'ws_CO_' || id, opened_at,
         opened_at + interval '1 day' from orders
     ), events as (
       insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
       select id, v, case v when 1 then 'pending' else status end, payment, also_paid, changed_at
       from orders, generate_series(1, 2) v
     )
     select id from made`,
    [count],
  );
  return rows.map(({ id }) => id);
}

/** Reads a callback without validation. */
export function readCallback(body: Buffer): { reference: string; receipt: string; amountMinor: number } {
  const { CheckoutRequestID, CallbackMetadata } = (JSON.parse(body.toString()) as Callback).Body.stkCallback;
  const [amount, receipt] = CallbackMetadata.Item;
  return { reference: CheckoutRequestID, receipt: String(receipt?.Value), amountMinor: Number(amount?.Value) * 100 };
}

let receipts = 0;

/** Safaricom's callback for a payment of 150 shillings. */
export function callback(reference: string): string {
  receipts += 1;
  return JSON.stringify({
    Body: {
      stkCallback: {
        MerchantRequestID: "29115-34620561-1",
        CheckoutRequestID: reference,
        ResultCode: 0,
        ResultDesc: "The service request is processed successfully.",
        CallbackMetadata: {
          Item: [
            { Name: "Amount", Value: 150 },
            {
              Name: "MpesaReceiptNumber",
              Value: `B${process.pid.toString(36)}R${receipts.toString(36)}`.toUpperCase(),
            },
            { Name: "Balance" },
            { Name: "TransactionDate", Value: 20_261_121_143_500 },
            { Name: "PhoneNumber", Value: 254_712_345_678 },
          ],
        },
      },
    },
  });
}
