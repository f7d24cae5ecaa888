/**
 * Checks at run time that the invariants of orders hold (G2, G3, G5, G9): when the node announces an event, when the hub gives a watcher a
 * state, and in the database once a minute. A violation is logged and counted once per order and invariant. It changes
 * nothing else: the node goes on serving.
 *
 * Not guaranteed: the check in the database reads a few hundred orders at a time (order/violation.ts), and a node that
 * restarts reports a violation again. Every node checks, at its own times.
 */
import type { StatusEvent } from "../../client-sdk/protocol.ts";
import { type Loop, startLoop } from "../loop.ts";
import type { Before } from "../order/store.ts";
import type { StoredViolation } from "../order/violation.ts";

/** `version_lowered` is visible at a watcher only, the others in the database as well. */
export type InvariantName = StoredViolation["invariant"] | "version_lowered";

export interface Violation {
  invariant: InvariantName;
  /** The order's uuid. */
  id: string;
}

/** The state that a watcher was given last, as far as the invariants are about it. */
export interface DeliveredState {
  /** The order's uuid. */
  readonly id: string;
  epoch: number;
  version: number;
  isPaid: boolean;
}

export interface Invariants {
  /** Checks an accepted event against its payment's state before it. */
  onEvent(event: StatusEvent, before?: Before): void;
  /** Checks two states that one watcher is given, one after the other. */
  onNext(previous: DeliveredState, next: StatusEvent): void;
  /** Stops the check in the database; resolves when none is in flight. */
  close(): Promise<void>;
}

export interface InvariantsOptions {
  /** Reads violations in the database. */
  findViolations: () => Promise<readonly Violation[]>;
  onViolation: (violation: Violation) => void;
  log: Record<"info" | "warn" | "error", (details: object, message: string) => void>;
  /** Mean time between two checks in the database, in milliseconds. A minute by default. */
  checkMs?: number;
}

/** A minute, because the check reads orders that changed in the last 5 minutes: each is read several times. */
const defaultCheckMs = 60_000;

/** A quarter, because nodes that start together then check at different times. */
const jitter = 0.25;

/** Forgets what was reported when there are more than this, because a second report is better than unbounded memory. */
const reportedMax = 10_000;

export function createInvariants(options: InvariantsOptions): Invariants {
  const { findViolations, onViolation, log, checkMs = defaultCheckMs } = options;
  const reported = new Set<string>();

  const report = ({ invariant, id }: Violation): void => {
    const key = `${invariant} ${id}`;
    if (reported.has(key)) return;
    if (reported.size >= reportedMax) reported.clear();
    reported.add(key);
    log.error({ event: "invariant.violated", invariant, order: id }, "an order violates an invariant");
    onViolation({ invariant, id });
  };

  const loop: Pick<Loop, "close"> = startLoop({
    task: async () => {
      for (const violation of await findViolations()) report(violation);
    },
    delayMs: () => checkMs * (1 + jitter * (2 * Math.random() - 1)),
    onError: (err) => log.warn({ event: "invariant.check.failed", err }, "the invariant check failed"),
    onRecovered: () => log.info({ event: "invariant.check.recovered" }, "the invariant check works again"),
  });

  return {
    onEvent({ id, status }, before) {
      if (before?.status === "succeeded" && status !== "succeeded") report({ invariant: "success_taken_back", id });
    },
    onNext(previous, { id, epoch = 0, version, status }) {
      if (id !== previous.id) report({ invariant: "version_lowered", id });
      // A new epoch starts because the database has lost what was delivered in the one before.
      if (epoch > previous.epoch) return;
      if (version < previous.version) report({ invariant: "version_lowered", id });
      if (previous.isPaid && status !== "succeeded") report({ invariant: "success_taken_back", id });
    },
    close: loop.close,
  };
}
