/** The order that a link's page shows to one browser, and the number of a reusable link's next order. */
import type pg from "pg";
import { inBatches } from "../order/batch.ts";
import type { StatusEvent } from "../order/order.ts";
import { eventColumns, type StateRow, toEvent } from "../order/row.ts";
import { run } from "../order/statement.ts";
import type { LinkRow } from "./row.ts";

export interface PageOrder {
  event: StatusEvent;
  /** Whether this browser started the payment of this state. */
  isOwn: boolean;
  /** The phone that this browser entered; masked once it is erased. */
  phone?: string;
}

/** $1: the order id. $2: the link. $3: the browser. */
const linkOrderStatement = {
  name: "read-payment-link-order",
  text: `select ${eventColumns("o")}, p.phone, coalesce(p.payer = decode($3, 'hex'), false) as is_own
    from "order" o left join payment p on p.id = (o.payment ->> 'id')::uuid
    where o.order_id = $1 and o.payment_link_id = $2`,
} as const;

/** The order of the browser's latest payment. $1: the link. $2: the browser. */
const payerOrderStatement = {
  name: "read-payer-order",
  text: `select ${eventColumns("o")}, p.phone, true as is_own
    from payment p join "order" o on o.id = p.order_uuid
    where p.payer = decode($2, 'hex') and o.payment_link_id = $1 order by p.started_at desc limit 1`,
} as const;

/** A link's order, or of a reusable link the one that the browser opened last. Throws `store_unavailable`. */
export async function readPageOrder(pool: pg.Pool, link: LinkRow, payer: string): Promise<PageOrder | undefined> {
  type Row = StateRow & { phone: string | null; is_own: boolean };
  const [row] = await (link.is_reusable
    ? run<Row>(pool, payerOrderStatement, [link.id, payer])
    : run<Row>(pool, linkOrderStatement, [link.order_id, link.id, payer]));
  if (!row) return undefined;
  return {
    event: toEvent(row),
    isOwn: row.is_own,
    ...(row.is_own && row.phone !== null && { phone: row.phone }),
  };
}

/** Numbers that one statement looks at. */
const numbersMax = 100;

/** Skips the numbers whose ids orders or links have. Two payers get different numbers, because the statement locks the link. */
const reserveStatement = {
  name: "reserve-order-number",
  text: `with link as materialized (
    select id, order_id, next_n from payment_link where id = $1 for no key update
  ),
  free as materialized (
    select n from link, generate_series(next_n, next_n + ${numbersMax - 1}) as n
    where not exists (select from "order" o where o.order_id = link.order_id || '-' || n offset 0)
      and not exists (select from payment_link other where other.order_id = link.order_id || '-' || n offset 0)
    order by n limit 1
  )
  update payment_link l set next_n = 1 + coalesce((select n from free), link.next_n + ${numbersMax - 1}) from link where l.id = link.id
  returning (select n from free) as n`,
} as const;

/** Reserves the id of a reusable link's next order. Undefined if all numbers that it looked at are taken: the next call looks further. */
export async function reserveOrderId(pool: pg.Pool, link: LinkRow): Promise<string | undefined> {
  const [row] = await run<{ n: number | null }>(pool, reserveStatement, [link.id]);
  return typeof row?.n === "number" ? `${link.order_id}-${row.n}` : undefined;
}

/**
 * Returns a function that reserves order ids one after the other, because payers of one link wait for its lock, and would each hold a
 * connection to PostgreSQL meanwhile.
 */
export function createReservation(pool: pg.Pool): (link: LinkRow) => Promise<string | undefined> {
  const reserve = inBatches<{ link: LinkRow; sinceMs: number }, string | undefined>({
    concurrency: 1,
    sizeMax: 1,
    // As long as a statement may wait for a lock.
    waitMsMax: 5_000,
    run: (batch) => Promise.all(batch.map(({ link }) => reserveOrderId(pool, link))),
  });
  return (link) => reserve({ link, sinceMs: performance.now() });
}

/** The link of a payment that was started on its page. */
const linkOfPaymentStatement = {
  name: "payment-link-of-payment",
  text: `select l.id, l.token from payment p join "order" o on o.id = p.order_uuid join payment_link l on l.id = o.payment_link_id
    where p.id = $1`,
} as const;

export async function linkOfPayment(
  pool: pg.Pool,
  paymentId: string,
): Promise<Pick<LinkRow, "id" | "token"> | undefined> {
  const [row] = await run<Pick<LinkRow, "id" | "token">>(pool, linkOfPaymentStatement, [paymentId]);
  return row;
}
