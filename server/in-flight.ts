/**
 * Tracks calls to payment providers that run in the background, so that a shutdown lets them finish and store their results.
 *
 * Guarantees that `close` resolves: at the end of the grace period it aborts the calls that are left. The result of such a
 * call is unknown, and a webhook, a query or the deadline settles its payment.
 */

import { setTimeout as wait } from "node:timers/promises";

/** Resolves when `task` is done, or after `ms` milliseconds. The task goes on. */
export async function waitAtMost(ms: number, task: Promise<unknown>): Promise<void> {
  const cancelled = new AbortController();
  await Promise.race([task, wait(ms, undefined, { signal: cancelled.signal }).catch(() => undefined)]);
  cancelled.abort();
}

/** 10 s, because that is the longest deadline of a provider call that already has its access token. */
const graceMs = 10_000;

export interface InFlight {
  readonly size: number;
  /** The grace period of a shutdown has ended. */
  readonly isGraceOver: boolean;
  /**
   * Makes a call whose signal is aborted after `ms` milliseconds, or at the end of the grace period. (`AbortSignal.any` would
   * leak some 400 bytes per call at a signal that lives as long as the process.)
   */
  withDeadline<T>(ms: number, call: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Tracks a task that never rejects; resolves with it. */
  track(task: Promise<void>): Promise<void>;
  /** Resolves when no task is in flight, including those that are tracked in the meantime. */
  close(): Promise<void>;
}

/** `closeGraceMs`: 10 s by default; only tests set it. */
export function createInFlight(closeGraceMs = graceMs): InFlight {
  const tasks = new Set<Promise<void>>();
  const calls = new Set<AbortController>();
  let isGraceOver = false;

  return {
    get size() {
      return tasks.size;
    },
    get isGraceOver() {
      return isGraceOver;
    },
    async withDeadline(ms, call) {
      const controller = new AbortController();
      if (isGraceOver) controller.abort();
      const timer = setTimeout(() => controller.abort(new DOMException("It took too long", "TimeoutError")), ms);
      calls.add(controller);
      try {
        return await call(controller.signal);
      } finally {
        clearTimeout(timer);
        calls.delete(controller);
      }
    },
    track(task) {
      const ended = task.finally(() => tasks.delete(ended));
      tasks.add(ended);
      return ended;
    },
    async close() {
      const timer = setTimeout(() => {
        isGraceOver = true;
        for (const call of calls) call.abort();
      }, closeGraceMs);
      while (tasks.size > 0) await Promise.all(tasks);
      clearTimeout(timer);
    },
  };
}
