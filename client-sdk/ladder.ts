/**
 * Which transport is tried next. They are taken in turn, best first. One that never got through makes room for the next
 * at once; when none got through, the next round begins with the best again. Once a lesser one works, those above are
 * left alone for a minute, then tried again when the lesser one has something to say anyway (a poll answered, a link
 * dropped), twice as seldom each time in vain: an idle watch sets no timer for this.
 */
import { nowMs } from "./platform.ts";
import type { Transport } from "./transport/transport.ts";

const climbAfterMs = 60_000;
const climbAfterMsMax = 960_000;

export interface Ladder {
  current(): Transport;
  /** The current one did not get through. False: nor did any other, so it is time to wait. */
  pass(): boolean;
  /** The current one got through, or said something. True: it is time to try the best again, which is now current. */
  climb(): boolean;
}

export function createLadder(transports: readonly [Transport, ...Transport[]], now: () => number = nowMs): Ladder {
  const [best] = transports;
  let index = 0;
  let patienceMs = climbAfterMs;
  let climbAtMs: number | undefined;

  return {
    current: () => transports[index] ?? best,

    pass() {
      index = (index + 1) % transports.length;
      return index > 0;
    },

    climb() {
      if (index === 0) {
        patienceMs = climbAfterMs;
        climbAtMs = undefined;
        return false;
      }
      climbAtMs ??= now() + patienceMs;
      if (now() < climbAtMs) return false;
      index = 0;
      climbAtMs = undefined;
      patienceMs = Math.min(2 * patienceMs, climbAfterMsMax);
      return true;
    },
  };
}
