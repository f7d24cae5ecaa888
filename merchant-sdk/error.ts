/** The error that every call throws. */
import type { Problem } from "./model.ts";

/** Errors without an answer of Tukio: nothing answered, nothing answered in time, or another server answered. */
export type ConnectionErrorCode = "unreachable" | "timeout" | "answer_invalid";

/** The codes of docs/api.md, and those of failed connections. New codes may be added. */
export type ErrorCode = Problem["code"] | ConnectionErrorCode;

interface Details {
  code: ErrorCode;
  title: string;
  detail: string;
  status?: number | undefined;
  retryable?: boolean;
  retryAfterMs?: number | undefined;
  problem?: Partial<Problem>;
  cause?: unknown;
}

/** A call that failed. It never contains the API key. `signal` is the exception: an aborted call throws the signal's reason. */
export class TukioError extends Error {
  /** For programs; the codes are stable. */
  readonly code: ErrorCode;
  /** The HTTP status. Undefined if nothing answered. */
  readonly status: number | undefined;
  /** The meaning of the code. */
  readonly title: string;
  /** The fault of this call, for people; the text may change. The same as `message`. */
  readonly detail: string;
  /** Whether the same call may succeed later. */
  readonly retryable: boolean;
  /** When to try again, if the server said so. */
  readonly retryAfterMs: number | undefined;
  /** Every wrong field of the request. */
  readonly errors: readonly { path: string; message: string }[];
  /** The first wrong field, dotted, as in `customer.email`. */
  readonly field: string | undefined;
  /** The order's state, for codes such as `order_paid`. */
  readonly order: Problem["order"];

  constructor({ code, title, detail, status, retryable = false, retryAfterMs, problem = {}, cause }: Details) {
    super(detail, cause === undefined ? {} : { cause });
    this.name = "TukioError";
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.status = status;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.errors = problem.errors ?? [];
    this.field = this.errors[0]?.path;
    this.order = problem.order;
  }
}

/** The error of an answer that is no success. `body` is the parsed JSON, or text. */
export function answerError(response: Response, body: unknown): TukioError {
  const { status } = response;
  const retryAfterMs = readRetryAfter(response.headers.get("retry-after"));
  if (isProblem(body)) {
    const isKeyRefused = body.code === "token_invalid" || body.code === "key_invalid";
    const { code, title, detail, retryable } = isKeyRefused ? { ...body, ...keyRefused } : body;
    return new TukioError({ code, title, detail, status, retryable, retryAfterMs, problem: body });
  }
  // A proxy's own answer, or another server's.
  const retryable = [429, 502, 503, 504].includes(status);
  return new TukioError({
    code: "answer_invalid",
    title: "The answer is not Tukio's",
    detail: `${response.url || "the server"} answered ${status}, but not in Tukio's format: check the URL, and the proxies before it`,
    status,
    retryable,
    retryAfterMs,
  });
}

/** The error of a success that cannot be read. */
export const unreadable = (url: string, cause?: unknown): TukioError =>
  new TukioError({
    code: "answer_invalid",
    title: "The answer is not Tukio's",
    detail: `${url} answered something other than Tukio's API: check the URL, and the proxies before it`,
    cause,
  });

export const timedOut = (url: string, timeoutMs: number): TukioError =>
  new TukioError({
    code: "timeout",
    title: "No answer arrived in time",
    detail: `${url} did not answer within ${timeoutMs / 1_000} s`,
    retryable: true,
  });

export const unreachable = (url: string, cause: unknown): TukioError =>
  new TukioError({
    code: "unreachable",
    title: "The server cannot be reached",
    detail: `${url} cannot be reached: ${reasonOf(cause)}`,
    retryable: true,
    cause,
  });

/**
 * One text for a refused key. Calls that accept a watch token too report a wrong key as a wrong token, and the server's text explains a
 * header that this client sets itself.
 */
const keyRefused = {
  code: "key_invalid",
  title: "The API key is missing or wrong",
  detail: "The API key is wrong",
} as const;

const isProblem = (body: unknown): body is Problem =>
  typeof body === "object" &&
  body !== null &&
  "code" in body &&
  typeof body.code === "string" &&
  "detail" in body &&
  typeof body.detail === "string";

/** Reads `Retry-After`: seconds or a date. */
export function readRetryAfter(value: string | null): number | undefined {
  if (value === null) return undefined;
  const ms = /^\d+$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - Date.now();
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "the connection was refused",
  ECONNRESET: "the connection was reset",
  ENOTFOUND: "its name has no address",
  EAI_AGAIN: "its name could not be looked up",
  ERR_SSL_WRONG_VERSION_NUMBER: "it does not speak TLS. Does its address begin with http://?",
};

/** `fetch` wraps the reason in an error that says only that it failed. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = "code" in error && typeof error.code === "string" ? error.code : "";
  if (reasons[code]) return reasons[code];
  if (error.cause instanceof Error) return reasonOf(error.cause);
  return error.message || code || error.name;
}
