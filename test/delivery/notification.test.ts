/** Notifications on the delivery engine: receivers of the process instead of URLs. */
import { randomUUID } from "node:crypto";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { createSealer } from "../../server/auth/keys.ts";
import { type Claimed, claimDeliveries } from "../../server/delivery/claim.ts";
import { disableFailing } from "../../server/delivery/disable.ts";
import { createEndpoints, endpointsMax } from "../../server/delivery/endpoint.ts";
import { type DeliveryResult, startEngine } from "../../server/delivery/engine.ts";
import { listDeliveries } from "../../server/delivery/history.ts";
import {
  createNotificationKeeper,
  removeNotifications,
  storeNotifications,
} from "../../server/delivery/notification.ts";
import { type NoAttempt, nothingToSend, type Receiver, type Reply } from "../../server/delivery/receiver.ts";
import { replay } from "../../server/delivery/replay.ts";
import { createOrderStore } from "../../server/order/store.ts";
import { useDatabase } from "../support/database.ts";
import { databaseNow } from "../support/database-clock.ts";
import { testSecret } from "../support/node.ts";
import { draftOf, paid } from "../support/store.ts";

const file = useDatabase();

/** Another name for each test, because they share a database. */
let name: string;
beforeEach(() => {
  name = `n_${randomUUID()}`;
});

const query = async (text: string, values: unknown[] = []) => (await file.database.pool.query(text, values)).rows;

const store = () =>
  createOrderStore({ database: file.database, announce: () => undefined, amountlessProviders: ["daraja"] });

/** Opens an order and pays it. `addReceipt` gives it another version. */
async function openPaid() {
  const { event, payment } = await store().open(draftOf());
  const paymentId = payment?.id ?? "";
  await store().advance(paymentId, paid());
  return {
    id: event.id,
    orderId: event.orderId,
    addReceipt: () => store().advance(paymentId, paid({ receipt: `R-${event.id}` })),
  };
}

type Answer = Reply | NoAttempt;

const delivered: Reply = { isDelivered: true, isGone: false, durationMs: 1 };

const refused: Reply = { isDelivered: false, isGone: false, durationMs: 1, error: "refused" };

const own = () => [{ name, events: ["order.succeeded"] as const }];

const activate = () => storeNotifications(file.database.pool, own());

/** As if no node had the notification for an hour. */
async function turnOff(): Promise<void> {
  await query("update endpoint set seen_at = seen_at - interval '1 hour' where notification = $1", [name]);
  await removeNotifications(file.database.pool);
}

const idOf = async (): Promise<string> =>
  (await query("select id from endpoint where notification = $1 and not is_deleted", [name]))[0]?.id;

