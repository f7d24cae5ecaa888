/**
 * Answers every failure as problem+json, or as a page to a person whose browser opens the address. An unexpected error is
 * logged with its stack and answered as `internal`.
 */
import { type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, fieldError, HubError, toProblem } from "../errors.ts";
import { acceptsPage, languageOf } from "./accept.ts";
import { errorPage, errorPagePolicy } from "./error-page.ts";

/** Answers with the error's problem and headers, and with `Retry-After` when a retry may succeed. */
export function sendProblem(reply: FastifyReply, error: HubError): FastifyReply {
  const { headers, retryAfterS } = error.details;
  if (headers) reply.headers(headers);
  if (retryAfterS !== undefined) reply.header("retry-after", retryAfterS);
  if (error.status === 401 && error.code !== "webhook_rejected") reply.header("www-authenticate", "Bearer");
  reply.code(error.status);
  varyByAccept(reply);
  if (acceptsPage(reply.request)) return sendErrorPage(reply, error);
  return reply.type("application/problem+json").send(toProblem(error));
}

/** A cache must not answer a program with a page or a reader with a problem, nor keep the answer to an address that may exist later. */
function varyByAccept(reply: FastifyReply): void {
  // A webhook's answer is never a page, and nobody caches it.
  if (reply.request.routeOptions.config?.secure === false) return;
  const vary = reply.getHeader("vary");
  reply.header("vary", vary === undefined ? "Accept" : `${vary}, Accept`);
  if (!reply.hasHeader("cache-control")) reply.header("cache-control", "no-store");
}

function sendErrorPage(reply: FastifyReply, error: HubError): FastifyReply {
  const { headers, id: requestId } = reply.request;
  const language = languageOf(headers["accept-language"]);
  return reply
    .headers({
      "content-security-policy": errorPagePolicy,
      "referrer-policy": "no-referrer",
      // A cache must not answer a reader in another one's language.
      "cache-control": "no-store",
      "content-language": language,
    })
    .type("text/html; charset=utf-8")
    .send(errorPage(error, { language, requestId }));
}

/** `isRoute`: whether a URL's path has a route; a path that lacks one only because of a slash at its end is then explained. */
export function handleErrors(app: FastifyInstance, isRoute: (url: string) => boolean = () => false): void {
  app.setErrorHandler((error: unknown, request, reply) => sendProblem(reply, recognize(error, request)));
  app.setNotFoundHandler((request, reply) => {
    const [path = "", query] = (request.raw.url ?? "").split(/\?(.*)/s, 2);
    const isSlashed = path.endsWith("/") && isRoute(path.slice(0, -1));
    if (!isSlashed) return sendProblem(reply, new HubError("route_unknown"));
    // For a program the paths are strict, because in `/v1/orders/` with a missing id the list would be a wrong answer.
    if (request.method !== "GET" || !acceptsPage(request)) return sendProblem(reply, slashed());
    const location = `../${path.split("/").at(-2)}${query === undefined ? "" : `?${query}`}`;
    varyByAccept(reply);
    return reply.redirect(location, 307);
  });
}

const slashed = (): HubError =>
  new HubError(
    "route_unknown",
    "There is no route at this URL. Remove the slash at its end, or add the id that is missing",
  );

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

/**
 * The error that the client gets. Logs errors of the server, except `restarting`, which belongs to every deploy, and `not_ready`,
 * whose cause is logged once.
 */
export function recognize(error: unknown, request: FastifyRequest): HubError {
  const known = toHubError(error);
  if (known.status >= 500 && known.code !== "restarting" && known.code !== "not_ready")
    request.log.error({ event: "http.request.failed", err: error, code: known.code }, "request failed");
  return known;
}

/** Whether a request was refused before its route ran: by a limit, or because its body is too large, incomplete or invalid. */
export const isRefusedBefore = (error: unknown): boolean =>
  error instanceof HubError ||
  (error instanceof Error && "code" in error && String(error.code).startsWith("FST_ERR_CTP_"));

/** Fastify's error for a body that is not JSON, with the place of the fault. */
export interface ParseFault {
  fault?: string;
}

function toHubError(error: unknown): HubError {
  if (error instanceof HubError) return error;
  const { code, statusCode = 500, fault = "cannot be read as JSON" } = error as Partial<FastifyError & ParseFault>;
  if (code === "FST_ERR_CTP_BODY_TOO_LARGE") return new HubError("body_too_large", undefined, { cause: error });
  if (code === "FST_ERR_CTP_INVALID_MEDIA_TYPE")
    return fieldError("body_invalid", "Content-Type", "must be application/json");
  if (code === "FST_ERR_CTP_INVALID_CONTENT_LENGTH") {
    return fieldError("body_invalid", "body", "is not as long as Content-Length states");
  }
  if (statusCode >= 400 && statusCode < 500) {
    return new HubError("body_invalid", `body: ${fault}`, {
      cause: error,
      errors: [{ path: "body", message: fault }],
    });
  }
  return new HubError("internal", undefined, { cause: error });
}
