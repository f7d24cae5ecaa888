/** Answers every failure as problem+json. An unexpected error is logged with its stack and answered as `internal`. */
import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, fieldError, HubError, toProblem } from "../errors.ts";

/** Answers with the error's problem and headers, and with `Retry-After` when a retry may succeed. */
export function sendProblem(reply: FastifyReply, error: HubError): FastifyReply {
  const { headers, retryAfterS } = error.details;
  if (headers) reply.headers(headers);
  if (retryAfterS !== undefined) reply.header("retry-after", retryAfterS);
  if (error.status === 401 && error.code !== "webhook_rejected") reply.header("www-authenticate", "Bearer");
  return reply.code(error.status).type("application/problem+json").send(toProblem(error));
}

export function handleErrors(app: FastifyInstance): void {
  app.setErrorHandler((error: unknown, request, reply) => sendProblem(reply, recognize(error, request)));
  app.setNotFoundHandler((_request, reply) => sendProblem(reply, new HubError("route_unknown")));
}

/** Errors of Node's parser with a problem of their own. Every other error means that the request is not HTTP. */
const unparsedCodes: ReadonlyMap<string | undefined, ErrorCode> = new Map([
  ["ERR_HTTP_REQUEST_TIMEOUT", "request_timeout"],
  ["HPE_HEADER_OVERFLOW", "headers_too_large"],
]);

/** Answers a request that Node's parser refused, and closes the connection, because the next request's start is unknown. */
export function refuseUnparsed(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) return;
  if (socket.writable && !isAnswering(socket)) {
    const refusal = new HubError(unparsedCodes.get(error.code) ?? "body_invalid");
    const body = JSON.stringify(toProblem(refusal));
    const head = [
      `HTTP/1.1 ${refusal.status} ${STATUS_CODES[refusal.status]}`,
      "Content-Type: application/problem+json; charset=utf-8",
      `Content-Length: ${Buffer.byteLength(body)}`,
      "Connection: close",
    ];
    socket.write(`${head.join("\r\n")}\r\n\r\n${body}`);
  }
  socket.destroy(error);
}

/** Whether an earlier answer has begun, which a second one must not interrupt. Node's own handler reads the same field. */
const isAnswering = (socket: Socket & { _httpMessage?: ServerResponse | null }): boolean =>
  socket._httpMessage?.headersSent === true;

/** The error that the client gets. Logs errors of the server, except `restarting`, which belongs to every deploy. */
export function recognize(error: unknown, request: FastifyRequest): HubError {
  const known = toHubError(error);
  if (known.status >= 500 && known.code !== "restarting")
    request.log.error({ event: "http.request.failed", err: error, code: known.code }, "request failed");
  return known;
}

/** Whether a request was refused before its route ran: by a limit, or because its body is too large, incomplete or invalid. */
export const isRefusedBefore = (error: unknown): boolean =>
  error instanceof HubError ||
  (error instanceof Error && "code" in error && String(error.code).startsWith("FST_ERR_CTP_"));

function toHubError(error: unknown): HubError {
  if (error instanceof HubError) return error;
  const { code, statusCode = 500 } = error as Partial<FastifyError>;
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") return new HubError("body_too_large", undefined, { cause: error });
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE") return fieldError("body_invalid", "Content-Type", "must be JSON");
  if (statusCode >= 400 && statusCode < 500) {
    return new HubError("body_invalid", undefined, {
      cause: error,
      errors: [{ path: "body", message: "cannot be read as JSON" }],
    });
  }
  return new HubError("internal", undefined, { cause: error });
}
