/**
 * The rows that make each text be sent at most once: one for each request to send an order's SMS.
 *
 * Guarantees: the row is committed before the gateway is asked, and only the attempt that inserted it asks. An attempt that finds a row
 * sends nothing. The row is deleted only if nothing was sent for certain.
 */
import type pg from "pg";
import { run } from "../../order/statement.ts";
import type { SmsGatewayName } from "./gateway.ts";

export type SmsStatus = "sending" | "sent" | "delivered" | "failed" | "unknown";

export interface TakeOptions {
  id: string;
  orderUuid: string;
  /** Names the request to send the SMS again. 0: the first one. */
  replays: number;
  provider: SmsGatewayName;
  /** Not before this time, and not after that one, by PostgreSQL's clock. */
  from: Date;
  until: Date | undefined;
}

/** `taken`: the caller must send the text now. `found`: another attempt took it. */
export type Take =
  | { outcome: "taken" }
  | { outcome: "early"; waitMs: number }
  | { outcome: "late" }
  | { outcome: "found"; id: string; status: SmsStatus; ageMs: number }
  /** Another attempt takes it at this moment. */
  | { outcome: "busy" };

/** $1 to $4: the row. $5, $6: the earliest and the latest time. */
const takeStatement = {
  name: "take-sms",
  text: `with clock as materialized (select clock_timestamp() as now),
  own as (
    insert into sms (id, order_uuid, replays, provider)
    select $1, $2, $3, $4 from clock where now >= $5::timestamptz and now < coalesce($6::timestamptz, 'infinity')
    on conflict (order_uuid, replays) do nothing
    returning id
  )
  select exists (select from own) as is_taken, old.id, old.status, extract(epoch from now - old.at)::float8 * 1000 as age_ms,
    extract(epoch from $5::timestamptz - now)::float8 * 1000 as wait_ms, now >= coalesce($6::timestamptz, 'infinity') as is_late
  from clock left join sms old on old.order_uuid = $2 and old.replays = $3`,
} as const;

interface TakeRow {
  is_taken: boolean;
  id: string | null;
  status: SmsStatus | null;
  age_ms: number | null;
  wait_ms: number;
  is_late: boolean;
}

/** Takes the right to send a text. Throws `store_unavailable`. */
export async function takeSms(pool: pg.Pool, options: TakeOptions): Promise<Take> {
  const { id, orderUuid, replays, provider, from, until } = options;
  const [row] = await run<TakeRow>(pool, takeStatement, [id, orderUuid, replays, provider, from, until]);
  if (!row) return { outcome: "busy" };
  if (row.id !== null && row.status !== null) {
    return { outcome: "found", id: row.id, status: row.status, ageMs: row.age_ms ?? 0 };
  }
  if (row.is_taken) return { outcome: "taken" };
  if (row.is_late) return { outcome: "late" };
  return row.wait_ms > 0 ? { outcome: "early", waitMs: Math.ceil(row.wait_ms) } : { outcome: "busy" };
}

/** A delivery report may have come before the answer to the request. */
const settleStatement = {
  name: "settle-sms",
  text: "update sms set status = $2, reference = coalesce($3, reference), parts = coalesce($4, parts) where id = $1 and status = 'sending'",
} as const;

export interface SettledSms {
  status: Exclude<SmsStatus, "sending">;
  reference?: string | undefined;
  parts?: number | undefined;
}

/** Records what became of the request. Throws `store_unavailable`. */
export const settleSms = (pool: pg.Pool, id: string, { status, reference, parts }: SettledSms): Promise<object[]> =>
  run(pool, settleStatement, [id, status, reference, parts]);

const releaseStatement = {
  name: "release-sms",
  text: "delete from sms where id = $1 and status = 'sending'",
} as const;

/** Nothing was sent: another attempt may take it. Throws `store_unavailable`. */
export const releaseSms = (pool: pg.Pool, id: string): Promise<object[]> => run(pool, releaseStatement, [id]);
