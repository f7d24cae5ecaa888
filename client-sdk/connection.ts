/**
 * The states of a watch's connection and the complete table of their transitions:
 *
 *   connecting ──opened──► open ──dropped──► waiting ──elapsed, woken──► connecting
 *       ▲  │                │                   ▲
 *       │  └────────────────│─────dropped───────┘
 *       └─── passed, expired, woken (a new link at once) ──┘
 *
 *   Every state moves to closed on refused and ended. closed is final.
 *
 * `connecting`: the watch opens a link or fetches a fresh token. `open`: states arrive as they happen. `waiting`: the
 * watch waits before the next attempt to connect. `closed`: the caller closed the watch, or a final error ended it.
 * The compiler checks that the table has an entry for every input in every state.
 */
export type Connection = "connecting" | "open" | "waiting" | "closed";

export type Input =
  /** The server accepted the token. */
  | "opened"
  /** The link dropped or could not be opened; the watch waits and tries again. */
  | "dropped"
  /** The transport did not open; the watch tries the next one at once. */
  | "passed"
  /** The token expired; the watch fetches a fresh one. */
  | "expired"
  /** The wait is over. */
  | "elapsed"
  /** The page is visible or online again, or a better transport is due; the watch connects at once. */
  | "woken"
  /** The server refused the token or the order, and another attempt would not help. */
  | "refused"
  /** The caller closed the watch. */
  | "ended";

const transitions = {
  connecting: {
    opened: "open",
    dropped: "waiting",
    passed: "connecting",
    expired: "connecting",
    elapsed: "connecting",
    woken: "connecting",
    refused: "closed",
    ended: "closed",
  },
  open: {
    opened: "open",
    dropped: "waiting",
    passed: "connecting",
    expired: "connecting",
    elapsed: "open",
    woken: "connecting",
    refused: "closed",
    ended: "closed",
  },
  waiting: {
    opened: "waiting",
    dropped: "waiting",
    passed: "waiting",
    expired: "waiting",
    elapsed: "connecting",
    woken: "connecting",
    refused: "closed",
    ended: "closed",
  },
  closed: {
    opened: "closed",
    dropped: "closed",
    passed: "closed",
    expired: "closed",
    elapsed: "closed",
    woken: "closed",
    refused: "closed",
    ended: "closed",
  },
} as const satisfies Record<Connection, Record<Input, Connection>>;

/** Returns the state that follows `connection` after `input`. */
export const step = (connection: Connection, input: Input): Connection => transitions[connection][input];
