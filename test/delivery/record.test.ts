/** What the results of attempts change, without an engine. */
import { beforeAll, describe, expect, it } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Claimed, claimDeliveries } from "../../server/delivery/claim.ts";
import { disableFailing, disableGone } from "../../server/delivery/disable.ts";
import { createEndpoints, type Endpoints } from "../../server/delivery/endpoint.ts";
import { fanOut } from "../../server/delivery/fan-out.ts";
import { prepareMessages } from "../../server/delivery/message.ts";
import { clearDelivery, recordAttempt } from "../../server/delivery/record.ts";
import { replay } from "../../server/delivery/replay.ts";
import { resumeDeliveries } from "../../server/delivery/resume.ts";
import { attemptsMax, delayMsAfter } from "../../server/delivery/schedule.ts";
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

const query = async (text: string, values: unknown[] = []) => (await file.database.pool.query(text, values)).rows;

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and returns its id and ways to change it. */
async function openOrder() {
  const { event, payment } = await store().open(draftOf());
  const paymentId = payment?.id ?? "";
  return {
    id: event.id,
    orderId: event.orderId,
    fail: () => store().advance(paymentId, failed()),
    tryAgain: () => store().open(draftOf({ orderId: event.orderId })),
    pay: () => store().advance(paymentId, paid()),
    addReceipt: () => store().advance(paymentId, paid({ receipt: `R-${event.id}` })),
  };
}

/** The only endpoint that there is. */
async function createOnly(events?: string[]): Promise<string> {
  await query("update endpoint set is_deleted = true, enabled = false");
  return (await endpoints.create({ url: "https://shop.example.com/", events })).endpoint.id;
}

async function fanOutAll(): Promise<void> {
  while ((await fanOut(file.database.pool)).isUnfinished);
}

const claim = (): Promise<Claimed[]> => claimDeliveries(file.database.pool, new Map());

/** Sends the newest state for each claim, with this answer. Returns what changed about the endpoint each time. */
async function send(claimed: readonly Claimed[], status: number) {
  const changes = [];
  for (const { claimed: one, message } of await prepareMessages(file.database.pool, claimed)) {
    if (!message) throw new Error("nothing to send");
    const reply = { isDelivered: status === 200, isGone: false, durationMs: 1, status };
    const delayMs = delayMsAfter(one.attempts + 1);
    changes.push(await recordAttempt(file.database.pool, { claimed: one, message, reply, delayMs }));
  }
  return changes;
}

describe("an endpoint that fails half of the attempts", () => {
  /** An endpoint with 20 claimed deliveries. */
  async function begin() {
    const endpointId = await createOnly();
    for (let n = 0; n < 20; n += 1) await (await openOrder()).pay();
    await fanOutAll();
    return { endpointId, claimed: await claim() };
  }

  const row = async (endpointId: string) =>
    (await query("select xmin::text, failing_since, recovered_at from endpoint where id = $1", [endpointId]))[0];

  it("begins to fail once in a minute, and changes its row no more in between", async () => {
    const { endpointId, claimed } = await begin();
    const [first, second, ...others] = claimed;
    expect(await send([first as Claimed], 500)).toEqual(["failing"]);
    expect(await send([second as Claimed], 200)).toEqual(["recovered"]);
    const before = await row(endpointId);
    for (const [nth, one] of others.entries()) expect(await send([one], nth % 2 ? 200 : 500)).toEqual([undefined]);
    expect(await row(endpointId)).toEqual(before);
    expect(before.failing_since).toBeNull();
  });

  it("begins to fail again a minute after it recovered", async () => {
    const { endpointId, claimed } = await begin();
    expect(await send(claimed.slice(0, 1), 500)).toEqual(["failing"]);
    expect(await send(claimed.slice(1, 2), 200)).toEqual(["recovered"]);
    await query("update endpoint set recovered_at = recovered_at - interval '1 minute' where id = $1", [endpointId]);
    expect(await send(claimed.slice(2, 4), 500)).toEqual(["failing", undefined]);
    expect(await send(claimed.slice(4, 6), 200)).toEqual(["recovered", undefined]);
  });
});

