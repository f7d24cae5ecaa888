/** Why a watch ended without being asked to. `closed`: by `close()` or its signal, while somebody was still waiting. */
export type WatchErrorCode = "token_invalid" | "token_expired" | "order_unknown" | "closed";

/** A watch is over and will not come back by itself. Trouble that may pass is never told this way. */
export class WatchError extends Error {
  /** Stable, for programs. */
  readonly code: WatchErrorCode;

  constructor(code: WatchErrorCode, cause?: unknown) {
    super(`The watch has ended: ${code}`, cause === undefined ? {} : { cause });
    this.name = "WatchError";
    this.code = code;
  }
}
