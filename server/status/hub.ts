/**
 * Hub tracks which watchers on this node follow which order.
 *
 * Guarantees:
 * - Once faults stop, every watcher has the database's state within 3 s (G4). The hub subscribes to the bus first and
 *   reads the database second, so no state falls between the two. resync.ts reads what the bus loses.
 * - No watcher receives a lower version of an epoch after a higher one, or a version twice (G5).
 * - A watcher that throws does not affect the others.
 *
 * Does not guarantee: that a watcher receives every state. It may skip states, but not the newest.
 *
 * Concurrency: `join` calls, the bus and a resync pass may bring states of one order at the same time. Delivery is
 * synchronous: one state reaches all watchers of the order before the next one does. A watcher may be added or removed
 * during a delivery.
 *
 * Memory: a node has tens of thousands of idle watchers. Per order the hub keeps epoch and version, and no state.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { HubError } from "../errors.ts";
import { compareStates, isAt, type Position } from "../order/order.ts";
import type { OrderStore } from "../order/store.ts";
import { batchReads } from "./batched-read.ts";
import type { StatusBus } from "./bus.ts";
import type { DeliveredState } from "./invariants.ts";
import { isLost, startResync } from "./resync.ts";

export const transportNames = ["socketio", "websocket", "eventsource", "longpoll"] as const;

export type TransportName = (typeof transportNames)[number];

/**
 * A watcher of one order, and the state that it received last. The hub sets `epoch`, `version` (0 at first) and `isPaid`.
 *
 * Implementations share one `receive` function per transport, because a closure per watcher would be most of the memory
 * that an idle watcher takes.
 */
export interface Watcher extends DeliveredState {
  /** The label in the metrics. A watcher without one is not measured. */
  readonly transport?: TransportName;
  /** Receives a newer state. `json` is the event as text, serialized once for all watchers. */
  receive(event: StatusEvent, json: string): void;
}

export interface Hub {
  /** Adds a watcher, which receives every newer state from now on. Call it within `join`, so that it misses none. */
  watch(watcher: Watcher): void;
  /** Removes a watcher. It receives nothing after the delivery in progress. Does nothing for an unknown watcher. */
  unwatch(watcher: Watcher): void;
  /**
   * Subscribes the node to the order, reads the current state, and returns what `enter` returns for it.
   *
   * `enter` runs synchronously with the newest known state and PostgreSQL's time of the read, so a watcher that it adds misses none. All calls of one tick
   * share a query, and all calls for one order a subscription. Throws `order_unknown`.
   */
  join<T>(id: string, enter: (event: StatusEvent, readAt: string) => T): Promise<T>;
  readonly watchedOrders: number;
  /** Ends the resync passes. Watchers stay. */
  close(): Promise<void>;
}

export interface HubOptions {
  store: Pick<OrderStore, "current" | "currentWithTime" | "changedSince" | "checkEpoch" | "reportLoss">;
  bus: StatusBus;
  /** Called with the error of a resync pass that fails after a successful one. */
  onError: (error: unknown) => void;
  /** Called with the error of a watcher. */
  onWatcherError: (error: unknown) => void;
  /** Called when a resync pass succeeds after one that failed. */
  onRecovered?: () => void;
  /** Called after each resync pass with the number of states that the bus had lost. */
  onResync?: (healed: number) => void;
  /** Called when a watcher is added or removed. */
  onWatchers?: (transport: TransportName, change: 1 | -1) => void;
  /**
   * Called after each delivery with the time since `occurredAt`, in seconds. The time includes the bus, or the wait until a
   * resync pass. It compares the clocks of the database and of this node; a negative difference counts as 0.
   */
  onPush?: (transport: TransportName, latencyS: number) => void;
  /** Called with two consecutive states of one watcher. */
  onNext?: (previous: DeliveredState, next: StatusEvent) => void;
}

/** An order that this node follows. It exists while it has a watcher or a `join` in flight. */
interface Room {
  watchers: Watchers;
  /** Resolves when the bus delivers the order's events to this node. */
  subscribed: Promise<void>;
  /** The newest known epoch and version. */
  epoch: number;
  version: number;
  /** `join` calls in flight. */
  joining: number;
  /** The newest state that arrived while a `join` was in flight. */
  newest: StatusEvent | undefined;
}

/** An array is replaced and never changed, because a watcher may be removed while the array is iterated. */
type Watchers = readonly Watcher[] | Set<Watcher>;

/** Up to 8 watchers are an array, because it takes a fifth of the memory of a set. */
const arrayLengthMax = 8;

interface State {
  rooms: Map<string, Room>;
  bus: StatusBus;
  read: ReturnType<typeof batchReads>;
  /** Called when a read shows that the database has lost a version of this epoch. */
  onLoss: (epoch: number) => void;
  onWatcherError: HubOptions["onWatcherError"];
  onPush: HubOptions["onPush"] | undefined;
  onNext: HubOptions["onNext"] | undefined;
}

