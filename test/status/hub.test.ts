import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Changes, OrderStore } from "../../server/order/store.ts";
import type { BusListener, StatusBus } from "../../server/status/bus.ts";
import { createHub, type Hub, type HubOptions, subscribe, type Watcher } from "../../server/status/hub.ts";
import { eventOf } from "../support/event.ts";

/** PostgreSQL's time of every read. */
const readAt = "2026-11-20T21:00:40.000Z";

/** A hub with a store and a bus that answer when the test lets them. */
function stage(options: { healthy?: boolean } & Partial<OrderStore> & Partial<HubOptions> = {}) {
  const rows = new Map<string, StatusEvent>();
  const reads: string[][] = [];
  const subscriptions: { id: string; done: () => void }[] = [];
  const unsubscribed: string[] = [];
  const errors: unknown[] = [];
  let held: Promise<void> | undefined;
  let listener: BusListener | undefined;
  const bus: StatusBus = {
    publish: (event) => listener?.onEvent(event, JSON.stringify(event)),
    subscribe: (id) => new Promise((done) => subscriptions.push({ id, done })),
    unsubscribe: (id) => unsubscribed.push(id),
    listen: (next) => {
      listener = next;
    },
    healthy: options.healthy ?? true,
    close: () => Promise.resolve(),
  };
  const read = async (ids: readonly string[]): Promise<StatusEvent[]> => {
    reads.push([...ids]);
    const found = ids.flatMap((id) => rows.get(id) ?? []);
    await held;
    return found;
  };
  const { onWatchers, onPush, onNext } = options;
  const hub: Hub = createHub({
    bus,
    ...(onWatchers && { onWatchers }),
    ...(onPush && { onPush }),
    ...(onNext && { onNext }),
    onError: (error) => errors.push(error),
    onWatcherError: (error) => errors.push(error),
    store: {
      current: read,
      currentWithTime:
        options.currentWithTime ?? (async (ids) => (await read(ids)).map((event) => ({ event, readAt }))),
      checkEpoch: async () => 0,
      reportLoss: async () => undefined,
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
    subscriptions,
    unsubscribed,
    errors,
    gap: () => listener?.onGap(),
    confirmSubscriptions: () => {
      for (const { done } of subscriptions) done();
    },
    /** Delays the results of reads until the returned function is called. */
    holdReads() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
  };
}

/** Resolves when every pending callback has run. */
const settle = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/** A watcher, of order "a" by default, that records the versions it receives. */
function createWatcher(id = "a"): Watcher & { seen: number[] } {
  const seen: number[] = [];
  return { id, epoch: 0, version: 0, isPaid: false, seen, receive: ({ version }) => seen.push(version) };
}

describe("hub", () => {
  it("shares one subscription between all that join an order", async () => {
    const { hub, rows, subscriptions, confirmSubscriptions } = stage();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const shown: number[] = [];
    const joins = [1, 2].map((n) => hub.join("a", () => shown.push(n)));
    await settle();
    expect(subscriptions.map(({ id }) => id)).toEqual(["a"]);
    expect(shown).toEqual([]);
    confirmSubscriptions();
    await Promise.all(joins);
    expect(shown).toEqual([1, 2]);
  });

  it("unsubscribes when the last watcher is removed, and not before", () => {
    const { hub, unsubscribed } = stage();
    const [one, two] = [createWatcher(), createWatcher()];
    hub.watch(one);
    hub.watch(two);
    hub.unwatch(one);
    hub.unwatch(one);
    expect(unsubscribed).toEqual([]);
    hub.unwatch(two);
    expect(unsubscribed).toEqual(["a"]);
    expect(hub.watchedOrders).toBe(0);
  });

  it("delivers no lower version after a higher one, and none twice (G5)", () => {
    const { hub, bus } = stage();
    const watcher = createWatcher();
    hub.watch(watcher);
    for (const version of [2, 1, 2, 4, 3, 4]) bus.publish(eventOf({ id: "a", version }));
    expect(watcher.seen).toEqual([2, 4]);
  });

  it("delivers to every other watcher when one throws or is removed during the delivery", () => {
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

  it("delivers each state to every watcher of an order, and to none that is removed", () => {
    const { hub, bus, unsubscribed } = stage();
    const watchers = Array.from({ length: 30 }, () => createWatcher());
    for (const watcher of watchers) hub.watch(watcher);
    bus.publish(eventOf({ id: "a", version: 1 }));
    for (const watcher of watchers.slice(0, 29)) hub.unwatch(watcher);
    bus.publish(eventOf({ id: "a", version: 2 }));
    expect(watchers.map(({ seen }) => seen.length)).toEqual([...Array(29).fill(1), 2]);
    expect(unsubscribed).toEqual([]);
    for (const watcher of watchers) hub.unwatch(watcher);
    expect(unsubscribed).toEqual(["a"]);
    expect(hub.watchedOrders).toBe(0);
  });

  it("reports added and removed watchers, latencies and consecutive states", () => {
    const reported: unknown[] = [];
    const { hub, bus } = stage({
      onWatchers: (transport, change) => reported.push([transport, change]),
      onPush: (transport, latencyS) => reported.push([transport, latencyS > 0]),
      onNext: ({ version, isPaid }, next) => reported.push([version, isPaid, next.version]),
    });
    const counted: Watcher = { ...createWatcher(), transport: "websocket" };
    for (const watcher of [counted, createWatcher("b")]) hub.watch(watcher);
    bus.publish(eventOf({ id: "a", version: 1, status: "succeeded" }));
    bus.publish(eventOf({ id: "a", version: 2, status: "succeeded" }));
    bus.publish(eventOf({ id: "b", version: 1 }));
    hub.unwatch(counted);
    hub.unwatch(counted);
    expect(reported).toEqual([
      ["websocket", 1],
      ["websocket", true],
      [1, true, 2],
      ["websocket", true],
      ["websocket", -1],
    ]);
  });
});

describe("subscribe", () => {
  it("delivers a state once to a watcher that joins between commit and publish", async () => {
    const { hub, bus, rows, confirmSubscriptions } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 2 }));
    const subscribing = subscribe(hub, watcher, { after: { version: 0 } });
    confirmSubscriptions();
    await subscribing;
    bus.publish(eventOf({ id: "a", version: 2 }));
    expect(watcher.seen).toEqual([2]);
  });

  it("delivers the state published during the read, and not the older one read (G5)", async () => {
    const { hub, bus, rows, confirmSubscriptions, holdReads, reads } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const release = holdReads();
    const subscribing = subscribe(hub, watcher, { after: { version: 0 } });
    confirmSubscriptions();
    await vi.waitUntil(() => reads.length === 1);
    bus.publish(eventOf({ id: "a", version: 2 }));
    release();
    await subscribing;
    expect(watcher.seen).toEqual([2]);
  });

  it("delivers a state published right after the first one (G4)", async () => {
    const { hub, bus, rows, confirmSubscriptions } = stage();
    const watcher = createWatcher();
    rows.set("a", eventOf({ id: "a", version: 1 }));
    const interrupted: Hub = {
      ...hub,
      join: (id, enter) =>
        hub.join(id, (event) => {
          const entered = enter(event, readAt);
          bus.publish(eventOf({ id, version: 2 }));
          return entered;
        }),
    };
    const subscribing = subscribe(interrupted, watcher, { after: { version: 0 } });
    confirmSubscriptions();
    await subscribing;
    expect(watcher.seen).toEqual([1, 2]);
  });

  it("skips the version that the client has, and delivers the current one to a client with a higher version", async () => {
    const { hub, bus, rows, confirmSubscriptions } = stage();
    for (const [after, expected] of [
      [3, [4]],
      [99, [3, 4]],
      [2, [3, 4]],
    ] as const) {
      rows.set("a", eventOf({ id: "a", version: 3 }));
      const watcher = createWatcher();
      const subscribing = subscribe(hub, watcher, { after: { version: after } });
      confirmSubscriptions();
      await subscribing;
      bus.publish(eventOf({ id: "a", version: 4 }));
      expect(watcher.seen).toEqual(expected);
      hub.unwatch(watcher);
    }
  });

  it("delivers a state that the bus lost to the watchers already there, in the same tick", async () => {
    const { hub, rows, confirmSubscriptions } = stage();
    const [earlier, later] = [createWatcher(), createWatcher()];
    rows.set("a", eventOf({ id: "a", version: 2 }));
    hub.watch(earlier);
    const subscribing = subscribe(hub, later, { after: { version: 0 } });
    confirmSubscriptions();
    await subscribing;
    expect([earlier.seen, later.seen]).toEqual([[2], [2]]);
  });

  it("sends the time of the read to a new watcher that asks for it, and to no other", async () => {
    const { hub, bus, rows, confirmSubscriptions, holdReads } = stage();
    const received: [string, StatusEvent][] = [];
    const watcherOf = (name: string): Watcher => ({
      ...createWatcher(),
      receive(event, json) {
        expect(JSON.parse(json)).toEqual(event);
        received.push([name, event]);
      },
    });
    const [first, second] = [2, 3].map((version) => eventOf({ id: "a", version }));
    rows.set("a", first ?? expect.unreachable());
    hub.watch(watcherOf("earlier"));
    const release = holdReads();
    const subscribing = [
      subscribe(hub, watcherOf("asking"), { after: { version: 0 }, clock: true }),
      subscribe(hub, watcherOf("plain"), { after: { version: 0 } }),
    ];
    confirmSubscriptions();
    release();
    await Promise.all(subscribing);
    bus.publish(second ?? expect.unreachable());
    expect(received).toStrictEqual([
      ["earlier", first],
      ["asking", { ...first, sentAt: readAt }],
      ["plain", first],
      ["earlier", second],
      ["asking", second],
      ["plain", second],
    ]);
  });

  it("leaves nothing behind when the order is unknown or the read fails", async () => {
    for (const [change, refused] of [
      [{}, expect.objectContaining({ code: "order_unknown" })],
      [
        { currentWithTime: () => Promise.reject(new Error("no database")) },
        expect.objectContaining({ message: "no database" }),
      ],
    ] as const) {
      const { hub, confirmSubscriptions, unsubscribed } = stage(change);
      const subscribing = subscribe(hub, createWatcher(), { after: { version: 0 } });
      confirmSubscriptions();
      await expect(subscribing).rejects.toEqual(refused);
      expect(hub.watchedOrders).toBe(0);
      expect(unsubscribed).toEqual(["a"]);
    }
  });
});

describe("join", () => {
  it("reads all orders of one tick in one query, each once", async () => {
    const { hub, rows, reads, confirmSubscriptions } = stage();
    for (const id of ["a", "b", "c"]) rows.set(id, eventOf({ id, version: 1 }));
    const joins = ["a", "b", "a", "c"].map((id) => hub.join(id, (event) => event.id));
    const missing = hub.join("missing", () => "there");
    confirmSubscriptions();
    expect(await Promise.all(joins)).toEqual(["a", "b", "a", "c"]);
    await expect(missing).rejects.toThrow(expect.objectContaining({ code: "order_unknown" }));
    expect(reads).toEqual([["a", "b", "c", "missing"]]);
  });

  it("passes the state that the database has at that time", async () => {
    const { hub, bus, rows, confirmSubscriptions } = stage();
    hub.watch(createWatcher());
    bus.publish(eventOf({ id: "a", version: 2 }));
    rows.set("a", eventOf({ id: "a", version: 3 }));
    const watcher = createWatcher();
    const subscribing = subscribe(hub, watcher, { after: { version: 3 } });
    confirmSubscriptions();
    await subscribing;
    bus.publish(eventOf({ id: "a", version: 4 }));
    expect(watcher.seen).toEqual([4]);
  });
});

describe("resync", () => {
  it("reads the watched orders after a gap of the bus (G4)", async () => {
    const { hub, rows, gap } = stage();
    const lost = Promise.withResolvers<StatusEvent>();
    hub.watch({ ...createWatcher(), receive: lost.resolve });
    rows.set("a", eventOf({ id: "a", version: 7 }));
    gap();
    expect((await lost.promise).version).toBe(7);
  });

  it("finds what the bus lost without reporting a gap (G4)", async () => {
    const { hub, rows, reads } = stage({ healthy: false });
    const lost = Promise.withResolvers<StatusEvent>();
    hub.watch({ ...createWatcher(), receive: lost.resolve });
    rows.set("unwatched", eventOf({ id: "unwatched", version: 1 }));
    rows.set("a", eventOf({ id: "a", version: 7 }));
    expect((await lost.promise).version).toBe(7);
    expect(reads.flat()).not.toContain("unwatched");
  });

  describe("with fake timers", () => {
    beforeEach(() => {
      vi.useFakeTimers();
      onTestFinished(() => void vi.useRealTimers());
    });

    /** A watched order whose version 7 is in no pass. */
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

    it("reads the watched orders after a failed pass, however long the database was away (G4)", async () => {
      const { seen } = await watched([() => Promise.reject(new Error("away")), nothing("2026-11-20T21:00:00Z")]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([7]);
    });

    it("reads the watched orders when the database's clock goes back (G4)", async () => {
      const { seen } = await watched([nothing("2026-11-20T21:00:00Z"), nothing("2026-11-20T20:59:59Z")]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([]);
      await vi.advanceTimersByTimeAsync(2_000);
      expect(seen).toEqual([7]);
    });

    it("starts the next pass within 2 s of a slow one (G4)", async () => {
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
