/**
 * The states of a watch's connection, and the whole table of what moves it from one to another:
 *
 *   connecting ──opened──► open ──dropped──► waiting ──elapsed, woken──► connecting
 *       ▲  │                │                   ▲
 *       │  └────────────────│─────dropped───────┘
 *       └─── passed, expired, woken (a new link at once) ──┘
 *
 *   refused and ended lead to closed from everywhere; closed is final.
 *
 * `connecting`: a link is being made, or a fresh token fetched. `open`: what happens arrives at once. `waiting`: for
 * the next try. `closed`: by the caller, or for an error that will not pass. The compiler checks that the table says
 * what every input means in every state.
 */
export type Connection = "connecting" | "open" | "waiting" | "closed";

export type Input =
  /** The server has let us in. */
  | "opened"
  /** The link is gone, or could not be made; to be tried again after a while. */
  | "dropped"
  /** This transport cannot work here, or a better one may again: another one at once. */
  | "passed"
  /** The token has run out; a fresh one is asked for. */
  | "expired"
  /** The while is over. */
  | "elapsed"
  /** The page or the network is back. */
  | "woken"
  /** The server will not let us in, ever. */
  | "refused"
  /** The caller has had enough. */
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

/** The state that follows. */
export const step = (connection: Connection, input: Input): Connection => transitions[connection][input];
