/** Reads orders for the merchant's backend: one order with its history, lists, and changed orders. No webhook waits for it. */
import { Kysely, PostgresDialect } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { asHubError, type Database } from "../database/pool.ts";
import { storable } from "../validation.ts";
import { listOrders, type OrderFilter, type OrderPage, readClock } from "./list.ts";
import { type Item, type Language, maskPhone, type Reason, type Status, type StatusEvent } from "./order.ts";
import { type PastEvent, toEvent, toPastEvent } from "./row.ts";
import type { StoredPayment, Tables } from "./tables.ts";

export type { OrderFilter };

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
  /** Its phone is masked. */
  customer: Record<string, unknown> | null;
  metadata: Record<string, unknown> | null;
  items: Item[] | null;
  lang: Language | null;
}

/** The order of a payment. */
export type OrderOfPayment = Pick<OrderView, "order" | "description" | "metadata" | "lang">;

/** Every method throws `store_unavailable` when PostgreSQL cannot be reached or is too busy. */
export interface OrderQuery {
  /** Returns the order's uuid, or undefined for an unknown order. */
  idOf(orderId: string): Promise<string | undefined>;
  /** Reads an order in one snapshot. Returns undefined for an unknown order. */
  find(orderId: string): Promise<OrderView | undefined>;
  /** Reads the order of a payment. Returns undefined for an unknown payment. */
  findByPayment(paymentId: string): Promise<OrderOfPayment | undefined>;
  /**
   * Lists the newest orders first, or with `changedSince` by change. A page may have fewer orders than its limit, or none, and still a
   * `nextCursor`, because it reads at most 1,000 orders. Throws `body_invalid` for a cursor that no list returned.
   */
  list(filter: OrderFilter): Promise<OrderPage>;
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
          ...merchantFields(row),
        };
      }),

    findByPayment: (paymentId) =>
      withHubErrors(async () => {
        const row = await selectState(db)
          .where("id", "=", (order) => order.selectFrom("payment").select("order_uuid").where("id", "=", paymentId))
          .executeTakeFirst();
        return row && { order: toEvent(row), description: row.description, metadata: row.metadata, lang: row.lang };
      }),

    list: (filter) => withHubErrors(() => listOrders(db, filter)),

    clock: () => withHubErrors(() => readClock(db)),
  };
}

const selectState = (db: Kysely<Tables>) =>
  db
    .selectFrom("order")
    .selectAll()
    .select((order) => order.selectFrom("timeline").select("epoch").$asScalar().$notNull().as("epoch"));

const selectOrder = (db: Kysely<Tables>, orderId: string) =>
  selectState(db)
    .select((order) => [
      jsonArrayFrom(
        order.selectFrom("payment").selectAll("payment").whereRef("order_uuid", "=", "order.id").orderBy("attempt"),
      ).as("payments"),
      jsonArrayFrom(
        order.selectFrom("event").selectAll("event").whereRef("order_uuid", "=", "order.id").orderBy("version"),
      ).as("events"),
    ])
    .where("order_id", "=", orderId);

type MerchantFields = Pick<OrderView, "description" | "customer" | "metadata" | "items" | "lang">;

/** What only the merchant sees of an order. The customer's phone is masked. */
export const merchantFields = ({ description, customer, metadata, items, lang }: MerchantFields): MerchantFields => ({
  description,
  customer: customer && withMaskedPhone(customer),
  metadata,
  items: items?.length ? items : null,
  lang,
});

export const withMaskedPhone = (customer: Record<string, unknown>): Record<string, unknown> =>
  typeof customer.phone === "string" ? { ...customer, phone: maskPhone(customer.phone) } : customer;

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
