/** `GET /metrics` for Prometheus. It requires an API key, except from this machine. */
import type { FastifyInstance } from "fastify";
import type { Access } from "../auth/access.ts";
import { described, openedBy } from "../schema/route.ts";
import { isLocal } from "./local.ts";

const readMetrics = described({
  operationId: "readMetrics",
  tag: "Operating",
  summary: "Read the metrics for Prometheus",
  description: "Requires an API key, except from a loopback address.",
  security: openedBy.read,
  answers: { 200: { description: "The Prometheus text format.", type: "text/plain" } },
  problems: ["key_invalid", "origin_refused", "scope_missing", "rate_limited", "internal", "store_unavailable"],
});

export interface MetricsRouteOptions {
  access: Access;
  metrics: { scrape(): Promise<string>; readonly contentType: string };
}

export function metricsRoute(app: FastifyInstance, { access, metrics }: MetricsRouteOptions): void {
  app.get("/metrics", { config: { cors: false }, ...readMetrics }, async (request, reply) => {
    if (!isLocal(request)) access.requireKey(request, "read");
    return reply
      .type(metrics.contentType)
      .header("cache-control", "no-store")
      .send(await metrics.scrape());
  });
}
