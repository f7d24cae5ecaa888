/**
 * Who on this node watches which order.
 *
 * Promises to whoever begins to watch from within `join`: every state newer than the one shown there reaches it, in
 * growing versions, skipping at will. Whatever the bus loses is found by reading: the resync pass reads what changed
 * every 2 s (every 250 ms while the bus is down and the database answers fast), and after a gap, of the bus or of our
 * own reading, the watched orders are read by id. Delivery is synchronous; a watcher that throws does not stop the others.
 *
 * There may be tens of thousands, each idle for minutes: of an order no more than its version is remembered.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { HubError } from "../errors.ts";
import { startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import type { StatusBus } from "./bus.ts";
import type { DeliveredState } from "./invariants.ts";

export const transportNames = ["socketio", "websocket", "eventsource", "longpoll"] as const;

export type TransportName = (typeof transportNames)[number];

/**
 * One who watches one order, and what it was given last, which the hub keeps: version 0 before that. An object whose
 * functions all of its kind can share, for closures of its own would be most of what an idle watcher takes.
 */
export interface Watcher extends DeliveredState {
  /** What it is measured as; who has none is not. */
  readonly transport?: TransportName;
  /** Is given each newer state; `json` is the same as text, made once for all. */
  receive(event: StatusEvent, json: string): void;
}

export interface Hub {
  /** From now on the watcher is given what is newer. To miss nothing, it begins within `join`. */
  watch(watcher: Watcher): void;
  /** The watcher is given nothing more but what is being told this very moment; it may have left before. */
  unwatch(watcher: Watcher): void;
  /**
   * Shows an order's current state to `enter`, when events of the order reach this node. Resolves with what `enter`
   * returns. Throws `order_unknown`. All that ask in one tick share a query, and the first ones of an order a subscription.
   */
  join<T>(id: string, enter: (event: StatusEvent) => T): Promise<T>;
  readonly watchedOrders: number;
  close(): Promise<void>;
}

interface Room {
  watchers: Watchers;
  subscribed: Promise<void>;
  /** The newest version that is known. */
  version: number;
  /** How many are in `join`, and the newest state that came since the first of them did. */
  joining: number;
  newest: StatusEvent | undefined;
}

/** One may leave while all are being told: a list is replaced, never changed. Of a few, it takes a fifth of a set. */
type Watchers = readonly Watcher[] | Set<Watcher>;

const listMax = 8;

const resyncDelayMs = 2_000;
const resyncDelayDownMs = 250;
const readBatchMax = 1_000;

export interface HubOptions {
  store: Pick<OrderStore, "current" | "changedSince">;
  bus: StatusBus;
  onError: (error: unknown) => void;
  /** Hears of a pass of reading that went well after one that did not. */
  onRecovered?: () => void;
  /** Hears of every pass of reading, with how many states it brought that the bus had not. */
  onResync?: (healed: number) => void;
  /** Hears who comes and who goes. */
  onWatchers?: (transport: TransportName, change: 1 | -1) => void;
  /**
   * Hears how many seconds a state took from its `occurredAt`, the database's clock within the commit, to the return of
   * the watcher that writes it: in it is the bus, and whatever the bus lost until reading found it. Two clocks are
   * compared; their difference is in the figure, and below 0 counts as 0.
   */
  onPush?: (transport: TransportName, latencyS: number) => void;
  /** Hears of two states that one watcher is given, one after the other. */
  onNext?: (previous: DeliveredState, next: StatusEvent) => void;
}

