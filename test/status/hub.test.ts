import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Changes, OrderStore } from "../../server/order/store.ts";
import type { BusListener, StatusBus } from "../../server/status/bus.ts";
import { createHub, type Hub, type HubOptions, subscribe, type Watcher } from "../../server/status/hub.ts";
import { eventOf } from "../support/event.ts";

/** A hub whose store and bus answer when the test says so. */
function stage(options: { healthy?: boolean } & Partial<OrderStore> & Partial<HubOptions> = {}) {
  const rows = new Map<string, StatusEvent>();
  const reads: string[][] = [];
  const follows: { id: string; done: () => void }[] = [];
  const unfollowed: string[] = [];
  const errors: unknown[] = [];
  let held: Promise<void> | undefined;
  let listener: BusListener | undefined;
  const bus: StatusBus = {
    publish: (event) => listener?.onEvent(event, JSON.stringify(event)),
    subscribe: (id) => new Promise((done) => follows.push({ id, done })),
    unsubscribe: (id) => unfollowed.push(id),
    listen: (next) => {
      listener = next;
    },
    healthy: options.healthy ?? true,
    close: () => Promise.resolve(),
  };
  const { onWatchers, onPush, onNext } = options;
  const hub: Hub = createHub({
    bus,
    ...(onWatchers && { onWatchers }),
    ...(onPush && { onPush }),
    ...(onNext && { onNext }),
    onError: (error) => errors.push(error),
    store: {
      current:
        options.current ??
        (async (ids) => {
          reads.push([...ids]);
          const found = ids.flatMap((id) => rows.get(id) ?? []);
          await held;
          return found;
        }),
      changedSince:
        options.changedSince ??
        (async () => ({
          at: new Date(),
          changes: [...rows.values()].map(({ id, version }) => ({ id, version })),
        })),
    },
  });
  onTestFinished(() => hub.close());
  return {
    hub,
    bus,
    rows,
    reads,
    follows,
    unfollowed,
    errors,
    gap: () => listener?.onGap(),
    followed: () => {
      for (const { done } of follows) done();
    },
    /** Makes reads wait, after they have seen the rows, until the returned function is called. */
    holdReads() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
  };
}

/** Lets everything that is ready happen. */
const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** A watcher of order "a" that keeps the versions it is given. */
function createWatcher(id = "a"): Watcher & { seen: number[] } {
  const seen: number[] = [];
  return { id, version: 0, isPaid: false, seen, receive: ({ version }) => seen.push(version) };
}

describe("watching", () => {
  it("makes all that join an order await the same subscription", async () => {
    const { hub, rows, follows, followed } = stage();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const shown: number[] = [];
    const joins = [1, 2].map((n) => hub.join("a", () => shown.push(n)));
    await settle();
    expect(follows.map(({ id }) => id)).toEqual(["a"]);
    expect(shown).toEqual([]);
    followed();
    await Promise.all(joins);
    expect(shown).toEqual([1, 2]);
  });

  it("unfollows when the last watcher leaves, and only then", () => {
    const { hub, unfollowed } = stage();
    const [one, two] = [createWatcher(), createWatcher()];
    hub.watch(one);
    hub.watch(two);
    hub.unwatch(one);
    hub.unwatch(one);
    expect(unfollowed).toEqual([]);
    hub.unwatch(two);
    expect(unfollowed).toEqual(["a"]);
    expect(hub.watchedOrders).toBe(0);
  });

  it("never delivers an older version after a newer one, nor the same twice", () => {
    const { hub, bus } = stage();
    const watcher = createWatcher();
    hub.watch(watcher);
    for (const version of [2, 1, 2, 4, 3, 4]) bus.publish(eventOf({ id: "a", version }));
    expect(watcher.seen).toEqual([2, 4]);
  });

  it("goes on when a watcher throws, and when one leaves while all are being told", () => {
    const { hub, bus, errors } = stage();
    const leaving: Watcher = { ...createWatcher(), receive: () => hub.unwatch(leaving) };
    const broken: Watcher = {
      ...createWatcher(),
      receive() {
        throw new Error("broken watcher");
      },
    };
    const last = createWatcher();
    for (const watcher of [leaving, broken, last]) hub.watch(watcher);
    bus.publish(eventOf({ id: "a", version: 1 }));
    expect(last.seen).toEqual([1]);
    expect(errors).toHaveLength(1);
  });

  it("gives many watchers of one order every state, and forgets those who leave", () => {
    const { hub, bus, unfollowed } = stage();
    const watchers = Array.from({ length: 30 }, () => createWatcher());
    for (const watcher of watchers) hub.watch(watcher);
    bus.publish(eventOf({ id: "a", version: 1 }));
    for (const watcher of watchers.slice(0, 29)) hub.unwatch(watcher);
    bus.publish(eventOf({ id: "a", version: 2 }));
    expect(watchers.map(({ seen }) => seen.length)).toEqual([...Array(29).fill(1), 2]);
    expect(unfollowed).toEqual([]);
    for (const watcher of watchers) hub.unwatch(watcher);
    expect(unfollowed).toEqual(["a"]);
    expect(hub.watchedOrders).toBe(0);
  });

  it("tells who comes and goes, how long a state took, and what each was given before", () => {
    const told: unknown[] = [];
    const { hub, bus } = stage({
      onWatchers: (transport, change) => told.push([transport, change]),
      onPush: (transport, latencyS) => told.push([transport, latencyS > 0]),
      onNext: ({ version, isPaid }, next) => told.push([version, isPaid, next.version]),
    });
    const counted: Watcher = { ...createWatcher(), transport: "websocket" };
    for (const watcher of [counted, createWatcher("b")]) hub.watch(watcher);
    bus.publish(eventOf({ id: "a", version: 1, status: "succeeded" }));
    bus.publish(eventOf({ id: "a", version: 2, status: "succeeded" }));
    bus.publish(eventOf({ id: "b", version: 1 }));
    hub.unwatch(counted);
    hub.unwatch(counted);
    expect(told).toEqual([
      ["websocket", 1],
      ["websocket", true],
      [1, true, 2],
      ["websocket", true],
      ["websocket", -1],
    ]);
  });
});

