/**
 * Calls to payment providers that run in the background, so that a node that stops lets them finish and be stored.
 *
 * Guarantees that `close` resolves: a call that has not ended by the end of the grace hears of it by its signal, and is to
 * end then. What became of such a call is unknown, which every payment survives: a webhook, a query or its deadline settles it.
 */

import { setTimeout as wait } from "node:timers/promises";

/** Waits for something that goes on by itself, for so many milliseconds at most. */
export async function orAfter(ms: number, done: Promise<unknown>): Promise<void> {
  const gaveUp = new AbortController();
  await Promise.race([done, wait(ms, undefined, { signal: gaveUp.signal }).catch(() => undefined)]);
  gaveUp.abort();
}

/** How long provider calls may go on when the node stops: as long as one of them takes without a token (10 s). */
const graceMs = 10_000;

export interface InFlight {
  readonly size: number;
  /** Whether the grace is over. */
  readonly isOver: boolean;
  /**
   * Makes a call that hears of it when it has taken so long, or when the grace is over. (`AbortSignal.any` would leave some
   * 400 bytes behind, for each call, at a signal that lives as long as the process.)
   */
  within<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Follows something that has begun and never rejects; returns the same. */
  add(task: Promise<void>): Promise<void>;
  /** Resolves when nothing is under way any more; what is added meanwhile is waited for too. */
  close(): Promise<void>;
}

/** The grace, in milliseconds, is another one in tests only. */
export function createInFlight(closeGraceMs = graceMs): InFlight {
  const tasks = new Set<Promise<void>>();
  const calls = new Set<AbortController>();
  let isOver = false;

  return {
    get size() {
      return tasks.size;
    },
    get isOver() {
      return isOver;
    },
    async within(ms, call) {
      const controller = new AbortController();
      if (isOver) controller.abort();
      const timer = setTimeout(() => controller.abort(new DOMException("It took too long", "TimeoutError")), ms);
      calls.add(controller);
      try {
        return await call(controller.signal);
      } finally {
        clearTimeout(timer);
        calls.delete(controller);
      }
    },
    add(task) {
      const ended = task.finally(() => tasks.delete(ended));
      tasks.add(ended);
      return ended;
    },
    async close() {
      const timer = setTimeout(() => {
        isOver = true;
        for (const call of calls) call.abort();
      }, closeGraceMs);
      while (tasks.size > 0) await Promise.all(tasks);
      clearTimeout(timer);
    },
  };
}
