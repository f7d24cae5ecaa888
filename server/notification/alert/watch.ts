/**
 * Alerts about Tukio and the providers, which no event reports: a provider whose calls fail, and an invariant that is violated. Every node
 * watches for itself. The store keeps an alert once, so that any number of nodes may report the same one.
 */
import type { CallOutcome, FinishedCall } from "../../provider/call-stats.ts";
import type { Violation } from "../../status/invariants.ts";
import type { StoredAlert } from "./store.ts";

/** Takes the reports of a running node. Both methods return at once and never throw. */
export interface AlertWatch {
  onCall(call: FinishedCall): void;
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

/** The last 20 calls, because they show an outage within seconds under load, and one failure among them is none. */
const windowCalls = 20;

/** Half of the window, because some calls fail with every provider. A refusal of a payer is no failure. */
const failedMin = 10;

/** An hour, because no more than one mail of a kind is sent in it. */
const hourMs = 3_600_000;

export function createAlertWatch({
  raise,
  isLive,
  isMailed,
  onError,
  nowMs = Date.now,
}: AlertWatchOptions): AlertWatch {
  const recent = new Map<string, CallOutcome[]>();
  const reportedHour = new Map<string, number>();
  const report = (alert: StoredAlert): void => void raise(alert).catch(onError);
  return {
    onCall({ provider, outcome }) {
      const outcomes = [...(recent.get(provider) ?? []), outcome].slice(-windowCalls);
      recent.set(provider, outcomes);
      if (outcomes.filter((one) => one === "failed").length < failedMin) return;
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
export const reportToBoth = <Metrics extends AlertWatch>(metrics: Metrics, watch: () => AlertWatch): Metrics => ({
  ...metrics,
  onCall(call) {
    metrics.onCall(call);
    watch().onCall(call);
  },
  onViolation(violation) {
    metrics.onViolation(violation);
    watch().onViolation(violation);
  },
});
