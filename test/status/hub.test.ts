import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Changes, OrderStore } from "../../server/order/store.ts";
import type { BusListener, StatusBus } from "../../server/status/bus.ts";
import { createHub, follow, type Hub, toEvent } from "../../server/status/hub.ts";
import { eventOf } from "../support/event.ts";

/** A hub whose store and bus answer when the test says so. */
function stage(options: { healthy?: boolean; changedSince?: OrderStore["changedSince"] } = {}) {
  const rows = new Map<string, StatusEvent>();
  const reads: string[][] = [];
  const follows: { id: string; done: () => void }[] = [];
  const unfollowed: string[] = [];
  const errors: unknown[] = [];
  let held: Promise<void> | undefined;
  let listener: BusListener | undefined;
  const bus: StatusBus = {
    publish: (event) => listener?.onEvent(event, JSON.stringify(event)),
    follow: (id) => new Promise((done) => follows.push({ id, done })),
    unfollow: (id) => unfollowed.push(id),
    listen: (next) => {
      listener = next;
    },
    healthy: options.healthy ?? true,
    close: () => Promise.resolve(),
  };
  const hub: Hub = createHub({
    bus,
    onError: (error) => errors.push(error),
    store: {
      async current(ids) {
        reads.push([...ids]);
        const found = ids.flatMap((id) => rows.get(id) ?? []);
        await held;
        return found;
      },
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

describe("watching", () => {
  it("makes all first watchers of an order await the same follow", async () => {
    const { hub, follows, followed } = stage();
    const states: string[] = [];
    const watches = [1, 2].map(async (n) => {
      await hub.watch("a", () => undefined);
      states.push(`watcher ${n}`);
    });
    await settle();
    expect(follows.map(({ id }) => id)).toEqual(["a"]);
    expect(states).toEqual([]);
    followed();
    await Promise.all(watches);
    expect(states).toEqual(["watcher 1", "watcher 2"]);
  });

  it("unfollows when the last watcher leaves, and only then", async () => {
    const { hub, followed, unfollowed } = stage();
    const watches = [hub.watch("a", () => undefined), hub.watch("a", () => undefined)];
    followed();
    const [stopOne, stopTwo] = await Promise.all(watches);
    stopOne?.();
    stopOne?.();
    expect(unfollowed).toEqual([]);
    stopTwo?.();
    expect(unfollowed).toEqual(["a"]);
    expect(hub.watched).toBe(0);
  });

  it("never delivers an older version after a newer one, nor the same twice", async () => {
    const { hub, bus, followed } = stage();
    const seen: number[] = [];
    const watching = hub.watch("a", ({ version }) => seen.push(version));
    followed();
    await watching;
    for (const version of [2, 1, 2, 4, 3, 4]) bus.publish(eventOf({ id: "a", version }));
    expect(seen).toEqual([2, 4]);
  });

  it("goes on when a watcher throws", async () => {
    const { hub, bus, followed, errors } = stage();
    const seen: number[] = [];
    const watches = [
      hub.watch("a", () => {
        throw new Error("broken watcher");
      }),
      hub.watch("a", ({ version }) => seen.push(version)),
    ];
    followed();
    await Promise.all(watches);
    bus.publish(eventOf({ id: "a", version: 1 }));
    expect(seen).toEqual([1]);
    expect(errors).toHaveLength(1);
  });
});

describe("following an order", () => {
  it("joined between commit and publish sees the state once", async () => {
    const { hub, bus, rows, followed } = stage();
    const seen: number[] = [];
    rows.set("a", eventOf({ id: "a", version: 2 }));
    const following = follow(hub, { id: "a", after: 0 }, ({ version }) => seen.push(version));
    followed();
    await following;
    bus.publish(eventOf({ id: "a", version: 2 }));
    expect(seen).toEqual([2]);
  });

  it("sends what was published while the current state was being read, and not the older one read", async () => {
    const { hub, bus, rows, followed, holdReads, reads } = stage();
    const seen: number[] = [];
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const release = holdReads();
    const following = follow(hub, { id: "a", after: 0 }, ({ version }) => seen.push(version));
    followed();
    await vi.waitUntil(() => reads.length === 1);
    bus.publish(eventOf({ id: "a", version: 2 }));
    release();
    await following;
    expect(seen).toEqual([2]);
  });

  it("loses nothing that is published between the reading of the state and the sending of it", async () => {
    const { hub, bus, rows, followed } = stage();
    const seen: number[] = [];
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const interrupted: Hub = {
      ...hub,
      async current(id) {
        const state = await hub.current(id);
        bus.publish(eventOf({ id, version: 2 }));
        return state;
      },
    };
    const following = follow(interrupted, { id: "a", after: 0 }, ({ version }) => seen.push(version));
    followed();
    await following;
    expect(seen).toEqual([2]);
  });

  it("is silent about the version already known, and tells a client from the future the current one", async () => {
    const { hub, bus, rows, followed } = stage();
    rows.set("a", eventOf({ id: "a", version: 3 }));
    for (const [after, expected] of [
      [3, [4]],
      [99, [3, 4]],
      [2, [3, 4]],
    ] as const) {
      rows.set("a", eventOf({ id: "a", version: 3 }));
      const seen: number[] = [];
      const following = follow(hub, { id: "a", after }, ({ version }) => seen.push(version));
      followed();
      const stop = await following;
      bus.publish(eventOf({ id: "a", version: 4 }));
      expect(seen).toEqual(expected);
      stop?.();
    }
  });

  it("of an unknown order leaves nothing behind", async () => {
    const { hub, followed } = stage();
    const following = follow(hub, { id: "a", after: 0 }, () => undefined);
    followed();
    expect(await following).toBeUndefined();
    expect(hub.watched).toBe(0);
  });

  it("whose read fails leaves nothing behind", async () => {
    const { hub, followed, reads, holdReads } = stage();
    holdReads();
    const failing = createFailing(hub);
    const following = follow(failing, { id: "a", after: 0 }, () => undefined);
    followed();
    await expect(following).rejects.toThrow("no database");
    expect(hub.watched).toBe(0);
    expect(reads).toEqual([]);
  });
});

const createFailing = (hub: Hub): Hub => ({ ...hub, current: () => Promise.reject(new Error("no database")) });

describe("reading", () => {
  it("asks for all orders of one tick in one query, each once", async () => {
    const { hub, rows, reads } = stage();
    for (const id of ["a", "b", "c"]) rows.set(id, eventOf({ id, version: 1 }));
    const states = await Promise.all(["a", "b", "a", "c", "missing"].map((id) => hub.current(id)));
    expect(reads).toEqual([["a", "b", "c", "missing"]]);
    expect(states.map((state) => state && toEvent(state).id)).toEqual(["a", "b", "a", "c", undefined]);
  });

  it("remembers the last state of watched orders only while the bus can be trusted", async () => {
    for (const [healthy, expected] of [
      [true, 0],
      [false, 1],
    ] as const) {
      const { hub, bus, rows, reads, followed } = stage({ healthy });
      const watching = hub.watch("a", () => undefined);
      followed();
      await watching;
      bus.publish(eventOf({ id: "a", version: 5 }));
      rows.set("a", eventOf({ id: "a", version: 6 }));
      const state = await hub.current("a");
      expect(state?.version).toBe(healthy ? 5 : 6);
      expect(reads).toHaveLength(expected);
    }
  });

  it("does not take for current what is older than a client has seen", async () => {
    const { hub, bus, rows, followed } = stage();
    const watching = hub.watch("a", () => undefined);
    followed();
    await watching;
    bus.publish(eventOf({ id: "a", version: 2 }));
    rows.set("a", eventOf({ id: "a", version: 3 }));
    const seen: number[] = [];
    const stop = await follow(hub, { id: "a", after: 3 }, ({ version }) => seen.push(version));
    bus.publish(eventOf({ id: "a", version: 4 }));
    expect(seen).toEqual([4]);
    stop?.();
  });

  it("finds after a gap what the bus lost, by reading the watched orders", async () => {
    const { hub, rows, gap, followed } = stage();
    const lost = Promise.withResolvers<StatusEvent>();
    const watching = hub.watch("a", lost.resolve);
    followed();
    await watching;
    rows.set("a", eventOf({ id: "a", version: 7 }));
    gap();
    expect((await lost.promise).version).toBe(7);
  });

  it("finds by its resync pass what the bus lost without telling", async () => {
    const { hub, rows, followed, reads } = stage({ healthy: false });
    const lost = Promise.withResolvers<StatusEvent>();
    const watching = hub.watch("a", lost.resolve);
    followed();
    await watching;
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
      const seen: number[] = [];
      const watching = staged.hub.watch("a", ({ version }) => seen.push(version));
      staged.followed();
      await watching;
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
