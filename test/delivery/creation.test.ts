/** Orders that are paid while an endpoint is created, and what the filter of an endpoint makes due. */
import type pg from "pg";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { claimDeliveries } from "../../server/delivery/claim.ts";
import { createEndpoints } from "../../server/delivery/endpoint.ts";
import { storeEnvironmentEndpoint } from "../../server/delivery/environment.ts";
import { fanOut } from "../../server/delivery/fan-out.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { untilLater } from "../support/database-clock.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, paid } from "../support/store.ts";

const file = useDatabase();

beforeEach(async () => {
  await file.database.pool.query("update endpoint set is_deleted = true, enabled = false");
  await fanOutAll();
});

const sealer = createSealer([testSecret]);

const endpointsOf = (pool: pg.Pool) => createEndpoints({ pool, sealer, onUnreadable: () => undefined });

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and returns its id and a way to pay it. */
async function openOrder() {
  const { event, payment } = await store().open(draftOf());
  return { id: event.id, pay: () => store().advance(payment?.id ?? "", paid()) };
}

async function fanOutAll(): Promise<void> {
  while ((await fanOut(file.database.pool)).isUnfinished);
}

/** Begins a transaction. Its connection stands for a pool. */
async function begin() {
  const client = await file.database.pool.connect();
  await client.query("begin");
  return {
    pool: client as unknown as pg.Pool,
    async commit() {
      await client.query("commit");
      client.release();
    },
  };
}

/** The messages that are due at an endpoint: the order and the type. */
async function dueAt(endpointId: string): Promise<[string, string | undefined][]> {
  const claimed = (await claimDeliveries(file.database.pool, new Map())).filter((one) => one.endpointId === endpointId);
  return (await prepareMessages(file.database.pool, claimed)).map((one) => [one.claimed.subjectId, one.message?.type]);
}

describe("a new endpoint", () => {
  it("receives an order that is paid after it was created and before its transaction ends", async () => {
    await endpointsOf(file.database.pool).create({ url: "https://shop.example.com/" });
    const [before, after] = [await openOrder(), await openOrder()];
    await before.pay();
    const transaction = await begin();
    const { endpoint } = await endpointsOf(transaction.pool).create({ url: "https://shop.example.com/" });
    await after.pay();
    // Passes the payment, and does not see the endpoint.
    await fanOutAll();
    await transaction.commit();
    await fanOutAll();
    expect(await dueAt(endpoint.id)).toEqual([[after.id, "order.succeeded"]]);
  });

  it("receives it also if it is the endpoint of the environment", async () => {
    const transaction = await begin();
    const url = "https://shop.example.com/";
    await storeEnvironmentEndpoint(transaction.pool, sealer, { url, secret: "whsec_" });
    const order = await openOrder();
    await order.pay();
    await fanOutAll();
    await transaction.commit();
    await fanOutAll();
    const { rows } = await file.database.pool.query("select id from endpoint where not is_deleted");
    expect(await dueAt(rows[0].id)).toEqual([[order.id, "order.succeeded"]]);
  });

  it("receives an order whose transaction began before it was created and ended after it", async () => {
    const [order, other] = [await openOrder(), await openOrder()];
    const payment = await begin();
    await payment.pool.query(
      `with paid as (update "order" set status = 'succeeded', version = 2, changed_at = now() where id = $1 returning id, payment, changed_at)
       insert into event (order_uuid, version, status, payment, also_paid, occurred_at)
       select id, 2, 'succeeded', payment, '{}', changed_at from paid`,
      [order.id],
    );
    const { endpoint } = await endpointsOf(file.database.pool).create({ url: "https://shop.example.com/" });
    await other.pay();
    await fanOutAll();
    await payment.commit();
    await fanOutAll();
    expect(new Map(await dueAt(endpoint.id))).toEqual(
      new Map([
        [order.id, "order.succeeded"],
        [other.id, "order.succeeded"],
      ]),
    );
  });

  it("receives what happens after its creation although the clock steps back", async () => {
    const [before, after] = [await openOrder(), await openOrder()];
    await before.pay();
    const { endpoint } = await endpointsOf(file.database.pool).create({ url: "https://shop.example.com/" });
    // As if the clock had stepped back by an hour since.
    await file.database.pool.query("update endpoint set created_at = created_at + interval '1 hour' where id = $1", [
      endpoint.id,
    ]);
    await after.pay();
    await fanOutAll();
    expect(await dueAt(endpoint.id)).toEqual([[after.id, "order.succeeded"]]);
  });

  it("is compared with the time of an order in another epoch, whose transactions have other numbers", async () => {
    const before = await openOrder();
    await before.pay();
    await untilLater(file.database.pool);
    const { endpoint } = await endpointsOf(file.database.pool).create({ url: "https://shop.example.com/" });
    // As if the database had been restored on a server that has run fewer transactions.
    await file.database.pool.query("update endpoint set created_snapshot = '900000000:900000000:' where id = $1", [
      endpoint.id,
    ]);
    await file.database.pool.query("select start_epoch()");
    const after = await openOrder();
    await after.pay();
    await fanOutAll();
    expect(await dueAt(endpoint.id)).toEqual([[after.id, "order.succeeded"]]);
  });

  it("receives it also if another node has stalled between its snapshot and the lock of the fan-out", async () => {
    const { pool } = file.database;
    const stall = 7_458_999;
    const order = await openOrder();
    await endpointsOf(pool).create({ url: "https://shop.example.com/" });
    await fanOutAll();
    const transaction = await begin();
    const { endpoint } = await endpointsOf(transaction.pool).create({ url: "https://shop.example.com/" });
    const created = "select pg_snapshot_xmin(created_snapshot)::text as first from endpoint where id = $1";
    const [{ first }] = (await transaction.pool.query(created, [endpoint.id])).rows;
    // As if the last read had ended there, so that the fan-out goes back to the place that the stalled node has read.
    const place = `${first}:${first}:`;
    await pool.query("update fan_out set seen = $1::pg_snapshot", [place]);
    await order.pay();
    // Waits before it takes the lock, in the session that asks for it.
    await pool.query(
      `create function pg_try_advisory_xact_lock(int) returns boolean language plpgsql as $$ begin
         if current_setting('test.stalls', true) = 'yes' then perform pg_advisory_xact_lock_shared(${stall}); end if;
         return pg_catalog.pg_try_advisory_xact_lock($1::bigint);
       end $$`,
    );
    onTestFinished(async () => void (await pool.query("drop function public.pg_try_advisory_xact_lock(int)")));
    const [holder, stalled] = [await begin(), await begin()];
    await holder.pool.query("select pg_advisory_xact_lock($1)", [stall]);
    await stalled.pool.query("set local test.stalls = 'yes'");
    const pass = fanOut(stalled.pool);
    const isStalled = "select from pg_stat_activity where datname = current_database() and wait_event = 'advisory'";
    await vi.waitUntil(async () => (await pool.query(isStalled)).rows.length > 0);
    await fanOut(pool);
    await transaction.commit();
    await fanOut(pool);
    expect((await pool.query("select seen::text from fan_out")).rows).toEqual([{ seen: place }]);
    await holder.commit();
    await pass;
    await stalled.commit();
    await fanOutAll();
    expect(await dueAt(endpoint.id)).toEqual([[order.id, "order.succeeded"]]);
  });
});
