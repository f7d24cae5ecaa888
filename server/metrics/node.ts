/** Metrics of this node: violated invariants, connections that were cut off, secrets, the bus and the spool. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { SecretPurpose } from "../auth/keys.ts";
import type { SecretState } from "../auth/secret-comparison.ts";
import type { CutReason } from "../http/connection-guard.ts";
import type { Violation } from "../status/invariants.ts";
import { help, meanings } from "./help.ts";

export interface NodeMetrics {
  /** An order violates an invariant. */
  onViolation(violation: Violation): void;
  /** A connection exceeded a limit and was cut off. */
  onCut(why: CutReason): void;
  /** A text was created with a secret that is not the first of `TUKIO_SECRET`. */
  onSecondarySecret(purpose: SecretPurpose): void;
}

export interface NodeMetricsOptions {
  /** Whether events reach the other nodes now. */
  isBusUp: () => boolean;
  /** The number of webhooks in this node's spool. */
  spooled: () => number;
  /** How this node's secrets fit those of other nodes. */
  secrets: () => Pick<SecretState, "conflicts" | "acceptsLast">;
}

export function nodeMetrics(registry: Registry, options: NodeMetricsOptions): NodeMetrics {
  const registers = [registry];
  nodeGauges(registry, options);
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
  const secondary = new Counter({
    name: "tukio_secondary_secret_uses_total",
    help: help(
      "Texts that a secret other than the first of TUKIO_SECRET created, when they were used here.",
      "purpose",
    ),
    labelNames: ["purpose"],
    registers,
  });
  for (const why of Object.keys(meanings.why)) cut.inc({ why }, 0);
  for (const purpose of Object.keys(meanings.purpose)) secondary.inc({ purpose }, 0);
  for (const invariant of Object.keys(meanings.invariant)) violations.inc({ invariant }, 0);

  return {
    onViolation: ({ invariant }) => violations.inc({ invariant }),
    onCut: (why) => cut.inc({ why }),
    onSecondarySecret: (purpose) => secondary.inc({ purpose }),
  };
}

function nodeGauges(registry: Registry, { isBusUp, spooled, secrets }: NodeMetricsOptions): void {
  const registers = [registry];
  new Gauge({
    name: "tukio_secret_conflicts",
    help: "Other running nodes whose TUKIO_SECRET does not fit this node's: one of the two refuses what the other one creates.",
    registers,
    collect() {
      this.set(secrets().conflicts);
    },
  });
  new Gauge({
    name: "tukio_secret_last_refused",
    help: "1 if TUKIO_SECRET lacks the secret that nodes used last before this node's start: it refuses what they created.",
    registers,
    collect() {
      this.set(secrets().acceptsLast ? 0 : 1);
    },
  });
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
}
