/**
 * The tokens in the URLs of receipt pages. A page is found by the token's hash, so that a copy of the database opens no page, and the
 * page works whatever `TUKIO_SECRET` is. Each attempt to send a mail creates one, because the token of the attempt before is not stored.
 */
import { createHash, randomBytes } from "node:crypto";
import type pg from "pg";
import { run } from "../order/statement.ts";
import { type PaidOrder, readPaidOrder } from "./paid-order.ts";

/** 144 random bits: 24 characters. */
const createToken = (): string => randomBytes(18).toString("base64url");

const isToken = (text: string): boolean => /^[\w-]{24}$/.test(text);

const hashOf = (token: string): Buffer => createHash("sha256").update(token).digest();

const storeStatement = {
  name: "store-receipt-token",
  text: "insert into receipt_token (hash, order_uuid) values ($1, $2)",
} as const;

const findStatement = {
  name: "find-receipt-token",
  text: 'select order_uuid as "orderUuid" from receipt_token where hash = $1',
} as const;

/** Returns a new token that opens the receipt of the order. Throws `store_unavailable`. */
export async function createReceiptToken(pool: pg.Pool, orderUuid: string): Promise<string> {
  const token = createToken();
  await run(pool, storeStatement, [hashOf(token), orderUuid]);
  return token;
}

/** Undefined for a token that no mail had. Throws `store_unavailable`. */
export async function findReceipt(pool: pg.Pool, token: string): Promise<PaidOrder | undefined> {
  if (!isToken(token)) return undefined;
  const [found] = await run<{ orderUuid: string }>(pool, findStatement, [hashOf(token)]);
  return found && readPaidOrder(pool, found.orderUuid);
}
