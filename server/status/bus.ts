/**
 * Carries events between nodes: at most once, in no promised order. Versions make both safe, and the hub finds by
 * reading what the bus lost, so the bus is only ever a hint that comes early.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";

export interface BusListener {
  /** `json` is the event as text, serialised once for everyone. The same event may come more than once. */
  onEvent(event: StatusEvent, json: string): void;
  /** Events of subscribed orders may have been lost: read again. */
  onGap(): void;
}

export interface StatusBus {
  /** Tells the listeners on this node at once, and those of other nodes that subscribe to the order. Never throws. */
  publish(event: StatusEvent): void;
  /** Resolves when events of this order reach us; while the bus is down, at once: it subscribes when it is back. */
  subscribe(id: string): Promise<void>;
  unsubscribe(id: string): void;
  /** Replaces the listener; there is one per bus. */
  listen(listener: BusListener): void;
  /** False while events of other nodes may be getting lost. */
  readonly healthy: boolean;
  close(): Promise<void>;
}

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
