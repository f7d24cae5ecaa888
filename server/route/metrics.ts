/** `GET /metrics` for Prometheus. It requires an API key, except from this machine. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Access } from "../auth/access.ts";
import { isLoopback } from "../config/host.ts";
import { described, openedBy } from "../schema/route.ts";

const readMetrics = described({
  operationId: "readMetrics",
  tag: "Operating",
  summary: "Read the metrics for Prometheus",
  description: "Requires the API key, except from a loopback address.",
  security: openedBy.merchant,
  answers: { 200: { description: "The Prometheus text format.", type: "text/plain" } },
  problems: ["key_invalid", "rate_limited", "internal"],
});

export interface MetricsRouteOptions {
  access: Access;
  metrics: { scrape(): Promise<string>; readonly contentType: string };
}

export function metricsRoute(app: FastifyInstance, { access, metrics }: MetricsRouteOptions): void {
  app.get("/metrics", { config: { cors: false }, ...readMetrics }, async (request, reply) => {
    if (!isLocal(request)) access.requireMerchant(request);
    return reply
      .type(metrics.contentType)
      .header("cache-control", "no-store")
      .send(await metrics.scrape());
  });
}

/** Headers that a proxy adds to the requests of other clients. */
const forwarding = /^(forwarded|x-forwarded-.*|x-real-ip|via)$/;

/**
 * Whether a request comes from this machine and not through a proxy on it. A proxy without such headers is recognized by the
 * `Host` header. A proxy that rewrites that header too must not pass `/metrics` on.
 */
function isLocal({ raw }: FastifyRequest): boolean {
  const { host = "" } = raw.headers;
  return (
    isLoopback(raw.socket.remoteAddress ?? "") &&
    isLoopback(host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) &&
    // nginx uses HTTP/1.0 for its upstreams by default; Prometheus does not.
    raw.httpVersion !== "1.0" &&
    !Object.keys(raw.headers).some((name) => forwarding.test(name))
  );
}
