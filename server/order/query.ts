/** Reads orders for the merchant's backend: one order with its history, lists of orders and payments. No webhook waits for it. */
import { Kysely, PostgresDialect } from "kysely";
import { jsonArrayFrom } from "kysely/helpers/postgres";
import { asHubError, type Database } from "../database/pool.ts";
import { storable } from "../validation.ts";
import { type DetailedPage, listDetailed, listOrders, type OrderFilter, type OrderPage, readClock } from "./list.ts";
import { type Item, type Language, maskPhone, type StatusEvent } from "./order.ts";
import { listPayments, type PaymentFilter, type PaymentPage } from "./payment-list.ts";
import { type PaymentView, toPaymentView } from "./payment-view.ts";
import { type PastEvent, toEvent, toPastEvent } from "./row.ts";
import { type Grouping, type Period, summarize, type Total } from "./summary.ts";
import type { Tables } from "./tables.ts";

export type { OrderFilter, PaymentFilter, PaymentView };

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
  /** Lists the same orders with more of each. Customers' phones are masked. */
  listDetailed(filter: OrderFilter): Promise<DetailedPage>;
  /** Lists payments, the newest first. Its pages are like those of `list`. */
  listPayments(filter: PaymentFilter): Promise<PaymentPage>;
  /** Adds up the money that moved in each period, by one more property. */
  summarize(by: Grouping, periods: readonly Period[]): Promise<Total[]>;
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

    listDetailed: (filter) =>
      withHubErrors(async () => {
        const { data, nextCursor } = await listDetailed(db, filter);
        const masked = data.map((one) => ({ ...one, customer: one.customer && withMaskedPhone(one.customer) }));
        return { data: masked, nextCursor };
      }),

    listPayments: (filter) => withHubErrors(() => listPayments(db, filter)),

    summarize: (by, periods) => summarize(pool, by, periods),

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
