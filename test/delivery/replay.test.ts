/** A replay by time among many orders, while orders change. */
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import type { Database } from "../../server/database/pool.ts";
import { claimDeliveries } from "../../server/delivery/claim.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { fanOut } from "../../server/delivery/fan-out.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { recordAttempt } from "../../server/delivery/record.ts";
import { type Replay, replay } from "../../server/delivery/replay.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { databaseNow, untilLater } from "../support/database-clock.ts";
import { testSecret } from "../support/node.ts";
import { openExplained } from "../support/statement-plan.ts";
import { draftOf, paid } from "../support/store.ts";

const file = useDatabase();

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

const query = async (text: string, values: unknown[] = []) => (await file.database.pool.query(text, values)).rows;

/** An endpoint that no engine serves. Deleted when the test is over. */
async function addEndpoint(): Promise<string> {
  const endpoints = createEndpoints({
    pool: file.database.pool,
    sealer: createSealer([testSecret]),
    onUnreadable: () => undefined,
  });
  const { endpoint } = await endpoints.create({ url: "https://shop.example.com/", events: ["order.succeeded"] });
  onTestFinished(() => endpoints.remove(endpoint.id));
  return endpoint.id;
}

/** Opens and pays orders, and returns their ids. */
async function makePaid(count: number): Promise<{ id: string; orderId: string; paymentId: string }[]> {
  const orders = [];
  for (let n = 0; n < count; n += 1) {
    const { event, payment } = await store().open(draftOf());
    const paymentId = payment?.id ?? "";
    await store().advance(paymentId, paid());
    orders.push({ id: event.id, orderId: event.orderId, paymentId });
  }
  return orders;
}

/** Copies an order `count` times, each with its events in a transaction of its own, as nodes write them. */
const copy = (id: string, count: number) =>
  query(
    `do $$ begin
      for n in 1..${count} loop
        with made as (
          insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
          select gen_random_uuid(), order_id || '-' || n, amount_minor, currency, version, status, attempt, payment, opened_at, clock_timestamp()
          from "order" where id = '${id}' returning id, changed_at
        )
        insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
        select made.id, version, status, payment, also_paid, made.changed_at from made, event where order_uuid = '${id}';
        commit;
      end loop;
    end $$`,
  );

const now = (): Promise<Date> => databaseNow(file.database.pool);

const queuedAt = async (endpointId: string): Promise<string[]> =>
  (await query("select subject_id from delivery where endpoint_id = $1 and is_replay", [endpointId])).map(
    ({ subject_id }) => subject_id,
  );

/** The pool, with a hook that runs after each statement. */
function afterStatement(hook: (name: string) => Promise<void>): Database["pool"] {
  const { pool } = file.database;
  const watched = async (statement: { name: string }) => {
    const result = await pool.query(statement as never);
    await hook(statement.name);
    return result;
  };
  return { query: watched } as unknown as Database["pool"];
}

