/**
 * The bus carries events between nodes.
 *
 * Guarantees: nothing but speed. A message arrives at most once, in any order, or not at all. Versions make the order
 * harmless, and the hub's resync passes read what is lost.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Before } from "../order/store.ts";

export interface BusListener {
  /** Called for each event of a subscribed order, possibly twice. `json` is the event as text, serialized once for all. */
  onEvent(event: StatusEvent, json: string): void;
  /** Called when events of subscribed orders may be lost. The listener must read the orders. */
  onGap(): void;
}

export interface StatusBus {
  /** Calls this node's listener synchronously, and those of the nodes that subscribe to the order later. Never throws. */
  publish(event: StatusEvent): void;
  /**
   * Resolves when events of the order reach this node. While the bus is down it resolves at once; the bus then subscribes
   * when it recovers, and reports a gap.
   */
  subscribe(id: string): Promise<void>;
  unsubscribe(id: string): void;
  /** Sets the listener. A bus has one. */
  listen(listener: BusListener): void;
  /** False while events of other nodes may be lost. */
  readonly healthy: boolean;
  close(): Promise<void>;
}

/**
 * Publishes on the bus each event but an order's first, because no watcher can be subscribed to an order before it exists: a
 * watcher that joins reads that state.
 */
export const createPublish =
  (bus: StatusBus) =>
  (event: StatusEvent): void => {
    if (event.version > 1) bus.publish(event);
  };

type OnEvent = (event: StatusEvent, before?: Before) => void;

/** Gives each accepted event to every listener, in their order. `before` is absent for an event that opens a payment. */
export const announceTo =
  (listeners: readonly OnEvent[]): OnEvent =>
  (event, before) => {
    for (const listener of listeners) listener(event, before);
  };

/** The bus of a single process. */
export function createMemoryBus(): StatusBus {
  let listener: BusListener | undefined;
  return {
    publish: (event) => listener?.onEvent(event, JSON.stringify(event)),
    subscribe: () => Promise.resolve(),
    unsubscribe: () => undefined,
    listen: (next) => {
      listener = next;
    },
    healthy: true,
    close: () => Promise.resolve(),
  };
}
