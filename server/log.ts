/** What may be said in logs: no secret, token or full phone. URLs lose the parts that open something. */
import type { FastifyRequest } from "fastify";
import { type Logger, pino } from "pino";
import { currentTrace } from "./trace.ts";

/** How requests and errors are written. An error's causes are named; what they carry besides stays out. */
export const serializers = {
  req: ({ id, method, url }: FastifyRequest): object => ({ id, method, url: redactUrl(url) }),
  err: (error: unknown): object => ({
    message: messageOf(error),
    stack: error instanceof Error ? error.stack : undefined,
  }),
};

/** One JSON line per entry on standard output. */
export const createLogger = (level: string): Logger => pino({ level, base: null, serializers, mixin });

/** Every line says which trace it belongs to, if any. */
export const mixin = (): object => {
  const trace = currentTrace();
  return trace ? { traceId: trace.traceId } : {};
};

/** What an error and its causes say, in one line. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : `${error.message}: ${messageOf(error.cause)}`;
}

/** Hides the URL secrets of webhooks and return addresses, phones, and every value of the query. */
export function redactUrl(url: string): string {
  const [path = "", query] = url.split("?", 2);
  const shown = path
    .replace(/^(\/(?:webhooks\/[^/]+|return)\/).+/i, "$1***")
    .replace(/^(\/sandbox\/phone\/)[^/]*\d{6}[^/]*/i, "$1***");
  const names = query?.split("&").map((pair) => `${pair.split("=", 1)[0]}=`);
  return names ? `${shown}?${names.join("&")}` : shown;
}