describe("following an order", () => {
  it("joined between commit and publish sees the state once", async () => {
    const { hub, bus, rows, followed } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 2 }));
    const following = subscribe(hub, watcher, { after: 0 });
    followed();
    await following;
    bus.publish(eventOf({ id: "a", version: 2 }));
    expect(watcher.seen).toEqual([2]);
  });

  it("sends what was published while the current state was being read, and not the older one read", async () => {
    const { hub, bus, rows, followed, holdReads, reads } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const release = holdReads();
    const following = subscribe(hub, watcher, { after: 0 });
    followed();
    await vi.waitUntil(() => reads.length === 1);
    bus.publish(eventOf({ id: "a", version: 2 }));
    release();
    await following;
    expect(watcher.seen).toEqual([2]);
  });

  it("loses nothing that is published as soon as the state is out", async () => {
    const { hub, bus, rows, followed } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const interrupted: Hub = {
      ...hub,
      join: (id, enter) =>
        hub.join(id, (event) => {
          const entered = enter(event);
          bus.publish(eventOf({ id, version: 2 }));
          return entered;
        }),
    };
    const following = subscribe(interrupted, watcher, { after: 0 });
    followed();
    await following;
    expect(watcher.seen).toEqual([1, 2]);
  });

  it("is silent about the version already known, and tells a client from the future the current one", async () => {
    const { hub, bus, rows, followed } = stage();
    for (const [after, expected] of [
      [3, [4]],
      [99, [3, 4]],
      [2, [3, 4]],
    ] as const) {
      rows.set("a", eventOf({ id: "a", version: 3 }));
      const watcher = createWatcher();
      const following = subscribe(hub, watcher, { after });
      followed();
      await following;
      bus.publish(eventOf({ id: "a", version: 4 }));
      expect(watcher.seen).toEqual(expected);
      hub.unwatch(watcher);
    }
  });

  it("brings whoever watches already what the bus lost, in the tick in which another is shown it", async () => {
    const { hub, rows, followed } = stage();
    const [here, coming] = [createWatcher(), createWatcher()];
    rows.set("a", eventOf({ id: "a", version: 2 }));
    hub.watch(here);
    const following = subscribe(hub, coming, { after: 0 });
    followed();
    await following;
    expect([here.seen, coming.seen]).toEqual([[2], [2]]);
  });

  it("of an unknown order, or whose read fails, leaves nothing behind", async () => {
    for (const [change, refused] of [
      [{}, expect.objectContaining({ code: "order_unknown" })],
      [
        { current: () => Promise.reject(new Error("no database")) },
        expect.objectContaining({ message: "no database" }),
      ],
    ] as const) {
      const { hub, followed, unfollowed } = stage(change);
      const following = subscribe(hub, createWatcher(), { after: 0 });
      followed();
      await expect(following).rejects.toEqual(refused);
      expect(hub.watchedOrders).toBe(0);
      expect(unfollowed).toEqual(["a"]);
    }
  });
});

