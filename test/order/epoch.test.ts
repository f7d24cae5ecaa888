/** The epoch: when a node starts a new one, and that states carry it. */
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { createEpochs } from "../../server/order/epoch.ts";
import { draftOf, openTestStore } from "../support/store.ts";

let ground: Awaited<ReturnType<typeof openTestStore>>;
beforeAll(async () => {
  ground = await openTestStore();
});
afterAll(() => ground.close());

beforeEach(async () => {
  await ground.database.pool.query("update timeline set epoch = 0, server = null");
});

function openNode() {
  const onStarted = vi.fn();
  const onUnreadable = vi.fn();
  return { ...createEpochs({ pool: ground.database.pool, onStarted, onUnreadable }), onStarted, onUnreadable };
}

const readServer = async (): Promise<string | null> =>
  (await ground.database.pool.query<{ server: string | null }>("select server from timeline")).rows[0]?.server ?? null;

describe("epoch", () => {
  it("is 0 in a new database, and stays while nothing is lost", async () => {
    const node = openNode();
    expect(await node.check()).toBe(0);
    expect(await readServer()).toMatch(/^\d+\/[0-9A-F]{8}$/);
    await ground.open();
    expect(await node.check()).toBe(0);
    expect(await openNode().check()).toBe(0);
    expect(node.onStarted).not.toHaveBeenCalled();
  });

  it("is in every state of an order, and in its history", async () => {
    await ground.database.pool.query("update timeline set epoch = 7");
    const { event, payment } = await ground.open();
    const advanced = await ground.store.advance(payment.id, { status: "processing", reference: "r", source: "reply" });
    const { order, events } = await ground.view(event.orderId);
    const listed = (await ground.query.list({ limit: 1 })).data;
    const refused = await ground.store.open(draftOf({ orderId: event.orderId })).catch((error) => error.details.order);
    const [current] = await ground.store.current([event.id]);
    const states = [event, advanced.event, order, ...events, ...listed, refused, current];
    expect(states.map((state) => state?.epoch)).toEqual(states.map(() => 7));
  });

  it("begins anew on another server or timeline, once for all nodes", async () => {
    const nodes = [openNode(), openNode(), openNode()];
    await Promise.all(nodes.map(({ check }) => check()));
    await ground.database.pool.query("update timeline set server = 'another server'");
    const epochs = await Promise.all(nodes.map(({ check }) => check()));
    expect(new Set(epochs).size).toBe(1);
    expect(epochs[0]).toBeGreaterThan(1_700_000_000);
    expect(nodes.flatMap(({ onStarted }) => onStarted.mock.calls)).toEqual([[epochs[0], "other_server"]]);
    expect(await readServer()).not.toBe("another server");
  });

  it("begins anew where the database has lost the epoch itself", async () => {
    const node = openNode();
    await ground.database.pool.query("update timeline set epoch = 99000000000");
    expect(await node.check()).toBe(99_000_000_000);
    await ground.database.pool.query("update timeline set epoch = 0");
    expect(await node.check()).toBe(99_000_000_001);
    expect(node.onStarted.mock.calls).toEqual([[99_000_000_001, "epoch_behind"]]);
  });

  it("begins anew after a lower version, unless another node has begun one", async () => {
    const [one, other] = [openNode(), openNode()];
    await one.check();
    await Promise.all([one.reportLoss(0), other.reportLoss(0)]);
    const started = [...one.onStarted.mock.calls, ...other.onStarted.mock.calls];
    expect(started).toEqual([[await one.check(), "version_behind"]]);
  });

  it("begins anew when an operator says so", async () => {
    const node = openNode();
    await node.check();
    const { rows } = await ground.database.pool.query<{ epoch: number }>("select start_epoch() as epoch");
    expect(await node.check()).toBe(rows[0]?.epoch);
  });

  it("is read by a role that may not read the server's place, and the node says so once", async () => {
    await ground.database.pool.query("create role reader login; grant select, update on timeline to reader");
    await ground.database.pool.query("revoke execute on function pg_control_system() from public");
    const client = await ground.database.pool.connect();
    try {
      await client.query("set role reader");
      const onUnreadable = vi.fn();
      const { check } = createEpochs({ pool: client as never, onUnreadable });
      expect([await check(), await check()]).toEqual([0, 0]);
      expect(onUnreadable).toHaveBeenCalledTimes(1);
    } finally {
      await client.query("reset role; grant execute on function pg_control_system() to public");
      await client.query("revoke all on timeline from reader; drop role reader");
      client.release();
    }
  });
});