export function createHub(options: HubOptions): Hub {
  const { store, bus, onError, onRecovered, onResync, onWatchers, onPush, onNext } = options;
  const rooms = new Map<string, Room>();
  const readCurrent = batch(store.current);
  let isGap = false;
  let sinceAt: Date | undefined;

  const give = (watcher: Watcher, event: StatusEvent, json: string): void => {
    if (watcher.version > 0) onNext?.(watcher, event);
    watcher.version = event.version;
    watcher.isPaid = event.status === "succeeded";
    watcher.receive(event, json);
    const { transport } = watcher;
    if (transport && onPush) onPush(transport, Math.max(0, Date.now() - Date.parse(event.occurredAt)) / 1_000);
  };

  /** Whether the state was news here. */
  const deliver = (event: StatusEvent, text?: string): boolean => {
    const room = rooms.get(event.id);
    if (!room || room.version >= event.version) return false;
    room.version = event.version;
    if (room.joining > 0) room.newest = event;
    const json = text ?? JSON.stringify(event);
    for (const watcher of room.watchers) {
      try {
        give(watcher, event, json);
      } catch (error) {
        onError(error);
      }
    }
    return true;
  };

  const readWatched = async (ids: readonly string[]): Promise<number> => {
    let healed = 0;
    for (const some of chunk(ids, readBatchMax)) {
      for (const event of await store.current(some)) if (deliver(event)) healed += 1;
    }
    return healed;
  };

  const resync = async (): Promise<void> => {
    let hadGap = isGap;
    isGap = false;
    if (rooms.size === 0) {
      sinceAt = undefined;
      return;
    }
    try {
      const { at, changes } = await store.changedSince(sinceAt);
      // Another database's clock, after a failover: what it changed before this pass looks older than it is.
      if (sinceAt && at < sinceAt) hadGap = true;
      const isNewer = ({ id, version }: { id: string; version: number }): boolean => {
        const room = rooms.get(id);
        return room !== undefined && version > room.version;
      };
      const ids = hadGap ? [...rooms.keys()] : changes.filter(isNewer).map((change) => change.id);
      const healed = await readWatched(ids);
      onResync?.(healed);
      sinceAt = at;
    } catch (error) {
      // The next pass may reach back less far than the database was away.
      isGap = true;
      throw error;
    }
  };

  const loop = startLoop({
    task: resync,
    // A slow database is read seldom, but however long it did not answer, it is asked again within 2 s.
    delayMs: (tookMs) =>
      bus.healthy ? resyncDelayMs : Math.min(Math.max(resyncDelayDownMs, 10 * tookMs), resyncDelayMs),
    onError,
    ...(onRecovered && { onRecovered }),
  });

  bus.listen({
    onEvent: deliver,
    onGap() {
      isGap = true;
      loop.runNow();
    },
  });

  const roomOf = (id: string): Room => {
    const known = rooms.get(id);
    if (known) return known;
    const room: Room = { watchers: [], subscribed: bus.subscribe(id), version: 0, joining: 0, newest: undefined };
    rooms.set(id, room);
    return room;
  };

  const leaveIfEmpty = (id: string, room: Room): void => {
    if (room.joining > 0 || countOf(room.watchers) > 0) return;
    rooms.delete(id);
    bus.unsubscribe(id);
  };

  return {
    watch(watcher) {
      const room = roomOf(watcher.id);
      room.watchers = withOne(room.watchers, watcher);
      if (watcher.transport) onWatchers?.(watcher.transport, 1);
    },

    unwatch(watcher) {
      const room = rooms.get(watcher.id);
      const left = room && withoutOne(room.watchers, watcher);
      if (!left) return;
      room.watchers = left;
      if (watcher.transport) onWatchers?.(watcher.transport, -1);
      leaveIfEmpty(watcher.id, room);
    },

    async join(id, enter) {
      const room = roomOf(id);
      room.joining += 1;
      try {
        await room.subscribed;
        const read = await readCurrent(id);
        if (!read) throw new HubError("order_unknown");
        // Whoever watches already has it from here if the bus lost it.
        deliver(read);
        return enter(room.newest ?? read);
      } finally {
        room.joining -= 1;
        if (room.joining === 0) room.newest = undefined;
        leaveIfEmpty(id, room);
      }
    },

    get watchedOrders() {
      return rooms.size;
    },

    close: () => loop.close(),
  };
}

/**
 * Makes the watcher watch its order: it is given the current state first unless `after` is its version, then every newer
 * one. `after` above the current version gets the current state: the client's numbers are of another life of the
 * database. `onFound` is called before anything is given. Throws `order_unknown`.
 */
export const subscribe = (
  hub: Hub,
  watcher: Watcher,
  { after, onFound }: { after: number; onFound?: () => void },
): Promise<void> =>
  hub.join(watcher.id, (event) => {
    onFound?.();
    watcher.version = event.version;
    watcher.isPaid = event.status === "succeeded";
    if (after !== event.version) watcher.receive(event, JSON.stringify(event));
    hub.watch(watcher);
  });

const countOf = (watchers: Watchers): number => (watchers instanceof Set ? watchers.size : watchers.length);

function withOne(watchers: Watchers, watcher: Watcher): Watchers {
  if (watchers instanceof Set) return watchers.add(watcher);
  return watchers.length < listMax ? watchers.concat([watcher]) : new Set(watchers).add(watcher);
}

/** Undefined when it was not there. */
function withoutOne(watchers: Watchers, watcher: Watcher): Watchers | undefined {
  if (watchers instanceof Set) return watchers.delete(watcher) ? watchers : undefined;
  const index = watchers.indexOf(watcher);
  return index < 0 ? undefined : watchers.toSpliced(index, 1);
}

/** Collects the ids asked for in one tick and reads them together, a bounded number at a time. */
function batch(
  read: (ids: readonly string[]) => Promise<StatusEvent[]>,
): (id: string) => Promise<StatusEvent | undefined> {
  let open: { ids: Set<string>; found: Promise<Map<string, StatusEvent>> } | undefined;

  const start = (): NonNullable<typeof open> => {
    const ids = new Set<string>();
    const found = nextTick().then(async () => {
      open = undefined;
      const events = await Promise.all(chunk([...ids], readBatchMax).map(read));
      return new Map(events.flat().map((event) => [event.id, event]));
    });
    return { ids, found };
  };

  return async (id) => {
    open ??= start();
    open.ids.add(id);
    return (await open.found).get(id);
  };
}

const chunk = <T>(items: readonly T[], size: number): T[][] =>
  Array.from({ length: Math.ceil(items.length / size) }, (_, index) => items.slice(index * size, (index + 1) * size));
