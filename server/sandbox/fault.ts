/** How a provider's server answers what it will not do, in the provider's own form, and how it reads bodies. */
import type { FastifyInstance, FastifyReply } from "fastify";
import { HubError } from "../errors.ts";
import { isRefusedBefore } from "../http/problem.ts";
import { parseJson } from "../json.ts";

/** An answer other than what was asked for. Without `body` it has none. */
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

export interface UsualFaults {
  notFound: () => Fault;
  /** For an error of ours, which is logged. */
  internal: () => Fault;
  /** For a body that Fastify refuses to read. The hub's own answer by default. */
  unreadable?: () => Fault;
}

/** To be called once in the scope of a provider's server. */
export function answerFaults(app: FastifyInstance, { notFound, internal, unreadable }: UsualFaults): void {
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

/** Reads every body as JSON, whatever its type. What is no JSON, or has a type that `isRead` denies, has no fields. */
export function readJson(app: FastifyInstance, isRead: (contentType: string) => boolean = () => true): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "string" }, ({ headers }, text, done) => {
    done(null, isRead(headers["content-type"] ?? "") ? readJsonText(String(text)) : undefined);
  });
}

/** Undefined for what is no JSON. */
export function readJsonText(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return undefined;
  }
}
