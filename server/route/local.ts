/** Requests from this machine, which need no API key for what its users may read anyway. */
import type { FastifyRequest } from "fastify";
import { isLoopback } from "../config/host.ts";

/** Headers that a proxy adds to the requests of other clients. */
const forwarding = /^(forwarded|x-forwarded-.*|x-real-ip|via)$/;

/**
 * Whether a request comes from this machine and not through a proxy on it. A proxy without such headers is recognized by the
 * `Host` header. A proxy that rewrites that header too must not pass `/metrics` and `/docs` on.
 */
export function isLocal({ raw }: FastifyRequest): boolean {
  const { host = "" } = raw.headers;
  return (
    isLoopback(raw.socket.remoteAddress ?? "") &&
    isLoopback(host.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) &&
    // nginx uses HTTP/1.0 for its upstreams by default; Prometheus does not.
    raw.httpVersion !== "1.0" &&
    !Object.keys(raw.headers).some((name) => forwarding.test(name))
  );
}
