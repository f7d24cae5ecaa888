/** Reads orders for the merchant's backend: one order with its history, lists, and changed orders. No webhook waits for it. */
import { Kysely, PostgresDialect, type SelectQueryBuilder, sql } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { z } from "zod";
import { asHubError, type Database } from "../database/pool.ts";
import { fieldError } from "../errors.ts";
import { isStorable, storable } from "../validation.ts";
import { maskPhone, type Reason, type Status, type StatusEvent } from "./order.ts";
import { type OrderRow, type PastEvent, toEvent, toPastEvent, type WithEpoch } from "./row.ts";
import type { StoredPayment, Tables } from "./tables.ts";

/** One attempt, as the merchant's backend sees it. The phone is masked. */
export interface PaymentView extends StoredPayment {
  status: Status;
  reason?: Reason;
  phone?: string;
  reference?: string;
}

/** Everything about one order, read in one snapshot. */
export interface OrderView {
  order: StatusEvent;
  payments: PaymentView[];
  events: PastEvent[];
  description: string | null;
  customer: Record<string, unknown> | null;
  metadata: Record<string, unknown> | null;
}

export interface OrderFilter {
  status?: Status | undefined;
  provider?: string | undefined;
  /** Includes orders opened at this time or later. */
  from?: Date | undefined;
  /** Includes orders opened before this time. */
  to?: Date | undefined;
  /** Lists by change, oldest first, from 10 s before this time on. A later read may therefore repeat orders. */
  changedSince?: Date | undefined;
  /** The `nextCursor` of the previous page, read with the same filter. */
  cursor?: string | undefined;
  limit: number;
}

/** Every method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export interface OrderQuery {
  /** Returns the order's uuid, or undefined for an unknown order. */
  idOf(orderId: string): Promise<string | undefined>;
  /** Reads an order in one snapshot. Returns undefined for an unknown order. */
  find(orderId: string): Promise<OrderView | undefined>;
  /** Lists the newest orders first, or with `changedSince` by change. Throws `body_invalid` for a cursor that no list returned. */
  list(filter: OrderFilter): Promise<{ data: StatusEvent[]; nextCursor: string | null }>;
  /** Reads PostgreSQL's clock, which sets every stored time. */
  clock(): Promise<Date>;
}

export function createOrderQuery({ pool }: Database): OrderQuery {
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });

  const withHubErrors = async <T>(read: () => Promise<T>): Promise<T> => {
    try {
      return await read();
    } catch (error) {
      throw asHubError(error);
    }
  };

  return {
    idOf: (orderId) =>
      withHubErrors(async () => {
        if (!storable(orderId)) return undefined;
        const row = await db.selectFrom("order").select("id").where("order_id", "=", orderId).executeTakeFirst();
        return row?.id;
      }),

    find: (orderId) =>
      withHubErrors(async () => {
        if (!storable(orderId)) return undefined;
        const row = await selectOrder(db, orderId).executeTakeFirst();
        if (!row) return undefined;
        return {
          order: toEvent(row),
          payments: row.payments.map(toPaymentView),
          events: row.events.map((event) => toPastEvent(row, { ...event, occurred_at: new Date(event.occurred_at) })),
          description: row.description,
          customer: row.customer,
          metadata: row.metadata,
        };
      }),

    list: (filter) =>
      withHubErrors(async () => {
        const page = filter.changedSince ? listByChange(db, filter.changedSince, filter) : listNewest(db, filter);
        const { rows, until } = await page;
        const last = rows[filter.limit - 1];
        return {
          data: rows.slice(0, filter.limit).map(toEvent),
          nextCursor:
            rows.length > filter.limit && last
              ? writeCursor(filter.changedSince ? last.changed_at : last.opened_at, last.id, until)
              : null,
        };
      }),

    clock: () => withHubErrors(() => readClock(db)),
  };
}

/** The orders' columns and the database's epoch. */
const selectOrders = (db: Kysely<Tables>) =>
  db
    .selectFrom("order")
    .selectAll()
    .select((order) => order.selectFrom("timeline").select("epoch").$asScalar().$notNull().as("epoch"));

const selectOrder = (db: Kysely<Tables>, orderId: string) =>
  selectOrders(db)
    .select((order) => [
      jsonArrayFrom(
        order.selectFrom("payment").selectAll("payment").whereRef("order_uuid", "=", "order.id").orderBy("attempt"),
      ).as("payments"),
      jsonArrayFrom(
        order.selectFrom("event").selectAll("event").whereRef("order_uuid", "=", "order.id").orderBy("version"),
      ).as("events"),
    ])
    .where("order_id", "=", orderId);