describe("the history of a delivery", () => {
  /** The versions of an order with what became of them, oldest first. */
  const history = async (id: string) =>
    (await query("select version, result from delivery_attempt where subject_id = $1 order by id", [id])).map(
      ({ version, result }) => [version, result],
    );

  it("has a version as superseded that an attempt replaced before the fan-out read the newer one", async () => {
    await createOnly();
    const order = await openOrder();
    await order.pay();
    await fanOutAll();
    const claimed = await claim();
    await order.addReceipt();
    await send(claimed, 200);
    await fanOutAll();
    expect(await claim()).toEqual([]);
    expect(new Set(await history(order.id))).toEqual(
      new Set([
        [2, "superseded"],
        [3, "delivered"],
      ]),
    );
    expect(await history(order.id)).toHaveLength(2);
  });

  it("has it once, also if the fan-out reads the newer version during the attempt, or the attempt fails", async () => {
    await createOnly();
    const [during, after] = [await openOrder(), await openOrder()];
    for (const order of [during, after]) await order.pay();
    await fanOutAll();
    const claimed = await claim();
    for (const order of [during, after]) await order.addReceipt();
    const prepared = await prepareMessages(file.database.pool, claimed);
    await send(
      claimed.filter(({ subjectId }) => subjectId === after.id),
      500,
    );
    await fanOutAll();
    for (const { claimed: one, message } of prepared.filter((each) => each.claimed.subjectId === during.id)) {
      if (!message) throw new Error("nothing to send");
      const reply = { isDelivered: true, isGone: false, durationMs: 1, status: 200 };
      await recordAttempt(file.database.pool, { claimed: one, message, reply, delayMs: undefined });
    }
    await send(await claim(), 200);
    expect(await history(during.id)).toEqual([
      [2, "superseded"],
      [3, "delivered"],
    ]);
    expect(await history(after.id)).toEqual([
      [3, "failed"],
      [2, "superseded"],
      [3, "delivered"],
    ]);
  });

  it("has a version as superseded that was due, and whose successor the endpoint does not want", async () => {
    await createOnly(["order.failed"]);
    const order = await openOrder();
    await order.fail();
    await fanOutAll();
    await order.tryAgain();
    await fanOutAll();
    const [prepared] = await prepareMessages(file.database.pool, await claim());
    if (!prepared || prepared.message) throw new Error("the endpoint does not want the newest state");
    await clearDelivery(file.database.pool, prepared.claimed, prepared.known);
    expect(await history(order.id)).toEqual([[2, "superseded"]]);
    expect(await claim()).toEqual([]);
  });
});

