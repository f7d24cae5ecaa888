/** Finds payments: the one that a webhook names, and the one that the merchant names. */
import type pg from "pg";
import type { Payment } from "./order.ts";
import { type ProviderRow, providerColumns, toPayment } from "./row.ts";
import { run } from "./statement.ts";

const locateStatement = {
  name: "locate",
  text: "select id from payment where provider = $1 and reference = $2",
} as const;

/** Finds the id of the payment that the provider knows by this reference. */
export async function locate(pool: pg.Pool, provider: string, reference: string): Promise<string | undefined> {
  return (await run<{ id: string }>(pool, locateStatement, [provider, reference]))[0]?.id;
}

/** Names Lipana as a literal, because the index `payment_own_reference` is a partial one. */
const locateOwnStatement = {
  name: "locate-own",
  text: "select id from payment where provider = $1 and provider = 'lipana' and right(id::text, 12) = $2",
} as const;

/** Finds the id of the payment that we gave this reference when we asked the provider for the money: the end of its id. */
export async function locateOwn(pool: pg.Pool, provider: string, ownReference: string): Promise<string | undefined> {
  return (await run<{ id: string }>(pool, locateOwnStatement, [provider, ownReference]))[0]?.id;
}

/** A payment of any status, as its adapter sees it, and the uuid of its order. */
export interface AskedPayment extends Payment {
  orderUuid: string;
}

const findAskedStatement = {
  name: "find-asked",
  text: `select ${providerColumns}, o.id as order_uuid from payment p join "order" o on o.id = p.order_uuid where p.id = $1`,
} as const;

/** Finds a payment about which its provider can be asked. Undefined when there is no such payment. */
export async function findAsked(pool: pg.Pool, paymentId: string): Promise<AskedPayment | undefined> {
  const [row] = await run<ProviderRow & { order_uuid: string }>(pool, findAskedStatement, [paymentId]);
  return row && { ...toPayment(row), orderUuid: row.order_uuid };
}
