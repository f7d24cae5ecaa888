/**
 * Chooses the transport of the next link. Transports are tried in order, best first. A transport that does not open is
 * followed by the next one at once. If none opens, the next round starts with the best one.
 *
 * While a lower transport works, the better ones rest for one minute. The ladder then tries the best one again, at the
 * next sign of life of the current link, so an idle watch sets no timer. The rest doubles after each failed attempt.
 */
import { nowMs } from "./platform.ts";
import type { Transport } from "./transport/transport.ts";

/** One minute, because a network that blocks WebSockets rarely changes sooner. */
const climbAfterMs = 60_000;
/** 16 minutes: four doublings of `climbAfterMs`. */
const climbAfterMsMax = 960_000;

export interface Ladder {
  current(): Transport;
  /** The transport that may run beside the current one: the last one, which works on most networks. Undefined if it is current. */
  spare(): Transport | undefined;
  /** Makes the spare the current one. */
  takeSpare(): void;
  /** Call when the current transport did not open. Returns false when none of them did, so that the caller waits. */
  pass(): boolean;
  /** Call when the current transport opened or showed life. Returns true when the best one is current again and due. */
  climb(): boolean;
}

export function createLadder(transports: readonly [Transport, ...Transport[]], now: () => number = nowMs): Ladder {
  const [best] = transports;
  const last = transports.length - 1;
  let index = 0;
  let restMs = climbAfterMs;
  let climbAtMs: number | undefined;

  return {
    current: () => transports[index] ?? best,
    spare: () => (index < last ? transports[last] : undefined),
    takeSpare() {
      index = last;
    },

    pass() {
      index = (index + 1) % transports.length;
      return index > 0;
    },

    climb() {
      if (index === 0) {
        restMs = climbAfterMs;
        climbAtMs = undefined;
        return false;
      }
      climbAtMs ??= now() + restMs;
      if (now() < climbAtMs) return false;
      index = 0;
      climbAtMs = undefined;
      restMs = Math.min(2 * restMs, climbAfterMsMax);
      return true;
    },
  };
}
