/** Metrics of webhooks from providers and of calls to them. */
import { Counter, Histogram, type Registry } from "prom-client";
import type { FinishedCall } from "../provider/call-stats.ts";
import type { HandledWebhook } from "../route/webhooks.ts";
import { help } from "./help.ts";

export interface ProviderMetrics {
  onWebhook(webhook: HandledWebhook): void;
  onCall(call: FinishedCall): void;
}

export function providerMetrics(registry: Registry, providers: readonly string[]): ProviderMetrics {
  const registers = [registry];
  const webhooks = new Counter({
    name: "tukio_webhooks_total",
    help: help("Webhooks of known providers by their proof and their result.", "proof", "result"),
    labelNames: ["provider", "proof", "result"],
    registers,
  });
  const webhookTime = new Histogram({
    name: "tukio_webhook_seconds",
    help: "From a webhook's first byte until its answer is ready: stored and, if it changed the order, committed.",
    labelNames: ["provider"],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
    registers,
  });
  const calls = new Histogram({
    name: "tukio_provider_call_seconds",
    help: help("Calls to providers, with the access token that a call may fetch first.", "verb", "outcome"),
    labelNames: ["provider", "verb", "outcome"],
    buckets: [0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 25],
    registers,
  });
  startAtZero(providers, webhooks, calls);

  return {
    onWebhook({ provider, proof, result, tookMs }) {
      webhooks.inc({ provider, proof, result });
      webhookTime.observe({ provider }, tookMs / 1_000);
    },
    onCall: ({ tookMs, ...labels }) => calls.observe(labels, tookMs / 1_000),
  };
}

/** Creates rare series with 0, because Prometheus sees the first occurrence as an increase only from an existing value. */
function startAtZero(
  providers: readonly string[],
  webhooks: Counter<"provider" | "proof" | "result">,
  calls: Histogram<"provider" | "verb" | "outcome">,
): void {
  for (const provider of providers) {
    for (const proof of ["signature", "secret", "none"]) {
      for (const result of ["applied", "refused", "error", "spooled", "failed"])
        webhooks.inc({ provider, proof, result }, 0);
    }
    for (const verb of ["initiate", "complete", "confirm", "token"]) {
      for (const outcome of ["answered", "failed"]) calls.zero({ provider, verb, outcome });
    }
  }
}