describe("replay", () => {
  it("reads each event of its period once, whatever their number", async () => {
    // The oldest event has a transaction, so that no order is older than the column.
    const [oldest] = await makePaid(1);
    await query("update event set occurred_at = now() - interval '1 hour' where order_uuid = $1", [oldest?.id]);
    const since = await now();
    const [order] = await makePaid(1);
    await copy(order?.id ?? "", 4_000);
    const endpointId = await addEndpoint();
    await query("analyze");
    const explained = await openExplained(file.url);
    onTestFinished(explained.database.close);
    expect(await replay(explained.database.pool, endpointId, { since })).toBe(4_001);
    expect(await queuedAt(endpointId)).toHaveLength(4_001);
    // A statement that reads the period again for each page reads its 8,002 events, and some rows for each of 500 orders.
    expect(explained.plans.filter(({ read }) => read > 8_000)).toEqual([]);
    expect(explained.plans.length).toBeLessThan(80);
    expect(explained.plans.filter(({ name }) => name === "replay-old-orders")).toEqual([]);
  });

  it("counts an order once, and loses none, although orders change while it runs", async () => {
    const since = await now();
    const orders = await makePaid(20);
    await copy(orders[0]?.id ?? "", 1_000);
    const late = await makePaid(20);
    const until = await now();
    for (const bounds of [{ since }, { since, until }] satisfies Replay[]) {
      const endpointId = await addEndpoint();
      let changed = 0;
      const pool = afterStatement(async (name) => {
        if (!name.startsWith("replay")) return;
        // A receipt is the next version: the order's last event leaves the period.
        for (const { paymentId } of [orders, late].map((some) => some[changed]).filter((one) => one !== undefined)) {
          await store().advance(paymentId, paid({ receipt: `R-${paymentId}-${endpointId}` }));
        }
        changed += 1;
      });
      expect(await replay(pool, endpointId, bounds)).toBe(1_040);
      expect(new Set(await queuedAt(endpointId)).size).toBe(1_040);
      expect(changed).toBeGreaterThan(1);
    }
  });

  it("loses no version that becomes due while it waits, also if another replay's attempt ends then", async () => {
    const { pool } = file.database;
    const since = await now();
    const [first, second] = await makePaid(2);
    const endpointId = await addEndpoint();
    await replay(pool, endpointId, { since });
    const claimed = await claimDeliveries(pool, new Map());
    const [prepared] = await prepareMessages(
      pool,
      claimed.filter(({ subjectId }) => subjectId === second?.id),
    );
    if (!prepared?.message) throw new Error("nothing to send");
    const holder = await pool.connect();
    await holder.query("begin");
    await holder.query("select from delivery where subject_id = $1 for update", [first?.id]);
    const asked = replay(pool, endpointId, { since });
    const isWaiting = "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await vi.waitUntil(async () => (await query(isWaiting)).length > 0);
    await query("update endpoint set events = null where id = $1", [endpointId]);
    await store().advance(second?.paymentId ?? "", paid({ receipt: `R-${second?.id}` }));
    await fanOut(pool);
    await holder.query("commit");
    holder.release();
    expect(await asked).toBe(2);
    const reply = { isDelivered: true, isGone: false, durationMs: 1, status: 200 };
    const { message } = prepared;
    await recordAttempt(pool, { claimed: prepared.claimed, message, reply, delayMs: undefined });
    const again = await prepareMessages(pool, await claimDeliveries(pool, new Map()));
    expect(again.map(({ claimed: { subjectId }, message }) => [subjectId, message?.version])).toEqual([
      [second?.id, 3],
    ]);
  });

  it("finds by the period the orders that changed in it, also if they changed later", async () => {
    const [before] = await makePaid(1);
    await untilLater(file.database.pool);
    const since = await now();
    const [within] = await makePaid(1);
    const until = await now();
    await untilLater(file.database.pool);
    const [after] = await makePaid(1);
    await store().advance(within?.paymentId ?? "", paid({ receipt: `R-${within?.id}` }));
    await store().advance(before?.paymentId ?? "", paid({ receipt: `R-${before?.id}` }));
    const endpointId = await addEndpoint();
    expect(await replay(file.database.pool, endpointId, { since, until })).toBe(1);
    expect(await queuedAt(endpointId)).toEqual([within?.id]);
    const counts = [];
    for (const order of [before, within, after]) {
      counts.push(await replay(file.database.pool, endpointId, { since, until, orderId: order?.orderId ?? "" }));
    }
    expect(counts).toEqual([0, 1, 0]);
    expect(await replay(file.database.pool, endpointId, { since })).toBe(3);
  });

  it("finds orders whose events are older than the transaction's column", async () => {
    const since = await now();
    const [old, changed] = await makePaid(2);
    await query("update event set xid = null");
    const [recent] = await makePaid(1);
    await store().advance(changed?.paymentId ?? "", paid({ receipt: `R-${changed?.id}` }));
    const endpointId = await addEndpoint();
    expect(await replay(file.database.pool, endpointId, { since })).toBe(3);
    expect(new Set(await queuedAt(endpointId))).toEqual(new Set([old?.id, changed?.id, recent?.id]));
  });
});
