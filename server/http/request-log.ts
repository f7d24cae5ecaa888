/** One log line per request, with its status and duration. No line contains a secret: the serializers redact URLs. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { FastifyInstance } from "fastify";
import { readTrace, withTrace } from "../trace.ts";

declare module "fastify" {
  interface FastifyRequest {
    /** Whether the route has logged a line of its own, which replaces this one. */
    isLogged?: boolean;
  }
}

export function logRequests(app: FastifyInstance): void {
  app.decorateRequest("isLogged");
  app.addHook("onRequest", (request, reply, done) => {
    reply.header("x-request-id", request.id);
    withTrace(readTrace(request.headers.traceparent), done);
  });
  app.addHook("onResponse", async (request, reply) => {
    if (request.isLogged) return;
    const tookMs = Number(reply.elapsedTime.toFixed(2));
    const isRoutine = request.routeOptions.config.isPolled && reply.statusCode < 400;
    const line = { req: request, status: reply.statusCode, tookMs };
    if (isRoutine) request.log.debug({ event: "http.request", ...line }, "request");
    else request.log.info({ event: "http.request", ...line }, "request");
  });
}

/** The caller's `X-Request-Id` when it is a valid id, so that both logs use the same one, or a new id. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const given = String(headers["x-request-id"] ?? "");
  // A phone number must not be logged in full.
  const isPhone = /^[\d._-]{9,}$/.test(given);
  return /^[\w.-]{1,64}$/.test(given) && !isPhone ? given : randomUUID();
}
