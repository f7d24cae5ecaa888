/** A paid order, as messages to its payer show it. */
import type pg from "pg";
import { type Item, type Language, maskPhone, type Result } from "../order/order.ts";
import { run } from "../order/statement.ts";

export interface PaidOrder {
  uuid: string;
  /** The merchant's id for the order. */
  orderId: string;
  epoch: number;
  version: number;
  /** The order's amount, in minor units. */
  amountMinor: number;
  currency: string;
  description?: string;
  items?: Item[];
  lang: Language;
  /** `customer.email`. */
  email?: string;
  /** E.164: the phone of the payment, else `customer.phone`. Absent if the provider shows or the database keeps a masked one only. */
  phone?: string;
  maskedPhone?: string;
  /** The provider's name in the registry. */
  provider: string;
  /** The provider's receipt of the money. */
  receipt?: string;
  /** When the order became `succeeded`. */
  paidAt: Date;
  /** No money moved: nothing about the order may leave the process. */
  isSandbox: boolean;
  results: Result[];
}

interface PaidRow {
  uuid: string;
  order_id: string;
  epoch: number;
  version: number;
  amount_minor: number;
  currency: string;
  description: string | null;
  items: Item[] | null;
  lang: Language | null;
  email: string | null;
  phone: string | null;
  customer_phone: string | null;
  provider: string;
  receipt: string | null;
  paid_at: Date;
  live: boolean;
  results: Result[] | null;
}

/** $1: the order. The event that made it `succeeded` is the first one after the last with another status. */
const paidOrderStatement = {
  name: "read-paid-order",
  text: `select o.id as uuid, o.order_id, (select epoch from timeline) as epoch, o.version, o.amount_minor, o.currency, o.description, o.items,
      o.lang, case when jsonb_typeof(o.customer -> 'email') = 'string' then o.customer ->> 'email' end as email,
      p.phone, case when jsonb_typeof(o.customer -> 'phone') = 'string' then o.customer ->> 'phone' end as customer_phone,
      p.provider, p.receipt, p.live, entered.occurred_at as paid_at, o.results
    from "order" o
      join payment p on p.id = (o.payment ->> 'id')::uuid
      join lateral (
        select occurred_at from event where order_uuid = o.id and version = 1 + coalesce((
          select other.version from event other where other.order_uuid = o.id and other.status <> 'succeeded'
          order by other.version desc limit 1), 0)
      ) entered on true
    where o.id = $1 and o.status = 'succeeded'`,
} as const;

/** Undefined for an order that is not paid or does not exist. Throws `store_unavailable`. */
export async function readPaidOrder(pool: pg.Pool, uuid: string): Promise<PaidOrder | undefined> {
  const [row] = await run<PaidRow>(pool, paidOrderStatement, [uuid]);
  return row && toPaidOrder(row);
}

/** $1: the order. */
const liveStatement = {
  name: "is-live-order",
  text: `select p.live from "order" o join payment p on p.id = (o.payment ->> 'id')::uuid where o.id = $1`,
} as const;

/** Whether the order's latest payment moves money. Throws `store_unavailable`. */
export async function isLiveOrder(pool: pg.Pool, uuid: string): Promise<boolean> {
  const [row] = await run<{ live: boolean }>(pool, liveStatement, [uuid]);
  return row?.live === true;
}

function toPaidOrder(row: PaidRow): PaidOrder {
  const given = row.phone ?? row.customer_phone ?? undefined;
  const phone = [row.phone, row.customer_phone].find((one) => one !== null && isComplete(one)) ?? undefined;
  return {
    uuid: row.uuid,
    orderId: row.order_id,
    epoch: row.epoch,
    version: row.version,
    amountMinor: row.amount_minor,
    currency: row.currency,
    ...(row.description !== null && { description: row.description }),
    // Empty: the items are erased.
    ...(row.items !== null && row.items.length > 0 && { items: row.items }),
    lang: row.lang ?? "en",
    ...(row.email !== null && { email: row.email }),
    ...(phone !== undefined && { phone }),
    ...(given !== undefined && { maskedPhone: isComplete(given) ? maskPhone(given) : given }),
    provider: row.provider,
    ...(row.receipt !== null && { receipt: row.receipt }),
    paidAt: row.paid_at,
    isSandbox: !row.live,
    results: row.results ?? [],
  };
}

/** Whether the number is E.164, and not one that was masked when its retention ended. */
const isComplete = (phone: string): boolean => /^\+\d{6,15}$/.test(phone);