describe("an attempt in flight", () => {
  const dueRow = async (subjectId: string) =>
    (
      await query(
        "select attempts, attempt_at <= clock_timestamp() as is_due, is_replay, claim from delivery where subject_id = $1",
        [subjectId],
      )
    )[0];

  /** An endpoint and an order whose last attempt is in flight. */
  async function beginLast() {
    const endpointId = await createOnly();
    const order = await openOrder();
    await order.pay();
    await fanOutAll();
    await query("update delivery set attempts = $1 where endpoint_id = $2", [attemptsMax - 1, endpointId]);
    return { endpointId, order, claimed: await claim() };
  }

  it("is followed by a new schedule if the endpoint was enabled meanwhile", async () => {
    const { endpointId, order, claimed } = await beginLast();
    await endpoints.change(endpointId, { enabled: true });
    while (await resumeDeliveries(file.database.pool));
    expect(await claim()).toEqual([]);
    await send(claimed, 500);
    expect(await dueRow(order.id)).toMatchObject({ attempts: 0, is_due: true });
    expect(await send(await claim(), 200)).toHaveLength(1);
    expect(await claim()).toEqual([]);
  });

  it("is followed by a new schedule if a replay was asked for meanwhile", async () => {
    const { endpointId, order, claimed } = await beginLast();
    expect(await replay(file.database.pool, endpointId, { orderId: order.orderId })).toBe(1);
    expect(await claim()).toEqual([]);
    await send(claimed, 500);
    expect(await dueRow(order.id)).toMatchObject({ attempts: 0, is_due: true, is_replay: true });
    await send(await claim(), 200);
    expect(await claim()).toEqual([]);
  });

  it.each([200, 500])(
    "of a replay is followed by another one that was asked for meanwhile, after %i",
    async (status) => {
      const endpointId = await createOnly();
      const order = await openOrder();
      await order.pay();
      await fanOutAll();
      await send(await claim(), 200);
      const ask = () => replay(file.database.pool, endpointId, { orderId: order.orderId });
      await ask();
      const claimed = await claim();
      await ask();
      // A version that the fan-out makes due meanwhile changes nothing about the replay.
      await fanOutAll();
      await send(claimed, status);
      const again = await claim();
      expect(again).toMatchObject([{ subjectId: order.id, isReplay: true, attempts: 0 }]);
      await send(again, 200);
      expect(await claim()).toEqual([]);
    },
  );
});

describe("an endpoint with another URL", () => {
  it("does not begin to fail because of an attempt at the old one", async () => {
    const endpointId = await createOnly();
    await (await openOrder()).pay();
    await fanOutAll();
    const claimed = await claim();
    await endpoints.change(endpointId, { url: "https://new.example.com/" });
    expect(await send(claimed, 500)).toEqual([undefined]);
    expect(await endpoints.read(endpointId)).not.toHaveProperty("failingSince");
  });
});

describe("an endpoint that fails", () => {
  const failsFor = (endpointId: string, days: number) =>
    query("update endpoint set failing_since = now() - $2 * interval '1 day' where id = $1", [endpointId, days]);

  it("is disabled after five days, unless nothing is due", async () => {
    const endpointId = await createOnly();
    await (await openOrder()).pay();
    await fanOutAll();
    const claimed = await claim();
    await send(claimed, 500);
    await failsFor(endpointId, 4);
    expect(await disableFailing(file.database.pool)).toEqual([]);
    expect(await endpoints.read(endpointId)).toHaveProperty("failingSince");
    await failsFor(endpointId, 6);
    // As if the endpoint no longer wanted the order.
    await query("update delivery set due_version = null, attempts = 0, attempt_at = null");
    expect(await disableFailing(file.database.pool)).toEqual([]);
    expect(await endpoints.read(endpointId)).not.toHaveProperty("failingSince");
    await failsFor(endpointId, 6);
    await (await openOrder()).pay();
    await fanOutAll();
    expect(await disableFailing(file.database.pool)).toEqual([{ id: endpointId }]);
  });
});

describe("endpoint.disabled", () => {
  it("is sent only to an endpoint that still receives it, and about an endpoint that still exists", async () => {
    const receiver = await createOnly(["endpoint.disabled"]);
    const url = "https://gone.example.com/";
    const gone = [await endpoints.create({ url }), await endpoints.create({ url })].map(({ endpoint }) => endpoint.id);
    for (const id of gone) await disableGone(file.database.pool, id, url);
    await endpoints.remove(gone[1] ?? "");
    const claimed = await claim();
    const sent = async () =>
      (await prepareMessages(file.database.pool, claimed)).flatMap((one) => one.message && one.claimed.subjectId);
    expect(claimed.map(({ endpointId }) => endpointId)).toEqual([receiver, receiver]);
    expect((await sent()).filter((id) => id)).toEqual([gone[0]]);
    await endpoints.change(receiver, { events: ["order.review"] });
    expect((await sent()).filter((id) => id)).toEqual([]);
  });
});
