/** Metrics of watchers and of the hub. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { type HubOptions, type TransportName, transportNames } from "../status/hub.ts";
import { help } from "./help.ts";

export interface WatchMetrics {
  onWatchers: NonNullable<HubOptions["onWatchers"]>;
  onPush: NonNullable<HubOptions["onPush"]>;
  /** One resync pass, and the number of states in it that the bus had not delivered. */
  onResync(healed: number): void;
  /** Makes a transport count its own watchers, because one of its watchers at the hub may stand for many. */
  countWatchers(name: TransportName, count: () => number): void;
}

export function watchMetrics(registry: Registry): WatchMetrics {
  const registers = [registry];
  const watchers = new Map<TransportName, number>();
  const counts = new Map<TransportName, () => number>();
  new Gauge({
    name: "tukio_watchers",
    help: help("Watched orders, counted once for each connection that watches them.", "transport"),
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
      "From the event's time, which PostgreSQL sets just before the commit, until this node has written the event to a watcher (Socket.IO: to the order's room; long poll: to the waiting request). Includes the difference of the two clocks.",
      "transport",
    ),
    labelNames: ["transport"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  const pushed = new Map(transportNames.map((transport) => [transport, pushes.labels({ transport })]));
  const passes = new Counter({
    name: "tukio_resync_passes_total",
    help: "Resync passes: this node read the changed orders from PostgreSQL.",
    registers,
  });
  const healed = new Counter({
    name: "tukio_resync_healed_total",
    help: "States that a resync pass delivered to watchers before the bus did.",
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
