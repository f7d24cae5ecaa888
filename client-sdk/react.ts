/**
 * React: `useOrderStatus`. The watch lives from the effect to its clean-up, so Strict Mode's second mounting, a
 * suspended tree and a server's rendering start nothing that is not stopped. Needs React 18 or newer.
 */
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { firstSnapshot, type Snapshot } from "./snapshot.ts";
import { showOrder, type Watch, type WatchOptions } from "./watch.ts";

export type { Snapshot } from "./snapshot.ts";
export type { WatchOptions } from "./watch.ts";

/** As for `watchOrder`; the component's unmounting is the signal. */
export interface OrderStatusOptions extends Omit<WatchOptions, "signal" | "token"> {
  /** Undefined while it is still being fetched: nothing is watched then. */
  token: string | undefined;
}

const serverSnapshot = (): Snapshot => firstSnapshot;

/**
 * Watches an order while the component is mounted. A new `url`, `orderId` or `token` is a new watch; the other options
 * may be new objects on every rendering, and count from the next watch on.
 */
export function useOrderStatus(options: OrderStatusOptions): Snapshot {
  const { url, orderId, token } = options;
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  // One source for each order and token, so that a new order never shows the old one's state.
  const source = useMemo(() => {
    let watch: Watch | undefined;
    const subscribe = (onChange: () => void): (() => void) => {
      if (token === undefined) return () => undefined;
      const own = showOrder({
        ...latest.current,
        url,
        orderId,
        token,
        refreshToken: () => latest.current.refreshToken?.(),
      });
      watch = own;
      own.subscribe(onChange);
      return own.close;
    };
    return { subscribe, snapshot: () => watch?.snapshot() ?? firstSnapshot };
  }, [url, orderId, token]);
  return useSyncExternalStore(source.subscribe, source.snapshot, serverSnapshot);
}
