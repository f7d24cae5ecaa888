/** Why a watch ended without being asked to. `closed`: by `close()` or its signal, while somebody was still waiting. */
export type WatchErrorCode = "token_invalid" | "token_expired" | "order_unknown" | "closed";

const messages: Record<WatchErrorCode, string> = {
  token_invalid: "The watch token does not open this order",
  token_expired: "The watch token has run out; pass refreshToken to fetch another",
  order_unknown: "There is no such order",
  closed: "The watch was closed",
};

/** A watch is over and will not come back by itself. Trouble that may pass is never told this way. */
export class WatchError extends Error {
  /** Stable, for programs; the message is for people. */
  readonly code: WatchErrorCode;

  constructor(code: WatchErrorCode, cause?: unknown) {
    super(messages[code], cause === undefined ? {} : { cause });
    this.name = "WatchError";
    this.code = code;
  }
}
