/** Metrics of payments: starts, ends, and what needs a person. */
import { Counter, Histogram, type Registry } from "prom-client";
import { isSettled, type StatusEvent } from "../order/order.ts";
import type { ResolvedReview } from "../order/review.ts";
import type { Before } from "../order/store.ts";
import { help, meanings } from "./help.ts";

export interface PaymentMetrics {
  /** An accepted event and its payment's state before it; without `before` the event starts the payment. */
  onEvent(event: StatusEvent, before?: Before): void;
  /** A person's decision. */
  onResolved(resolved: ResolvedReview): void;
}

const mismatches: readonly string[] = Object.keys(meanings.reason);

export function paymentMetrics(registry: Registry, providers: readonly string[]): PaymentMetrics {
  const registers = [registry];
  const started = new Counter({
    name: "tukio_payments_started_total",
    help: "Payments that were started on this node.",
    labelNames: ["provider"],
    registers,
  });
  const settled = new Histogram({
    name: "tukio_payment_settled_seconds",
    help: help(
      "From a payment's start to its first settled status. A late success or a person's decision is not counted again.",
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
    help: help("Payments whose evidence of success contradicts the agreed terms. Most wait for a person.", "reason"),
    labelNames: ["provider", "reason"],
    registers,
  });
  const paidTwice = new Counter({
    name: "tukio_paid_twice_total",
    help: "Further attempts of a paid order that were paid too, by the provider of the first paid attempt.",
    labelNames: ["provider"],
    registers,
  });
  const resolved = new Counter({
    name: "tukio_resolved_total",
    help: help("Payments in review that a person decided on this node.", "as"),
    labelNames: ["provider", "as"],
    registers,
  });
  for (const provider of providers) {
    for (const counter of [started, late, paidTwice]) counter.inc({ provider }, 0);
    for (const reason of mismatches) mismatched.inc({ provider, reason }, 0);
    for (const as of Object.keys(meanings.as)) resolved.inc({ provider, as }, 0);
  }

  const counters = { settled, late, mismatched, paidTwice };

  return {
    onEvent(event, before) {
      if (before) countChange(counters, event, before);
      else started.inc({ provider: event.payment.provider });
    },
    onResolved: ({ provider, as }) => resolved.inc({ provider, as }),
  };
}

interface ChangeCounters {
  settled: Histogram<"provider" | "status">;
  late: Counter<"provider">;
  mismatched: Counter<"provider" | "reason">;
  paidTwice: Counter<"provider">;
}

/**
 * Counts what an event changed. Compares with the payment's state before, because an order keeps its reason when later evidence
 * adds a receipt.
 */
function countChange(
  { settled, late, mismatched, paidTwice }: ChangeCounters,
  event: StatusEvent,
  before: Before,
): void {
  const { status, reason, payment, occurredAt } = event;
  const { provider } = payment;
  const isNewSuccess = before.status !== "succeeded";
  if (reason === "paid_twice") {
    if (isNewSuccess) paidTwice.inc({ provider });
    return;
  }
  if (reason === "late" && isNewSuccess) late.inc({ provider });
  if (reason && mismatches.includes(reason) && reason !== before.reason) mismatched.inc({ provider, reason });
  if (isSettled(status) && !isSettled(before.status)) {
    settled.observe({ provider, status }, (Date.parse(occurredAt) - Date.parse(payment.startedAt)) / 1_000);
  }
}
