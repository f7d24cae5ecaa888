/** Errors in a provider's own format, and the parsing of request bodies, for the sandboxes. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { HubError } from "../errors.ts";
import { isRefusedBefore } from "../http/problem.ts";
import { parseJson } from "../json.ts";

/** An error answer. Without `body` the answer has no body. */
export class Fault extends Error {
  readonly status: number;
  readonly body: object | undefined;

  constructor(status: number, body?: object) {
    super(JSON.stringify(body));
    this.name = "Fault";
    this.status = status;
    this.body = body;
  }
}

/** The provider's answers to errors that every server has. */
export interface UsualFaults {
  notFound: () => Fault;
  /** For an unexpected error, which is logged. */
  internal: () => Fault;
  /** For a body that Fastify refuses to parse. By default the node's own answer. */
  unreadable?: () => Fault;
}

/** Sets the error handlers. Call it once in the scope of a provider's sandbox. */
export function handleFaults(app: FastifyInstance, { notFound, internal, unreadable }: UsualFaults): void {
  const answer = (reply: FastifyReply, { status, body }: Fault): FastifyReply => reply.code(status).send(body);
  app.setNotFoundHandler((_request, reply) => answer(reply, notFound()));
  app.setErrorHandler((error: unknown, request, reply) => {
    if (error instanceof Fault) return answer(reply, error);
    if (unreadable && !(error instanceof HubError) && isClientError(error)) return answer(reply, unreadable());
    if (isRefusedBefore(error)) throw error;
    request.log.error({ event: "sandbox.request.failed", err: error }, "a sandbox failed to answer a request");
    return answer(reply, internal());
  });
}

const isClientError = (error: unknown): boolean =>
  error instanceof Error && "statusCode" in error && Number(error.statusCode) < 500;

/** Parses each body as JSON. The body is undefined if it is not JSON, or if `isRead` rejects its content type. */
export function parseEveryBodyAsJson(
  app: FastifyInstance,
  isRead: (contentType: string) => boolean = () => true,
): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, ({ headers }, text, done) => {
    done(null, isRead(headers["content-type"] ?? "") ? readJsonText(String(text)) : undefined);
  });
}

/** Undefined for text that is not JSON. */
export function readJsonText(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
