/** Every failure leaves as problem+json; what nobody expected is logged whole and answered as `internal`. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { HubError, toProblem } from "./errors.ts";

/** Answers with the error's problem, and with `Retry-After` where trying again may help. */
export function sendProblem(reply: FastifyReply, error: HubError): FastifyReply {
  const { retryAfterS } = error.details;
  if (retryAfterS !== undefined) reply.header("retry-after", retryAfterS);
  if (error.status === 401 && error.code !== "webhook_rejected") reply.header("www-authenticate", "Bearer");
  return reply.code(error.status).type("application/problem+json").send(toProblem(error));
}

export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: unknown, request, reply) => sendProblem(reply, recognize(error, request)));
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, new HubError("route_unknown")));
}

/** What Fastify cannot even route, such as a path that is not percent-encoded rightly. */
export const refuseUnroutable = (_error: unknown, _request: unknown, reply: FastifyReply): void => {
  sendProblem(reply, new HubError("body_invalid", "The address cannot be read"));
};

/** What an error is to a client; one of our own making is logged whole, unless it belongs to every deploy. */
export function recognize(error: unknown, request: FastifyRequest): HubError {
  const known = toHubError(error);
  if (known.status >= 500 && known.code !== "restarting") request.log.error({ err: error }, known.code);
  return known;
}

function toHubError(error: unknown): HubError {
  if (error instanceof HubError) return error;
  const { code, statusCode = 500 } = error as Partial<FastifyError>;
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") return new HubError("body_too_large", undefined, { cause: error });
  if (statusCode >= 400 && statusCode < 500) return new HubError("body_invalid", undefined, { cause: error });
  return new HubError("internal", undefined, { cause: error });
}