export function createHub(options: HubOptions): Hub {
  const { store, bus, onError, onWatcherError, onRecovered, onResync, onWatchers, onPush, onNext } = options;
  const rooms = new Map<string, Room>();
  const onLoss = (epoch: number): void => resync.reportLoss(epoch);
  const state: State = { rooms, bus, read: batchReads(store.currentWithTime), onLoss, onWatcherError, onPush, onNext };
  const onEvent = (event: StatusEvent, json?: string): boolean => deliver(state, event, json);
  const resync = startResync({ store, bus, watched: rooms, deliver: onEvent, onError, onRecovered, onResync });
  bus.listen({ onEvent, onGap: resync.reportGap });

  return {
    watch(watcher) {
      const room = roomOf(state, watcher.id);
      room.watchers = withWatcher(room.watchers, watcher);
      if (watcher.transport) onWatchers?.(watcher.transport, 1);
    },
    unwatch(watcher) {
      const room = rooms.get(watcher.id);
      const left = room && withoutWatcher(room.watchers, watcher);
      if (!left) return;
      room.watchers = left;
      if (watcher.transport) onWatchers?.(watcher.transport, -1);
      closeRoomIfEmpty(state, watcher.id, room);
    },
    join: (id, enter) => join(state, id, enter),
    get watchedOrders() {
      return rooms.size;
    },
    close: resync.close,
  };
}

/** Returns whether the state is newer than the known one. A hot path: allocate nothing per watcher. */
function deliver(state: State, event: StatusEvent, text?: string): boolean {
  const room = state.rooms.get(event.id);
  // Epochs and versions only grow here, whatever order the bus and the reads bring them in (G5).
  if (!room || compareStates(event, room) <= 0) return false;
  room.epoch = event.epoch ?? 0;
  room.version = event.version;
  if (room.joining > 0) room.newest = event;
  const json = text ?? JSON.stringify(event);
  for (const watcher of room.watchers) {
    try {
      push(state, watcher, event, json);
    } catch (error) {
      state.onWatcherError(error);
    }
  }
  return true;
}

function push({ onNext, onPush }: State, watcher: Watcher, event: StatusEvent, json: string): void {
  if (watcher.version > 0) onNext?.(watcher, event);
  recordState(watcher, event);
  watcher.receive(event, json);
  const { transport } = watcher;
  if (transport && onPush) onPush(transport, Math.max(0, Date.now() - Date.parse(event.occurredAt)) / 1_000);
}

function recordState(watcher: Watcher, { epoch = 0, version, status }: StatusEvent): void {
  watcher.epoch = epoch;
  watcher.version = version;
  watcher.isPaid = status === "succeeded";
}

async function join<T>(state: State, id: string, enter: (event: StatusEvent, readAt: string) => T): Promise<T> {
  const room = roomOf(state, id);
  room.joining += 1;
  try {
    // The hub subscribes first and reads second: the other order would lose the events in between (G4).
    await room.subscribed;
    const known = { epoch: room.epoch, version: room.version };
    const read = await state.read(id);
    if (!read) throw new HubError("order_unknown");
    const { event, readAt } = read;
    if (isLost(known, event)) state.onLoss(known.epoch);
    // The watchers already here receive it too, in case the bus lost it.
    deliver(state, event);
    return enter(room.newest ?? event, readAt);
  } finally {
    room.joining -= 1;
    if (room.joining === 0) room.newest = undefined;
    closeRoomIfEmpty(state, id, room);
  }
}

function roomOf({ rooms, bus }: State, id: string): Room {
  const known = rooms.get(id);
  if (known) return known;
  const room: Room = {
    watchers: [],
    subscribed: bus.subscribe(id),
    epoch: 0,
    version: 0,
    joining: 0,
    newest: undefined,
  };
  rooms.set(id, room);
  return room;
}

function closeRoomIfEmpty({ rooms, bus }: State, id: string, { joining, watchers }: Room): void {
  if (joining > 0 || countOf(watchers) > 0) return;
  rooms.delete(id);
  bus.unsubscribe(id);
}

const countOf = (watchers: Watchers): number => (watchers instanceof Set ? watchers.size : watchers.length);

function withWatcher(watchers: Watchers, watcher: Watcher): Watchers {
  if (watchers instanceof Set) return watchers.add(watcher);
  return watchers.length < arrayLengthMax ? watchers.concat([watcher]) : new Set(watchers).add(watcher);
}

/** Undefined when the watcher is unknown. */
function withoutWatcher(watchers: Watchers, watcher: Watcher): Watchers | undefined {
  if (watchers instanceof Set) return watchers.delete(watcher) ? watchers : undefined;
  const index = watchers.indexOf(watcher);
  return index < 0 ? undefined : watchers.toSpliced(index, 1);
}

/**
 * Subscribes a watcher to its order. The watcher receives the current state first, unless `after` is its position, then
 * every newer one.
 *
 * `after` above the current version also gets the current state, because the database has lost what the client has seen. `clock` adds
 * PostgreSQL's time of the read to the current state as `sentAt`, and to no later state. `onFound` runs before the first state. Throws
 * `order_unknown`.
 */
export const subscribe = (
  hub: Hub,
  watcher: Watcher,
  { after, clock = false, onFound }: { after: Position; clock?: boolean; onFound?: () => void },
): Promise<void> =>
  hub.join(watcher.id, (event, readAt) => {
    onFound?.();
    recordState(watcher, event);
    const first = clock ? { ...event, sentAt: readAt } : event;
    if (!isAt(after, event)) watcher.receive(first, JSON.stringify(first));
    hub.watch(watcher);
  });
