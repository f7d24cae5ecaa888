/**
 * Watches at run time what must never happen, where the facts pass by anyway: at an event's announcement, at its delivery
 * to a watcher, and in the database at every scrape. What is found is counted and logged, once for each order and
 * promise, and changes nothing: a node that doubts itself goes on serving.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import type { Before } from "../order/store.ts";

/** What is promised of an order, by the name that an alert shows. */
export type BrokenInvariant = "version_lowered" | "version_skipped" | "success_taken_back" | "check_missing";

/** An order of which something is not as it should be. */
export interface Broken {
  promise: BrokenInvariant;
  /** The order's uuid. */
  id: string;
}

/** What of the state that somebody was given last the promises are about. */
export interface Standing {
  /** The order's uuid. */
  readonly id: string;
  version: number;
  isPaid: boolean;
}

export interface Promises {
  /** An accepted event, and what its payment was before it. */
  onEvent(event: StatusEvent, before?: Before): void;
  /** What one watcher was given last, and is given next. */
  onNext(previous: Standing, next: StatusEvent): void;
  /** What the database shows. */
  onFound(found: readonly Broken[]): void;
}

/** Forgets whom it told of when there are more than this: being told twice is better than growing for ever. */
const toldMax = 10_000;

export function watchPromises(tell: (broken: Broken) => void): Promises {
  const told = new Set<string>();

  const report = (promise: BrokenInvariant, id: string): void => {
    const key = `${promise} ${id}`;
    if (told.has(key)) return;
    if (told.size >= toldMax) told.clear();
    told.add(key);
    tell({ promise, id });
  };

  return {
    onEvent({ id, status }, before) {
      if (before?.status === "succeeded" && status !== "succeeded") report("success_taken_back", id);
    },
    onNext(previous, next) {
      if (next.version < previous.version || next.id !== previous.id) report("version_lowered", next.id);
      if (previous.isPaid && next.status !== "succeeded") report("success_taken_back", next.id);
    },
    onFound(found) {
      for (const { promise, id } of found) report(promise, id);
    },
  };
}
