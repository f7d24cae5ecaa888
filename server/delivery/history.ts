/** The history of the deliveries of an endpoint or a notification, for the merchant. */
import type pg from "pg";
import { z } from "zod";
import { readCursor, writeCursor } from "../cursor.ts";
import { run } from "../order/statement.ts";

/** `pending`: due, with the time of its next attempt. `superseded`: a newer version replaced it before its delivery. */
export const deliveryStatuses = ["pending", "delivered", "failed", "superseded"] as const;

/** `accepted`: the gateway took it, and has not reported its end. `unknown`: its answer was lost. */
export const smsStatuses = ["accepted", "delivered", "failed", "unknown"] as const;

/** What became of an SMS. */
export interface SmsView {
  id: string;
  status: (typeof smsStatuses)[number];
  parts?: number;
  reportedAt?: string;
}

export interface DeliveryView {
  /** The `webhook-id`. */
  id: string;
  type?: string;
  /** Absent for a message that is not about an order. */
  orderId?: string;
  version: number;
  status: (typeof deliveryStatuses)[number];
  /** 1 for the first attempt of its version. */
  attempt?: number;
  /** When the attempt ended. Absent while it is pending. */
  at?: string;
  /** Of a pending delivery. Absent after its last attempt. */
  nextAttemptAt?: string;
  httpStatus?: number;
  durationMs?: number;
  /** The first 1 KiB of the answer. */
  answer?: string;
  error?: string;
  sms?: SmsView;
}

export interface DeliveryFilter {
  status?: DeliveryView["status"] | undefined;
  orderId?: string | undefined;
  cursor?: string | undefined;
  limit: number;
}

export interface DeliveryPage {
  data: DeliveryView[];
  nextCursor: string | null;
}

interface AttemptRow {
  id: number;
  subject_id: string;
  order_id: string | null;
  epoch: number;
  version: number;
  type: string | null;
  result: "delivered" | "failed" | "superseded";
  attempt: number | null;
  http_status: number | null;
  duration_ms: number | null;
  answer: string | null;
  error: string | null;
  at: Date;
  sms_id: string | null;
  sms_status: SmsView["status"] | null;
  sms_parts: number | null;
  sms_reported_at: Date | null;
}

/** Rows that one page reads, because few of many may have the wanted status. */
const readMax = 1_000;

const names =
  "a.id, a.subject_id, a.epoch, a.version, a.type, a.result, a.attempt, a.http_status, a.duration_ms, a.answer, a.error, a.at, a.sent_id";

/** A text whose answer was not recorded may have been sent. */
const smsColumns = `sms.id as sms_id, case sms.status when 'sent' then 'accepted' when 'sending' then 'unknown' else sms.status end as sms_status,
      sms.parts as sms_parts, sms.reported_at as sms_reported_at`;

/** $1: the endpoint. $2: attempts before this one. $3: an order. Newest first. */
const attemptsStatement = (condition: string, name: string) => ({
  name,
  text: `select ${names}, o.order_id, ${smsColumns} from (
      select ${names} from delivery_attempt a where a.endpoint_id = $1 and a.id < $2 and ${condition} order by a.id desc limit ${readMax}
    ) a left join "order" o on o.id = a.subject_id left join sms on sms.id = a.sent_id order by a.id desc`,
});

const allStatement = attemptsStatement("$3::text is null", "delivery-history");
const orderStatement = attemptsStatement(
  `a.subject_id = (select id from "order" where order_id = $3)`,
  "delivery-history-of-order",
);

const pendingNames = "subject_id, due_version, attempts, attempt_at";

const pendingRows = (deliveries: string): string => `
  select d.subject_id, o.order_id, (select epoch from timeline) as epoch, d.due_version as version, d.attempts, d.attempt_at
  from (${deliveries}) d left join "order" o on o.id = d.subject_id
  order by d.attempt_at, d.subject_id`;

/** Rows of the list that pages reach. */
const pendingMax = 1_000_000;

