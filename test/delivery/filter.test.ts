/** What becomes due, and what does not, when the filter of an endpoint changes. */
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Claimed, claimDeliveries } from "../../server/delivery/claim.ts";
import { createEndpoints, type Endpoints } from "../../server/delivery/endpoint.ts";
import { fanOut } from "../../server/delivery/fan-out.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { recordAttempt } from "../../server/delivery/record.ts";
import { replay } from "../../server/delivery/replay.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, failed, paid } from "../support/store.ts";

const file = useDatabase();
let endpoints: Endpoints;

beforeAll(async () => {
  endpoints = createEndpoints({
    pool: file.database.pool,
    sealer: createSealer([testSecret]),
    onUnreadable: () => undefined,
  });
});

beforeEach(async () => {
  await file.database.pool.query("update endpoint set is_deleted = true, enabled = false");
});

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and returns its id and a way to change it. */
async function openOrder() {
  const { event, payment } = await store().open(draftOf());
  const paymentId = payment?.id ?? "";
  return {
    id: event.id,
    orderId: event.orderId,
    fail: () => store().advance(paymentId, failed()),
    pay: () => store().advance(paymentId, paid()),
  };
}

const create = async (events: string[]): Promise<string> =>
  (await endpoints.create({ url: "https://shop.example.com/", events })).endpoint.id;

async function fanOutAll(): Promise<void> {
  while ((await fanOut(file.database.pool)).isUnfinished);
}

/** Sends what is due, with success. Returns the orders and the types. */
async function sendDue(endpointId: string): Promise<[string, string | undefined][]> {
  await fanOutAll();
  const claimed: Claimed[] = await claimDeliveries(file.database.pool, new Map());
  const prepared = await prepareMessages(
    file.database.pool,
    claimed.filter((one) => one.endpointId === endpointId),
  );
  for (const one of prepared) {
    const reply = { isDelivered: true, isGone: false, durationMs: 1, status: 200 };
    if (one.message)
      await recordAttempt(file.database.pool, {
        claimed: one.claimed,
        message: one.message,
        reply,
        delayMs: undefined,
      });
  }
  return prepared.map((one) => [one.claimed.subjectId, one.message?.type]);
}

describe("a wider filter", () => {
  it("counts for changes from then on; a replay sends earlier ones", async () => {
    const endpointId = await create(["order.succeeded"]);
    const [early, late] = [await openOrder(), await openOrder()];
    await early.fail();
    expect(await sendDue(endpointId)).toEqual([]);
    await endpoints.change(endpointId, { events: ["order.succeeded", "order.failed"] });
    expect(await sendDue(endpointId)).toEqual([]);
    await late.fail();
    expect(await sendDue(endpointId)).toEqual([[late.id, "order.failed"]]);
    expect(await replay(file.database.pool, endpointId, { orderId: early.orderId })).toBe(1);
    expect(await sendDue(endpointId)).toEqual([[early.id, "order.failed"]]);
    await early.pay();
    expect(await sendDue(endpointId)).toEqual([[early.id, "order.succeeded"]]);
  });

  it("makes nothing earlier due after a new epoch either", async () => {
    const endpointId = await create(["order.succeeded"]);
    const [failing, paying, late] = [await openOrder(), await openOrder(), await openOrder()];
    await failing.fail();
    await paying.pay();
    expect(await sendDue(endpointId)).toEqual([[paying.id, "order.succeeded"]]);
    await endpoints.change(endpointId, { events: ["order.succeeded", "order.failed"] });
    await late.fail();
    await file.database.pool.query("select start_epoch()");
    // What was acknowledged a moment ago is sent again, because the database may have lost it.
    expect(new Map(await sendDue(endpointId))).toEqual(
      new Map([
        [paying.id, "order.succeeded"],
        [late.id, "order.failed"],
      ]),
    );
  });
});

describe("a filter that was widened before a new epoch", () => {
  it.each(["0 days", "2 days"])(
    "sends no change from before, also of an order of %s ago that was acknowledged",
    async (age) => {
      const endpointId = await create(["order.failed"]);
      const order = await openOrder();
      await order.fail();
      expect(await sendDue(endpointId)).toEqual([[order.id, "order.failed"]]);
      await order.pay();
      expect(await sendDue(endpointId)).toEqual([]);
      await endpoints.change(endpointId, { events: ["order.failed", "order.succeeded"] });
      const { pool } = file.database;
      await pool.query("update endpoint set created_at = created_at - interval '3 days' where id = $1", [endpointId]);
      await pool.query(`update "order" set changed_at = changed_at - $2::interval where id = $1`, [order.id, age]);
      await pool.query("select start_epoch()");
      expect(await sendDue(endpointId)).toEqual([]);
    },
  );
});

describe("a narrower filter", () => {
  it("also counts for what is due", async () => {
    const endpointId = await create(["order.succeeded", "order.failed"]);
    const [failing, paying] = [await openOrder(), await openOrder()];
    await failing.fail();
    await paying.pay();
    await fanOutAll();
    await endpoints.change(endpointId, { events: ["order.succeeded"] });
    expect(new Map(await sendDue(endpointId))).toEqual(
      new Map([
        [failing.id, undefined],
        [paying.id, "order.succeeded"],
      ]),
    );
  });
});