/** Starts an engine whose notification gives these answers in turn, then accepts. Returns what it was given. */
async function start(first: Answer[] = []) {
  const answers: (Answer | (() => Promise<Answer>))[] = [...first];
  const received: { type: string; version: number; replays: number; subjectId: string }[] = [];
  const results: [DeliveryResult, string | null][] = [];
  const receive: Receiver = async ({ type, version }, _signal, { replays, subjectId }) => {
    received.push({ type, version, replays, subjectId });
    const answer = answers.shift() ?? delivered;
    return typeof answer === "function" ? answer() : answer;
  };
  const { pool } = file.database;
  await activate();
  const endpointId = await idOf();
  const engine = startEngine({
    pool,
    notifications: [name],
    receivers: async (ids) => new Map(ids.includes(endpointId) ? [[endpointId, receive]] : []),
    onResult: (result, { notification }) => results.push([result, notification]),
    onError: (error) => expect.unreachable(String(error)),
    onRecovered: () => undefined,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  onTestFinished(engine.close);
  return { engine, answers, received, results, endpointId };
}

const rowOf = async (endpointId: string, subjectId: string) =>
  (
    await query(
      `select acked_version, due_version, attempts, is_replay, replays, claim, attempt_at, extract(epoch from attempt_at - now())::float8 as in_s
       from delivery where endpoint_id = $1 and subject_id = $2`,
      [endpointId, subjectId],
    )
  )[0];

/** Waits until the delivery is as `wanted`, and no attempt is in flight. */
const until = (endpointId: string, subjectId: string, wanted: object) =>
  vi.waitFor(async () => expect(await rowOf(endpointId, subjectId)).toMatchObject({ claim: null, ...wanted }), {
    timeout: 10_000,
  });

const historyOf = async (endpointId: string) =>
  (await listDeliveries(file.database.pool, endpointId, { limit: 50 })).data;

describe("notification", () => {
  it("receives each paid order once, and no later change of it", async () => {
    const { received, results, endpointId } = await start();
    const order = await openPaid();
    await until(endpointId, order.id, { acked_version: 2, due_version: null });
    await order.addReceipt();
    const other = await openPaid();
    await until(endpointId, other.id, { acked_version: 2, due_version: null });
    expect(received).toEqual([
      { type: "order.succeeded", version: 2, replays: 0, subjectId: order.id },
      { type: "order.succeeded", version: 2, replays: 0, subjectId: other.id },
    ]);
    expect(results).toEqual([
      ["delivered", name],
      ["delivered", name],
    ]);
  });

  it("knows each request to send the order again by a higher number", async () => {
    const { engine, received, endpointId } = await start();
    const order = await openPaid();
    await until(endpointId, order.id, { due_version: null });
    for (const count of [2, 3]) {
      expect(await replay(file.database.pool, endpointId, { orderId: order.orderId })).toBe(1);
      engine.wake();
      await vi.waitUntil(() => received.length === count);
      await until(endpointId, order.id, { due_version: null, is_replay: false });
    }
    const [first, second = 0, third = 0] = received.map(({ replays }) => replays);
    expect(first).toBe(0);
    expect(second).toBeGreaterThan(0);
    expect(third).toBeGreaterThan(second);
  });

  it("keeps the number of requests in all attempts of one", async () => {
    const { engine, received, endpointId } = await start([refused]);
    const order = await openPaid();
    await until(endpointId, order.id, { attempts: 1 });
    await query("update delivery set attempt_at = now() where endpoint_id = $1", [endpointId]);
    engine.wake();
    await until(endpointId, order.id, { due_version: null });
    expect(received.map(({ replays }) => replays)).toEqual([0, 0]);
  });

  it("gets no further attempt after a final failure, also when the order changes, until a replay", async () => {
    const { engine, received, results, endpointId } = await start([{ ...refused, isFinal: true }]);
    const order = await openPaid();
    await until(endpointId, order.id, { acked_version: 2, due_version: null, attempt_at: null });
    expect(results).toEqual([["exhausted", name]]);
    expect(await historyOf(endpointId)).toMatchObject([{ status: "failed", error: "refused", version: 2 }]);
    expect(await query("select failing_since from endpoint where id = $1", [endpointId])).toEqual([
      { failing_since: null },
    ]);
    await order.addReceipt();
    await openPaid().then(({ id }) => until(endpointId, id, { due_version: null }));
    expect(received.filter(({ subjectId }) => subjectId === order.id)).toHaveLength(1);
    await replay(file.database.pool, endpointId, { orderId: order.orderId });
    engine.wake();
    await until(endpointId, order.id, { acked_version: 3, due_version: null });
  });

  it("keeps no history of what it has nothing to send about, and is not asked again", async () => {
    const { received, results, endpointId } = await start([nothingToSend]);
    const order = await openPaid();
    await until(endpointId, order.id, { acked_version: 2, due_version: null, attempt_at: null });
    await order.addReceipt();
    const other = await openPaid();
    await until(endpointId, other.id, { due_version: null });
    expect(received.filter(({ subjectId }) => subjectId === order.id)).toHaveLength(1);
    expect((await historyOf(endpointId)).map(({ orderId }) => orderId)).toEqual([other.orderId]);
    expect(results).toHaveLength(1);
  });

  it("is given a deferred order at its time without counting an attempt, or at once when it changes", async () => {
    const { engine, received, endpointId } = await start([{ deferMs: 60_000 }, { deferMs: 60_000 }]);
    const [first, second] = [await openPaid(), await openPaid()];
    for (const { id } of [first, second]) {
      await until(endpointId, id, { acked_version: null, due_version: 2, attempts: 0 });
      const { in_s } = await rowOf(endpointId, id);
      expect(in_s).toBeGreaterThan(30);
      expect(in_s).toBeLessThanOrEqual(60);
    }
    expect(received).toHaveLength(2);
    expect(await historyOf(endpointId)).toEqual([]);
    await first.addReceipt();
    engine.wake();
    await until(endpointId, first.id, { acked_version: 3, due_version: null });
    expect(await rowOf(endpointId, second.id)).toMatchObject({ due_version: 2 });
    expect(received).toHaveLength(3);
  });

  it("is given a version at once that became due while it deferred an older one", async () => {
    const order = Promise.withResolvers<Awaited<ReturnType<typeof openPaid>>>();
    const { endpointId, answers } = await start();
    answers.push(async () => {
      const { id, addReceipt } = await order.promise;
      await addReceipt();
      await vi.waitUntil(async () => (await rowOf(endpointId, id)).due_version === 3, { timeout: 10_000 });
      return { deferMs: 60_000 };
    });
    const opened = await openPaid();
    order.resolve(opened);
    await until(endpointId, opened.id, { acked_version: 3, due_version: null });
  });

  it("is claimed only by a node that has it", async () => {
    const { engine, endpointId } = await start();
    await engine.close();
    const order = await openPaid();
    const other = await start();
    await until(other.endpointId, order.id, { due_version: null });
    await other.engine.close();
    await replay(file.database.pool, endpointId, { orderId: order.orderId });
    const claims = (names: string[]): Promise<Claimed[]> => claimDeliveries(file.database.pool, new Map(), names);
    expect(await claims([])).toEqual([]);
    expect(await claims([name])).toMatchObject([{ subjectId: order.id, notification: name }]);
  });

  it("numbers the requests to send again, also after it was configured anew", async () => {
    const { pool } = file.database;
    const { engine, endpointId } = await start();
    await engine.close();
    const order = await openPaid();
    const numberOf = async (id: string): Promise<number> => {
      await replay(pool, id, { orderId: order.orderId });
      const [row] = await query("select replays from delivery where endpoint_id = $1 and subject_id = $2", [
        id,
        order.id,
      ]);
      return Number(row?.replays);
    };
    const numbers = [await numberOf(endpointId), await numberOf(endpointId), await numberOf(endpointId)];
    await turnOff();
    await activate();
    const secondOf = async (): Promise<number> => Math.floor((await databaseNow(pool)).getTime() / 1_000);
    const second = await secondOf();
    await vi.waitUntil(async () => (await secondOf()) > second + 2, { interval: 50 });
    const [anew] = await query("select id from endpoint where notification = $1 and not is_deleted", [name]);
    numbers.push(await numberOf(String(anew?.id)));
    expect(new Set(numbers).size).toBe(4);
    expect(numbers.toSorted((one, other) => one - other)).toEqual(numbers);
  });

  it("is recorded once, whatever characters its reply has", async () => {
    const { results, endpointId } = await start([{ ...refused, isFinal: true, answer: "a\u0000", error: "b\ud800" }]);
    const order = await openPaid();
    await until(endpointId, order.id, { due_version: null });
    expect(results).toEqual([["exhausted", name]]);
    expect(await historyOf(endpointId)).toMatchObject([{ answer: "a\uFFFD", error: "b\uFFFD" }]);
  });

  it("is never disabled for failing", async () => {
    const { engine, endpointId } = await start([refused]);
    const order = await openPaid();
    await until(endpointId, order.id, { attempts: 1 });
    await engine.close();
    await query("update endpoint set failing_since = now() - interval '6 days' where id = $1", [endpointId]);
    expect(await disableFailing(file.database.pool)).toEqual([]);
    expect(await query("select enabled from endpoint where id = $1", [endpointId])).toEqual([{ enabled: true }]);
  });
});

describe("storeNotifications", () => {
  it("keeps a notification that is still configured, and gives one that returns a new row", async () => {
    await activate();
    const first = await idOf();
    await activate();
    expect(await idOf()).toBe(first);
    await turnOff();
    expect(await idOf()).toBeUndefined();
    await activate();
    const second = await idOf();
    expect(second).not.toBe(first);
    expect(await query("select is_deleted, enabled from endpoint where id = $1", [first])).toEqual([
      { is_deleted: true, enabled: false },
    ]);
  });

  it("keeps the notification of another node, as long as that node has it", async () => {
    const { pool } = file.database;
    await activate();
    const id = await idOf();
    let ownMs = 0;
    const other = createNotificationKeeper(pool, [], () => ownMs);
    await storeNotifications(pool, []);
    await other();
    expect(await idOf()).toBe(id);
    ownMs += 3_600_000;
    const keep = createNotificationKeeper(pool, own());
    await query("update endpoint set seen_at = seen_at - interval '1 hour' where notification = $1", [name]);
    await keep();
    await other();
    expect(await idOf()).toBe(id);
    await query("update endpoint set seen_at = seen_at - interval '1 hour' where notification = $1", [name]);
    await other();
    expect(await idOf()).toBeUndefined();
    // A node that the others took for dead.
    await keep();
    expect(await idOf()).toBeTypeOf("string");
  });

  it("is not removed by a node in its first hour, because the others may start later", async () => {
    const { pool } = file.database;
    await activate();
    await query("update endpoint set seen_at = seen_at - interval '1 day' where notification = $1", [name]);
    const id = await idOf();
    let ownMs = 0;
    const keep = createNotificationKeeper(pool, [], () => ownMs);
    ownMs = 3_599_999;
    await keep();
    expect(await idOf()).toBe(id);
    ownMs = 3_600_000;
    await keep();
    expect(await idOf()).toBeUndefined();
  });

  it("leaves the types to the node that started last", async () => {
    await activate();
    const older = createNotificationKeeper(file.database.pool, own());
    await storeNotifications(file.database.pool, [{ name, events: ["order.review"] }]);
    await older();
    expect(
      await query("select events, filtered_at is not null as is_filtered from endpoint where notification = $1", [
        name,
      ]),
    ).toEqual([{ events: ["order.review"], is_filtered: true }]);
  });

  it("creates one row when many nodes start at once", async () => {
    await Promise.all(Array.from({ length: 8 }, activate));
    expect(await query("select count(*)::int as n from endpoint where notification = $1", [name])).toEqual([{ n: 1 }]);
  });

  it("changes the types of a notification", async () => {
    await activate();
    await storeNotifications(file.database.pool, [{ name, events: ["order.review", "order.updated"] }]);
    expect(await query("select events from endpoint where notification = $1", [name])).toEqual([
      { events: ["order.review", "order.updated"] },
    ]);
  });

  it("does not send the orders of a time without the notification", async () => {
    await activate();
    await turnOff();
    const before = await openPaid();
    const { received, endpointId } = await start();
    const after = await openPaid();
    await until(endpointId, after.id, { due_version: null });
    expect(received.map(({ subjectId }) => subjectId)).toEqual([after.id]);
    expect(await rowOf(endpointId, before.id)).toBeUndefined();
  });
});

describe("the API of endpoints", () => {
  const endpoints = () =>
    createEndpoints({
      pool: file.database.pool,
      sealer: createSealer([testSecret]),
      onUnreadable: (id) => expect.unreachable(id),
    });

  it("neither shows nor changes a notification", async () => {
    await activate();
    const id = await idOf();
    expect((await endpoints().list()).map((one) => one.id)).not.toContain(id);
    const unknown = { code: "endpoint_unknown" };
    await expect(endpoints().read(id)).rejects.toMatchObject(unknown);
    await expect(endpoints().change(id, { enabled: false })).rejects.toMatchObject(unknown);
    await expect(endpoints().rotateSecret(id)).rejects.toMatchObject(unknown);
    await expect(endpoints().remove(id)).rejects.toMatchObject(unknown);
    expect((await endpoints().addresses([id])).get(id)).toMatchObject({ secrets: [], row: { notification: name } });
  });

  it("does not count notifications", async () => {
    await query("update endpoint set is_deleted = true");
    await storeNotifications(
      file.database.pool,
      ["a", "b", "c"].map((one) => ({ name: one, events: [] })),
    );
    for (let n = 0; n < endpointsMax; n += 1) await endpoints().create({ url: "https://shop.example.com/" });
    await expect(endpoints().create({ url: "https://shop.example.com/" })).rejects.toMatchObject({
      code: "endpoint_limit",
    });
  });
});