/** $1: the endpoint. $2: rows before the page. $3: its rows. The soonest first; those whose schedule has ended come last. */
const pendingStatement = {
  name: "pending-deliveries",
  text: pendingRows(`
    select ${pendingNames} from delivery where endpoint_id = $1 and attempt_at is not null and due_version is not null
    order by attempt_at offset $2 limit $3`),
} as const;

/** $1: the endpoint. $2: the order. */
const pendingOfOrderStatement = {
  name: "pending-delivery-of-order",
  text: pendingRows(`
    select ${pendingNames} from delivery
    where endpoint_id = $1 and subject_id = (select id from "order" where order_id = $2) and due_version is not null`),
} as const;

interface PendingRow {
  subject_id: string;
  order_id: string | null;
  epoch: number;
  version: number;
  attempts: number;
  /** `Infinity` after the last attempt. */
  attempt_at: Date | number;
}

/** Lists attempts, newest first; or with the status `pending` what is due. Throws `body_invalid` for a cursor that no list returned. */
export function listDeliveries(pool: pg.Pool, endpointId: string, filter: DeliveryFilter): Promise<DeliveryPage> {
  return filter.status === "pending" ? listPending(pool, endpointId, filter) : listAttempts(pool, endpointId, filter);
}

async function listAttempts(
  pool: pg.Pool,
  endpointId: string,
  { status, orderId, cursor, limit }: DeliveryFilter,
): Promise<DeliveryPage> {
  const before = cursor === undefined ? Number.MAX_SAFE_INTEGER : readCursor(z.int().min(0), cursor);
  const statement = orderId === undefined ? allStatement : orderStatement;
  const rows = await run<AttemptRow>(pool, statement, [endpointId, before, orderId]);
  const matches = rows.filter(({ result }) => status === undefined || result === status);
  const shown = matches.slice(0, limit);
  const last = matches.length > limit ? shown.at(-1) : rows.length === readMax ? rows.at(-1) : undefined;
  return { data: shown.map(toDelivery), nextCursor: last ? writeCursor(last.id) : null };
}

async function listPending(
  pool: pg.Pool,
  endpointId: string,
  { orderId, cursor, limit }: DeliveryFilter,
): Promise<DeliveryPage> {
  const offset = cursor === undefined ? 0 : readCursor(z.int().min(0).max(pendingMax), cursor);
  const rows = await (orderId === undefined
    ? run<PendingRow>(pool, pendingStatement, [endpointId, offset, limit + 1])
    : run<PendingRow>(pool, pendingOfOrderStatement, [endpointId, orderId]));
  return {
    data: rows.slice(0, limit).map(toPending),
    nextCursor: rows.length > limit ? writeCursor(offset + limit) : null,
  };
}

/** Leaves out what is null. */
const present = <T extends object>(fields: T): { [K in keyof T]?: NonNullable<T[K]> } =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null)) as never;

const toDelivery = (row: AttemptRow): DeliveryView => ({
  id: `${row.subject_id}.${row.epoch}.${row.version}`,
  ...present({ type: row.type, orderId: row.order_id }),
  version: row.version,
  status: row.result,
  ...present({ attempt: row.attempt }),
  at: row.at.toISOString(),
  ...present({ httpStatus: row.http_status, durationMs: row.duration_ms, answer: row.answer, error: row.error }),
  ...present({ sms: toSms(row) }),
});

const toSms = (row: AttemptRow): SmsView | null =>
  row.sms_id === null || row.sms_status === null
    ? null
    : {
        id: row.sms_id,
        status: row.sms_status,
        ...present({ parts: row.sms_parts, reportedAt: row.sms_reported_at?.toISOString() ?? null }),
      };

const toPending = (row: PendingRow): DeliveryView => ({
  id: `${row.subject_id}.${row.epoch}.${row.version}`,
  ...present({ orderId: row.order_id }),
  version: row.version,
  status: "pending",
  // -1 in the table: a replay was asked for during the attempt in flight.
  attempt: Math.max(0, row.attempts),
  ...(row.attempt_at instanceof Date && { nextAttemptAt: row.attempt_at.toISOString() }),
});