describe("reading", () => {
  it("asks for all orders of one tick in one query, each once", async () => {
    const { hub, rows, reads, followed } = stage();
    for (const id of ["a", "b", "c"]) rows.set(id, eventOf({ id, version: 1 }));
    const joins = ["a", "b", "a", "c"].map((id) => hub.join(id, (event) => event.id));
    const missing = hub.join("missing", () => "there");
    followed();
    expect(await Promise.all(joins)).toEqual(["a", "b", "a", "c"]);
    await expect(missing).rejects.toThrow(expect.objectContaining({ code: "order_unknown" }));
    expect(reads).toEqual([["a", "b", "c", "missing"]]);
  });

  it("shows each that joins what the database says by then", async () => {
    const { hub, bus, rows, followed } = stage();
    hub.watch(createWatcher());
    bus.publish(eventOf({ id: "a", version: 2 }));
    rows.set("a", eventOf({ id: "a", version: 3 }));
    const watcher = createWatcher();
    const following = subscribe(hub, watcher, { after: 3 });
    followed();
    await following;
    bus.publish(eventOf({ id: "a", version: 4 }));
    expect(watcher.seen).toEqual([4]);
  });

  it("finds after a gap what the bus lost, by reading the watched orders", async () => {
    const { hub, rows, gap } = stage();
    const lost = Promise.withResolvers<StatusEvent>();
    hub.watch({ ...createWatcher(), receive: lost.resolve });
    rows.set("a", eventOf({ id: "a", version: 7 }));
    gap();
    expect((await lost.promise).version).toBe(7);
  });

  it("finds by its resync pass what the bus lost without telling", async () => {
    const { hub, rows, reads } = stage({ healthy: false });
    const lost = Promise.withResolvers<StatusEvent>();
    hub.watch({ ...createWatcher(), receive: lost.resolve });
    rows.set("unwatched", eventOf({ id: "unwatched", version: 1 }));
    rows.set("a", eventOf({ id: "a", version: 7 }));
    expect((await lost.promise).version).toBe(7);
    expect(reads.flat()).not.toContain("unwatched");
  });

  describe("by passes", () => {
    beforeEach(() => {
      vi.useFakeTimers();
      onTestFinished(() => void vi.useRealTimers());
    });

    /** A watched order whose version 7 no pass tells of. */
    const watched = async (passes: (() => Promise<Changes>)[], healthy = true) => {
      let calls = 0;
      const staged = stage({
        healthy,
        changedSince: () => {
          const pass = passes[Math.min(calls, passes.length - 1)];
          calls += 1;
          if (!pass) throw new Error("there is no pass");
          return pass();
        },
      });
      const { seen, ...watcher } = createWatcher();
      staged.hub.watch(watcher);
      staged.rows.set("a", eventOf({ id: "a", version: 7 }));
      return { seen, calls: () => calls };
    };

    const nothing = (at: string) => async (): Promise<Changes> => ({ at: new Date(at), changes: [] });

    it("reads the watched orders after a pass that failed, however long the database was away", async () => {
      const { seen } = await watched([() => Promise.reject(new Error("away")), nothing("2026-11-20T21:00:00Z")]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([7]);
    });

    it("reads the watched orders when the database's clock has gone back", async () => {
      const { seen } = await watched([nothing("2026-11-20T21:00:00Z"), nothing("2026-11-20T20:59:59Z")]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([7]);
    });

    it("asks again within 2 s of a pass that took long", async () => {
      const slow = (): Promise<Changes> =>
        new Promise((_, fail) => setTimeout(() => fail(new Error("stalled")), 6_000));
      for (const healthy of [true, false]) {
        const { calls } = await watched([slow, nothing("2026-11-20T21:00:00Z")], healthy);
        await vi.advanceTimersByTimeAsync(2_000);
        expect(calls()).toBe(1);
        await vi.advanceTimersByTimeAsync(8_000);
        expect(calls()).toBeGreaterThan(1);
      }
    });
  });
});
