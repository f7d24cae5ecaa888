/** An order store on a separate database that records every announced event. */
import { onTestFinished } from "vitest";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import type { PaymentDraft } from "../../server/order/draft.ts";
import type { Outcome, StatusEvent } from "../../server/order/order.ts";
import { createOrderQuery, type OrderQuery, type OrderView } from "../../server/order/query.ts";
import { type Allowance, scheduleOf } from "../../server/order/schedule.ts";
import { createOrderStore, type Opened, type OrderStore } from "../../server/order/store.ts";
import { createInbox, type Inbox } from "../../server/webhook/inbox.ts";
import { createDatabase } from "./database.ts";

export interface TestStore {
  store: OrderStore;
  query: OrderQuery;
  inbox: Inbox;
  database: Database;
  announced: StatusEvent[];
  /** Opens an order with defaults. Throws when the store opens no payment. */
  open(draft?: Partial<PaymentDraft>): Promise<Required<Opened>>;
  view(orderId: string): Promise<OrderView>;
}

/** The number of due payments of one provider that a node may claim, with the live schedule. */
export const allowanceOf = (allowance: Partial<Allowance> = {}): Allowance => ({
  provider: "daraja",
  free: 100,
  ...scheduleOf({}, false),
  ...allowance,
});

let orders = 0;

/** Returns an order id that no other test uses. */
export function nextOrderId(): string {
  orders += 1;
  return `ORD-${process.pid}-${orders}`;
}

export function draftOf(draft: Partial<PaymentDraft> = {}): PaymentDraft {
  return {
    firstCheckS: draft.live ? 10 : 2,
    orderId: nextOrderId(),
    provider: "daraja",
    live: false,
    amountMinor: 15_000n,
    currency: "KES",
    phone: "+254712345678",
    deadlineS: 120,
    ...draft,
  };
}

/** The outcome of a webhook that reports a success with the agreed amount. */
export const paid = (outcome: Partial<Outcome> = {}): Outcome => ({
  status: "succeeded",
  amountMinor: 15_000n,
  currency: "KES",
  source: "webhook",
  ...outcome,
});

export const failed = (outcome: Partial<Outcome> = {}): Outcome => ({
  status: "failed",
  reason: "cancelled",
  source: "webhook",
  ...outcome,
});

/** Opens the store of one test file. Call it in `beforeAll`, close it in `afterAll`. */
export async function openTestStore(): Promise<TestStore & { close(): Promise<void> }> {
  const { url, drop } = await createDatabase();
  const database = openDatabase(url, () => undefined);
  const announced: StatusEvent[] = [];
  const store = createOrderStore({
    database,
    announce: (event) => announced.push(event),
    amountlessProviders: ["daraja"],
  });
  const query = createOrderQuery(database);
  return {
    store,
    query,
    inbox: createInbox(database),
    database,
    announced,
    async open(draft) {
      const { event, payment } = await store.open(draftOf(draft));
      if (!payment) throw new Error("nothing was opened");
      return { event, payment };
    },
    async view(orderId) {
      const view = await query.find(orderId);
      if (!view) throw new Error(`no order ${orderId}`);
      return view;
    },
    async close() {
      await database.close();
      await drop();
    },
  };
}

/** A lock held by another session, so that a test can line up statements that race for it. */
export interface HeldLock {
  /** Waits until `count` statements wait for a lock. */
  waiters(count: number): Promise<void>;
  release(): Promise<void>;
}

/** Locks an order's row until `release`. */
export const lockOrder = (database: Database, orderId: string): Promise<HeldLock> =>
  hold(database, 'select from "order" where order_id = $1 for update', [orderId]);

/** Blocks every write to the table of events until `release`. */
export const lockEvents = (database: Database): Promise<HeldLock> =>
  hold(database, "lock table event in exclusive mode", []);

async function hold(database: Database, statement: string, values: unknown[]): Promise<HeldLock> {
  const client = await database.pool.connect();
  onTestFinished(() => client.release());
  await client.query("begin");
  await client.query(statement, values);
  return {
    async waiters(count) {
      for (;;) {
        const { rows } = await client.query<{ waiting: number }>(
          "select count(*)::int as waiting from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        );
        if ((rows[0]?.waiting ?? 0) >= count) return;
        // A transaction reads a snapshot of the server's statistics; discard it before the next read.
        await client.query("select pg_stat_clear_snapshot()");
      }
    },
    async release() {
      await client.query("commit");
    },
  };
}
