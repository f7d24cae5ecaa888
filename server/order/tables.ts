/** The tables of schema.sql as Kysely sees them. Times are Dates, bigints are numbers within 2^53 (see database/pool.ts). */
import type { ColumnType, GeneratedAlways } from "kysely";
import type { Action, EventPayment, Reason, Result, Status } from "../../client-sdk/protocol.ts";
import type { Item, Language, Source } from "./order.ts";

/** The payment object of an event, and whether it moves real money. */
export interface StoredPayment extends EventPayment {
  live: boolean;
}

type Json<T> = ColumnType<T, string, string>;

/** The columns that change with an order's version: `order` has the newest values, `event` has all of them. */
export interface VersionColumns {
  version: number;
  status: Status;
  reason: Reason | null;
  payment: Json<StoredPayment>;
  also_paid: string[];
  /** Null: there are none, or they are erased. */
  results: Json<Result[] | null>;
}

interface OrderTable extends VersionColumns {
  id: string;
  order_id: string;
  amount_minor: number;
  currency: string;
  description: string | null;
  customer: Json<Record<string, unknown> | null>;
  metadata: Json<Record<string, unknown> | null>;
  /** Null: the order was opened without items. Empty: they are erased. */
  items: Json<Item[] | null>;
  lang: Language | null;
  attempt: number;
  opened_at: Date;
  changed_at: Date;
  payment_link_id: string | null;
  pays_link: boolean | null;
}

interface PaymentTable {
  id: string;
  order_uuid: string;
  attempt: number;
  provider: string;
  live: boolean;
  amount_minor: number;
  currency: string;
  phone: string | null;
  return_url: string | null;
  status: Status;
  reason: Reason | null;
  reference: string | null;
  receipt: string | null;
  amount_paid_minor: number | null;
  action: Json<Action | null>;
  started_at: Date;
  expires_at: Date;
  check_at: Date | null;
  suspected: string | null;
  suspected_at: Date | null;
  completing_at: Date | null;
  payer: Buffer | null;
  paid_at: Date | null;
}

interface EventTable extends VersionColumns {
  order_uuid: string;
  occurred_at: Date;
  note: string | null;
  source: Source | null;
}

export const webhookResults = [
  "applied",
  "repeat",
  "hint",
  "unmatched",
  "nothing",
  "error",
  "unreadable",
  "refused",
] as const;

export type WebhookResult = (typeof webhookResults)[number];

interface WebhookTable {
  id: GeneratedAlways<number>;
  provider: string;
  payment_id: string | null;
  reference: string | null;
  proof: "signature" | "secret" | "none";
  result: WebhookResult;
  error: string | null;
  offer_at: Date | null;
  headers: Json<Record<string, unknown>>;
  body: Buffer;
  received_at: ColumnType<Date, never, never>;
}

interface TimelineTable {
  epoch: number;
  server: string | null;
}

interface IdempotencyTable {
  key: string;
  request: Buffer;
  order_uuid: string;
  created_at: Date;
}

export interface Tables {
  order: OrderTable;
  payment: PaymentTable;
  event: EventTable;
  webhook: WebhookTable;
  idempotency: IdempotencyTable;
  timeline: TimelineTable;
}
