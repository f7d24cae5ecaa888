/** `GET /metrics` for Prometheus: with an API key, or from this very machine. */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Access } from "../auth/access.ts";
import { isLoopback } from "../config/config.ts";
import { described, openedBy } from "../schema/route.ts";

const readMetrics = described({
  operationId: "readMetrics",
  tag: "Operating",
  summary: "Numbers for Prometheus",
  description: "For the API key, or from a loopback address.",
  security: openedBy.merchant,
  answers: { 200: { description: "In Prometheus' text form.", type: "text/plain" } },
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

/** Headers by which a proxy tells that it speaks for somebody else. */
const forwarding = /^(forwarded|x-forwarded-.*|x-real-ip|via)$/;

/**
 * Whether the request comes from this machine and is not handed on by a proxy on it. A proxy that adds no header is
 * known by the name it was asked for, unless it hides that too: such a one must keep `/metrics` to itself.
 */
function isLocal({ raw }: FastifyRequest): boolean {
  const { host = "" } = raw.headers;
  return (
    isLoopback(raw.socket.remoteAddress ?? "") &&
    isLoopback(host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) &&
    // nginx speaks it to its upstreams unless told otherwise; Prometheus does not.
    raw.httpVersion !== "1.0" &&
    !Object.keys(raw.headers).some((name) => forwarding.test(name))
  );
}
