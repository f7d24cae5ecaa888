/**
 * What Prometheus reads, one registry for each app: several may run in one process. Base units, and labels only of what
 * there are a few of: never an order, a phone or a path.
 *
 * The modules that have something to tell know nothing of this: they call back with what happened (`onWebhook`,
 * `onCall`, …), and app.ts connects the two.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";
import type { CutReason } from "../http/connection-guard.ts";
import { isSettled, type StatusEvent } from "../order/order.ts";
import type { ResolvedReview } from "../order/review.ts";
import type { Backlog } from "../order/statistics.ts";
import type { Before } from "../order/store.ts";
import type { FinishedCall } from "../provider/call-stats.ts";
import type { HandledWebhook } from "../route/webhooks.ts";
import { type HubOptions, type TransportName, transportNames } from "../status/hub.ts";
import type { Violation } from "../status/invariants.ts";
import { backlogMetrics } from "./backlog.ts";
import { help, meanings } from "./help.ts";

export interface Metrics {
  /** An accepted event, and what its payment was before it; without that, the payment has just been started. */
  onEvent(event: StatusEvent, before?: Before): void;
  /** A person's decision. */
  onResolved(resolved: ResolvedReview): void;
  onWebhook(webhook: HandledWebhook): void;
  onCall(call: FinishedCall): void;
  /** A pass of reading, and how many states it found that the bus had not brought. */
  onResync(healed: number): void;
  /** An order that violates an invariant. */
  onViolation(violation: Violation): void;
  /** A connection that went beyond its bounds. */
  onCut(why: CutReason): void;
  onWatchers: NonNullable<HubOptions["onWatchers"]>;
  onPush: NonNullable<HubOptions["onPush"]>;
  /** A transport whose watchers at the hub stand for many counts for itself. */
  countWatchers(name: TransportName, count: () => number): void;
  /** The text of a scrape. Never fails for the database's sake: then `tukio_database_up` is 0. */
  scrape(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions {
  /**
   * The offered ones, with how many queries a minute they are asked at most: what happens rarely starts at 0 for each, so
   * that its first time is a change.
   */
  providers: ReadonlyMap<string, number | undefined>;
  /** Read at every scrape. */
  backlog: () => Promise<Backlog>;
  /** Whether events reach the other nodes at the moment. */
  isBusUp: () => boolean;
  /** How many webhooks wait on this machine's disk for the database. */
  spooled: () => number;
}

const mismatches: readonly string[] = Object.keys(meanings.reason);

export function createMetrics({ providers, backlog, isBusUp, spooled }: MetricsOptions): Metrics {
  const registry = new Registry();
  const payments = paymentMetrics(registry, [...providers.keys()]);
  const watching = watchMetrics(registry);
  const readBacklog = backlogMetrics(registry, backlog, providers);
  const registers = [registry];
  const webhooks = new Counter({
    name: "tukio_webhooks_total",
    help: help("Webhooks of known providers by what they proved and what became of them.", "proof", "result"),
    labelNames: ["provider", "proof", "result"],
    registers,
  });
  const webhookTime = new Histogram({
    name: "tukio_webhook_seconds",
    help: "From a webhook's first byte to its answer being ready: kept and, if it said something new, committed.",
    labelNames: ["provider"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  const calls = new Histogram({
    name: "tukio_provider_call_seconds",
    help: help("Calls to providers, with the access token they may have had to fetch first.", "verb", "outcome"),
    labelNames: ["provider", "verb", "outcome"],
    buckets: [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25],
    registers,
  });
  for (const provider of providers.keys()) {
    for (const proof of ["signature", "secret", "none"]) {
      for (const result of ["applied", "refused", "error", "spooled", "failed"])
        webhooks.inc({ provider, proof, result }, 0);
    }
    for (const verb of ["initiate", "confirm"]) {
      for (const outcome of ["answered", "failed"]) calls.zero({ provider, verb, outcome });
    }
  }
  const violations = new Counter({
    name: "tukio_invariant_violations_total",
    help: help("Orders that this node found to violate an invariant; the log names them.", "invariant"),
    labelNames: ["invariant"],
    registers,
  });
  const cut = new Counter({
    name: "tukio_connections_cut_total",
    help: help("Connections that this node cut off because they went beyond their bounds.", "why"),
    labelNames: ["why"],
    registers,
  });
  for (const why of Object.keys(meanings.why)) cut.inc({ why }, 0);
  for (const invariant of Object.keys(meanings.invariant)) violations.inc({ invariant }, 0);
  new Gauge({
    name: "tukio_bus_up",
    help: "Whether events reach the other nodes at the moment; without a Redis there are none, and it is up.",
    registers,
    collect() {
      this.set(isBusUp() ? 1 : 0);
    },
  });
  new Gauge({
    name: "tukio_spooled",
    help: "Webhooks that wait on this node's disk for the database to be back.",
    registers,
    collect() {
      this.set(spooled());
    },
  });
  // Last, so that whoever reads a scrape meets ours first.
  collectDefaultMetrics({ register: registry });

  return {
    ...payments,
    ...watching,
    onWebhook({ provider, proof, result, tookMs }) {
      webhooks.inc({ provider, proof, result });
      webhookTime.observe({ provider }, tookMs / 1_000);
    },
    onViolation: ({ invariant }) => violations.inc({ invariant }),
    onCut: (why) => cut.inc({ why }),
    onCall: ({ tookMs, ...labels }) => calls.observe(labels, tookMs / 1_000),
    async scrape() {
      await readBacklog();
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}

function paymentMetrics(registry: Registry, providers: readonly string[]): Pick<Metrics, "onEvent" | "onResolved"> {
  const registers = [registry];
  const started = new Counter({
    name: "tukio_payments_started_total",
    help: "Attempts to pay that were started here.",
    labelNames: ["provider"],
    registers,
  });
  const settled = new Histogram({
    name: "tukio_payment_settled_seconds",
    help: help(
      "From starting a payment to its first settled status; a late success or a person's decision is not counted again.",
      "status",
    ),
    labelNames: ["provider", "status"],
    buckets: [1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 1_800, 3_600],
    registers,
  });
  const late = new Counter({
    name: "tukio_late_successes_total",
    help: "Payments that succeeded after they had failed or expired.",
    labelNames: ["provider"],
    registers,
  });
  const mismatched = new Counter({
    name: "tukio_mismatches_total",
    help: help("Payments whose evidence of success disagrees with what was agreed. Most wait for a person.", "reason"),
    labelNames: ["provider", "reason"],
    registers,
  });
  const paidTwice = new Counter({
    name: "tukio_paid_twice_total",
    help: "Further attempts of a paid order that were paid too; the provider is that of the first.",
    labelNames: ["provider"],
    registers,
  });
  const resolved = new Counter({
    name: "tukio_resolved_total",
    help: help("Payments in review that a person decided on here.", "as"),
    labelNames: ["provider", "as"],
    registers,
  });
  for (const provider of providers) {
    for (const counter of [started, late, paidTwice]) counter.inc({ provider }, 0);
    for (const reason of mismatches) mismatched.inc({ provider, reason }, 0);
    for (const as of Object.keys(meanings.as)) resolved.inc({ provider, as }, 0);
  }

  return {
    onEvent({ status, reason, payment, occurredAt }, before) {
      const { provider } = payment;
      if (!before) {
        started.inc({ provider });
        return;
      }
      // An order's reason stays while its receipt is learnt, say: what tells the first time is the payment before.
      if (reason === "paid_twice") {
        if (before.status !== "succeeded") paidTwice.inc({ provider });
        return;
      }
      if (reason === "late" && before.status !== "succeeded") late.inc({ provider });
      if (reason && mismatches.includes(reason) && reason !== before.reason) mismatched.inc({ provider, reason });
      if (isSettled(status) && !isSettled(before.status)) {
        settled.observe({ provider, status }, (Date.parse(occurredAt) - Date.parse(payment.startedAt)) / 1_000);
      }
    },
    onResolved: ({ provider, as }) => resolved.inc({ provider, as }),
  };
}

type WatchMetrics = Pick<Metrics, "onWatchers" | "onPush" | "countWatchers" | "onResync">;

function watchMetrics(registry: Registry): WatchMetrics {
  const registers = [registry];
  const watchers = new Map<TransportName, number>();
  const counts = new Map<TransportName, () => number>();
  new Gauge({
    name: "tukio_watchers",
    help: help("Watched orders, once for each connection that watches them.", "transport"),
    labelNames: ["transport"],
    registers,
    collect() {
      for (const transport of transportNames) {
        this.set({ transport }, counts.get(transport)?.() ?? watchers.get(transport) ?? 0);
      }
    },
  });
  const pushes = new Histogram({
    name: "tukio_push_seconds",
    help: help(
      "From the change's time by the database's clock, just before its commit, to its being written to a watcher by this node's clock (Socket.IO: to the order's room; long poll: handed to the waiting request). Clock differences are in it.",
      "transport",
    ),
    labelNames: ["transport"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const pushed = new Map(transportNames.map((transport) => [transport, pushes.labels({ transport })]));
  const passes = new Counter({
    name: "tukio_resync_passes_total",
    help: "Times that this node read what changed, not trusting the bus.",
    registers,
  });
  const healed = new Counter({
    name: "tukio_resync_healed_total",
    help: "States that reading delivered to watchers before the bus had brought them.",
    registers,
  });

  return {
    onWatchers: (transport, change) => void watchers.set(transport, (watchers.get(transport) ?? 0) + change),
    onPush: (transport, latencyS) => pushed.get(transport)?.observe(latencyS),
    countWatchers: (name, count) => void counts.set(name, count),
    onResync(found) {
      passes.inc();
      healed.inc(found);
    },
  };
}
