/**
 * Why a watch ended. `closed`: `close()` or the signal ended it while a promise was pending. `attribute_missing`: an
 * `<order-status>` cannot start a watch.
 */
export type WatchErrorCode =
  | "token_invalid"
  | "token_expired"
  | "order_unknown"
  | "route_unknown"
  | "attribute_missing"
  | "closed";

/** The final error of a watch, which does not reconnect after it. Temporary errors never become a `WatchError`. */
export class WatchError extends Error {
  /** Stable: programs may compare it. */
  declare readonly code: WatchErrorCode;

  constructor(code: WatchErrorCode, cause?: unknown) {
    super(`The watch has ended: ${code}`, cause === undefined ? {} : { cause });
    this.name = "WatchError";
    this.code = code;
  }
}
