/** Metrics of this node: violated invariants, connections that were cut off, the bus and the spool. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { CutReason } from "../http/connection-guard.ts";
import type { Violation } from "../status/invariants.ts";
import { help, meanings } from "./help.ts";

export interface NodeMetrics {
  /** An order violates an invariant. */
  onViolation(violation: Violation): void;
  /** A connection exceeded a limit and was cut off. */
  onCut(why: CutReason): void;
}

export function nodeMetrics(
  registry: Registry,
  { isBusUp, spooled }: { isBusUp: () => boolean; spooled: () => number },
): NodeMetrics {
  const registers = [registry];
  const violations = new Counter({
    name: "tukio_invariant_violations_total",
    help: help("Orders that this node found to violate an invariant; the log names them.", "invariant"),
    labelNames: ["invariant"],
    registers,
  });
  const cut = new Counter({
    name: "tukio_connections_cut_total",
    help: help("Connections that this node cut off because they exceeded a limit.", "why"),
    labelNames: ["why"],
    registers,
  });
  for (const why of Object.keys(meanings.why)) cut.inc({ why }, 0);
  for (const invariant of Object.keys(meanings.invariant)) violations.inc({ invariant }, 0);
  new Gauge({
    name: "tukio_bus_up",
    help: "Whether events reach the other nodes now. Always 1 without Redis.",
    registers,
    collect() {
      this.set(isBusUp() ? 1 : 0);
    },
  });
  new Gauge({
    name: "tukio_spooled",
    help: "Webhooks on this node's disk that wait for PostgreSQL.",
    registers,
    collect() {
      this.set(spooled());
    },
  });

  return {
    onViolation: ({ invariant }) => violations.inc({ invariant }),
    onCut: (why) => cut.inc({ why }),
  };
}
