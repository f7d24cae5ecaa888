/**
 * Who on this node watches which order, and the newest state of each watched order.
 *
 * Promises to a watcher: after `watch` resolves, every state newer than what `current` then answers reaches it, in
 * growing versions, skipping at will. Whatever the bus loses is found by reading: the resync pass reads what changed
 * every 2 s (every 250 ms while the bus is down and the database answers fast), and after a gap, of the bus or of our
 * own reading, the watched orders are read by id. Delivery is synchronous; a watcher that throws does not stop the others.
 */
import { setImmediate as nextTick } from "node:timers/promises";
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { startLoop } from "../loop.ts";
import type { OrderStore } from "../order/store.ts";
import type { StatusBus } from "./bus.ts";

export type Watcher = (event: StatusEvent, json: string) => void;

/** A state as text, serialised once. Nothing more is remembered of an order: an object would take another kilobyte. */
export interface State {
  version: number;
  json: string;
}

export interface Hub {
  /**
   * Registers at once; resolves, when events reach this node, with the way to stop. All first watchers of an order
   * await the same follow.
   */
  watch(id: string, watcher: Watcher): Promise<() => void>;
  /**
   * The newest state, from memory for watched orders whose remembered version is at least `atLeast`, else from the
   * database: all asked in one tick share a query.
   */
  current(id: string, atLeast?: number): Promise<State | undefined>;
  readonly watched: number;
  close(): Promise<void>;
}

interface Room {
  watchers: Set<Watcher>;
  following: Promise<void>;
  last?: State;
}

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
}

export function createHub({ store, bus, onError, onRecovered, onResync }: HubOptions): Hub {
  const rooms = new Map<string, Room>();
  const readCurrent = batch(store.current);
  let isGap = false;
  let sinceAt: Date | undefined;

  /** Whether the state was news here. */
  const deliver = (event: StatusEvent, json: string): boolean => {
    const room = rooms.get(event.id);
    if (!room || (room.last && room.last.version >= event.version)) return false;
    room.last = { version: event.version, json };
    for (const watcher of [...room.watchers]) {
      try {
        watcher(event, json);
      } catch (error) {
        onError(error);
      }
    }
    return true;
  };

  const readWatched = async (ids: readonly string[]): Promise<number> => {
    let healed = 0;
    for (const some of chunk(ids, readBatchMax)) {
      for (const event of await store.current(some)) if (deliver(event, JSON.stringify(event))) healed += 1;
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
        return room !== undefined && version > (room.last?.version ?? 0);
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
      loop.nudge();
    },
  });

  const leave = (id: string, room: Room, watcher: Watcher): void => {
    if (!room.watchers.delete(watcher) || room.watchers.size > 0) return;
    rooms.delete(id);
    bus.unfollow(id);
  };

  return {
    async watch(id, watcher) {
      const room = rooms.get(id) ?? { watchers: new Set(), following: bus.follow(id) };
      rooms.set(id, room);
      room.watchers.add(watcher);
      await room.following;
      return () => leave(id, room, watcher);
    },

    async current(id, atLeast = 0) {
      const known = rooms.get(id)?.last;
      if (known && bus.healthy && known.version >= atLeast) return known;
      const event = await readCurrent(id);
      if (!event) return undefined;
      const json = JSON.stringify(event);
      deliver(event, json);
      return rooms.get(id)?.last ?? { version: event.version, json };
    },

    get watched() {
      return rooms.size;
    },

    close: () => loop.close(),
  };
}

/**
 * Watches an order and sends its state: first the current one unless `after` is its version, then every newer one.
 * Resolves when the first state is out with the way to stop, or with undefined when there is no such order.
 * `after` above the current version gets the current state: the client's numbers are of another life of the database.
 * `atLeast` is what the client has seen, where that is not `after`: what we remember that is older is read again.
 */
export async function follow(
  hub: Hub,
  { id, after, atLeast = after }: { id: string; after: number; atLeast?: number },
  send: Watcher,
): Promise<(() => void) | undefined> {
  let newest: State | undefined;
  let sentVersion: number | undefined;
  const stop = await hub.watch(id, (event, json) => {
    if (sentVersion === undefined) newest = { version: event.version, json };
    else if (event.version > sentVersion) {
      sentVersion = event.version;
      send(event, json);
    }
  });
  try {
    const current = await hub.current(id, atLeast);
    const first = newer(newest, current);
    if (!first) {
      stop();
      return undefined;
    }
    newest = undefined;
    sentVersion = first.version;
    if (after !== sentVersion) send(toEvent(first), first.json);
    return stop;
  } catch (error) {
    stop();
    throw error;
  }
}

/** A state as an object. */
export const toEvent = ({ json }: State): StatusEvent => JSON.parse(json);

/** Whichever state is newer; the first when they are the same. */
export const newer = (one: State | undefined, other: State | undefined): State | undefined =>
  other && (!one || other.version > one.version) ? other : one;

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
