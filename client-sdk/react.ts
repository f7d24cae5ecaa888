/**
 * The React hook `useOrderStatus`, for React 18 or newer. A watch starts in the subscription and ends in its clean-up,
 * so Strict Mode, a suspended tree and server rendering leave no watch open.
 */
import { useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import { firstSnapshot, type Snapshot } from "./snapshot.ts";
import { showOrder, type Watch, type WatchOptions } from "./watch.ts";

export type { Result, StatusEvent } from "./protocol.ts";
export type { Snapshot } from "./snapshot.ts";
export type { WatchOptions } from "./watch.ts";

/** The options of `watchOrder`, without `signal`: the watch closes when the component unmounts. */
export interface OrderStatusOptions extends Omit<WatchOptions, "signal" | "token"> {
  /** Undefined while the page still fetches it. The hook then watches nothing. */
  token: string | undefined;
}

const serverSnapshot = (): Snapshot => firstSnapshot;

/**
 * Watches an order while the component is mounted. A new `url`, `orderId` or `token` starts a new watch. The other
 * options may be new objects in every render; they take effect with the next watch.
 */
export function useOrderStatus(options: OrderStatusOptions): Snapshot {
  const { url, orderId, token } = options;
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  // One source for each order and token, so that a new order never shows the previous order's state.
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