async function readClock(db: Kysely<Tables>): Promise<Date> {
  const { rows } = await sql<{ at: Date }>`select clock_timestamp() as at`.execute(db);
  if (!rows[0]) throw new Error("the clock statement always returns one row");
  return rows[0].at;
}

type Page = { rows: (OrderRow & WithEpoch)[]; until?: Date };

async function listNewest(db: Kysely<Tables>, filter: OrderFilter): Promise<Page> {
  const from = filter.cursor === undefined ? undefined : readCursor(filter.cursor);
  const rows = await filtered(selectOrders(db), filter)
    .$if(from !== undefined, (query) => query.where(sql<boolean>`(opened_at, id) < (${from?.at}, ${from?.id}::uuid)`))
    .orderBy("opened_at", "desc")
    .orderBy("id", "desc")
    .limit(filter.limit + 1)
    .execute();
  return { rows };
}

/**
 * Lists orders by change, oldest first. A backend that passes its last known change as `since` sees the newest state of every
 * order at least once.
 *
 * A change becomes visible at its commit, up to 5 s after its time, because a statement runs for at most 5 s. A read therefore
 * starts 10 s before `since`. All its pages end at the time at which the first one was read. Without this end, the last change of a
 * slow reader could be more than 10 s after a change that committed behind its earlier pages.
 */
async function listByChange(db: Kysely<Tables>, since: Date, filter: OrderFilter): Promise<Page> {
  const from = filter.cursor === undefined ? undefined : readCursor(filter.cursor);
  const until = from?.until ?? (await readClock(db));
  const rows = await filtered(selectOrders(db), filter)
    .where("changed_at", ">=", new Date(since.getTime() - 10_000))
    .$if(from?.until !== undefined, (query) => query.where("changed_at", "<=", from?.until ?? since))
    .$if(from !== undefined, (query) => query.where(sql<boolean>`(changed_at, id) > (${from?.at}, ${from?.id}::uuid)`))
    .orderBy("changed_at")
    .orderBy("id")
    .limit(filter.limit + 1)
    .execute();
  return { rows, ...(until && { until }) };
}

const filtered = <O>(query: SelectQueryBuilder<Tables, "order", O>, { status, provider, from, to }: OrderFilter) =>
  query
    .$if(status !== undefined, (q) => q.where("status", "=", status ?? "pending"))
    .$if(provider !== undefined, (q) => q.where(sql<boolean>`payment ->> 'provider' = ${provider}`))
    .$if(from !== undefined, (q) => q.where("opened_at", ">=", from ?? new Date(0)))
    .$if(to !== undefined, (q) => q.where("opened_at", "<", to ?? new Date(0)));

const timeShape = z.coerce.date().refine(isStorable);
const cursorShape = z.tuple([timeShape, z.uuid(), timeShape.optional()]);

const writeCursor = (at: Date, id: string, until?: Date): string =>
  Buffer.from(JSON.stringify(until ? [at, id, until] : [at, id])).toString("base64url");

function readCursor(cursor: string): { at: Date; id: string; until?: Date } {
  try {
    const [at, id, until] = cursorShape.parse(JSON.parse(Buffer.from(cursor, "base64url").toString("utf8")));
    return { at, id, ...(until && { until }) };
  } catch (cause) {
    throw Object.assign(fieldError("body_invalid", "cursor", "is not a cursor that a list returned"), { cause });
  }
}

type PaymentRow = Awaited<ReturnType<ReturnType<typeof selectOrder>["executeTakeFirstOrThrow"]>>["payments"][number];

function toPaymentView(row: PaymentRow): PaymentView {
  return {
    id: row.id,
    provider: row.provider,
    attempt: row.attempt,
    live: row.live,
    status: row.status,
    ...(row.reason && { reason: row.reason }),
    ...(row.phone && { phone: maskPhone(row.phone) }),
    ...(row.reference && { reference: row.reference }),
    ...(row.receipt && { receipt: row.receipt }),
    ...(row.amount_paid_minor !== null && { amountPaidMinor: row.amount_paid_minor }),
    ...(row.action && row.status === "processing" && { action: row.action }),
    startedAt: new Date(row.started_at).toISOString(),
    expiresAt: new Date(row.expires_at).toISOString(),
  };
}
