/**
 * Alerts about Tukio and the providers, which no event reports: a provider whose calls fail at all nodes together, and an invariant that is
 * violated. The store keeps an alert once, so that any number of nodes may report the same one.
 */
import type { Violation } from "../../status/invariants.ts";
import type { StoredAlert } from "./store.ts";

/** Takes the reports of a running node. Both methods return at once and never throw. */
export interface AlertWatch {
  /** Calls of all nodes to the provider fail. */
  onProviderFailing(provider: string): void;
  onViolation(violation: Violation): void;
}

export interface AlertWatchOptions {
  /** Stores an alert. Resolves when it is stored. */
  raise: (alert: StoredAlert) => Promise<void>;
  /** Whether money of the provider moves. */
  isLive: (provider: string) => boolean;
  /** Whether alerts about the node go by mail. Else they go into the sandbox's inbox. */
  isMailed: boolean;
  onError: (error: unknown) => void;
  /** The time, in milliseconds. */
  nowMs?: () => number;
}

/** An hour, because no more than one mail of a kind is sent in it. */
const hourMs = 3_600_000;

export function createAlertWatch({
  raise,
  isLive,
  isMailed,
  onError,
  nowMs = Date.now,
}: AlertWatchOptions): AlertWatch {
  const reportedHour = new Map<string, number>();
  const report = (alert: StoredAlert): void => void raise(alert).catch(onError);
  return {
    onProviderFailing(provider) {
      const hour = Math.floor(nowMs() / hourMs);
      if (reportedHour.get(provider) === hour) return;
      reportedHour.set(provider, hour);
      report({ kind: "provider_failing", live: isLive(provider), subject: provider, version: hour });
    },
    onViolation({ invariant, id }) {
      report({ kind: "invariant_violated", live: isMailed, subject: `${invariant}: ${id}`, version: 1 });
    },
  };
}

/** Passes what a node reports to its metrics and to the watch. `watch` is read with each report, because it is created later. */
export const reportToBoth = <Metrics extends Pick<AlertWatch, "onViolation">>(
  metrics: Metrics,
  watch: () => AlertWatch,
): Metrics & AlertWatch => ({
  ...metrics,
  onProviderFailing: (provider) => watch().onProviderFailing(provider),
  onViolation(violation) {
    metrics.onViolation(violation);
    watch().onViolation(violation);
  },
});
