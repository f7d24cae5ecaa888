import type { StatusEvent } from "../client-sdk/protocol.ts";

/**
 * The table of errors: the HTTP status of each code, whether a client may retry the same request, and a title. docs/api.md
 * lists the same, and a test compares the two. The OpenAPI document is made from this table.
 */
export const errorTable = {
  amount_invalid: { status: 400, retryable: false, title: "The amount cannot be requested" },
  currency_invalid: { status: 400, retryable: false, title: "The provider does not accept this currency" },
  phone_invalid: { status: 400, retryable: false, title: "The phone number is invalid or cannot be prompted" },
  body_invalid: { status: 400, retryable: false, title: "The request cannot be read" },
  webhook_unreadable: { status: 400, retryable: false, title: "The webhook cannot be read" },
  key_invalid: { status: 401, retryable: false, title: "The API key is missing or wrong" },
  token_invalid: { status: 401, retryable: false, title: "The watch token is not valid for this order" },
  token_expired: { status: 401, retryable: false, title: "The watch token has expired" },
  webhook_rejected: { status: 401, retryable: false, title: "The webhook's secret or signature is wrong" },
  origin_refused: { status: 403, retryable: false, title: "Pages of this origin may not call this node" },
  scope_missing: { status: 403, retryable: false, title: "The API key lacks the scope that this needs" },
  order_unknown: { status: 404, retryable: false, title: "There is no such order" },
  payment_unknown: { status: 404, retryable: false, title: "The order has no such payment" },
  result_unknown: { status: 404, retryable: false, title: "The order has no such result" },
  provider_unknown: { status: 404, retryable: false, title: "There is no such provider" },
  payment_link_unknown: { status: 404, retryable: false, title: "There is no such payment link" },
  notification_unknown: {
    status: 404,
    retryable: false,
    title: "There is no such notification, or it is not configured",
  },
  plan_unknown: { status: 404, retryable: false, title: "There is no such plan" },
  endpoint_unknown: { status: 404, retryable: false, title: "There is no such endpoint" },
  key_unknown: { status: 404, retryable: false, title: "There is no such API key" },
  webhook_unknown: { status: 404, retryable: false, title: "There is no such webhook" },
  route_unknown: { status: 404, retryable: false, title: "There is no route at this URL" },
  method_not_allowed: { status: 405, retryable: false, title: "The URL does not accept this method" },
  request_timeout: { status: 408, retryable: true, title: "The request did not arrive in time; try again later" },
  payment_in_progress: { status: 409, retryable: false, title: "A payment of this order is in progress" },
  order_paid: { status: 409, retryable: false, title: "The order is paid" },
  order_unpaid: { status: 409, retryable: false, title: "The order is not paid" },
  recipient_missing: { status: 409, retryable: false, title: "The order has no address or phone to send to" },
  order_in_review: { status: 409, retryable: false, title: "The order waits for a person's decision" },
  not_in_review: { status: 409, retryable: false, title: "The payment does not wait for a decision" },
  not_askable: { status: 409, retryable: false, title: "The provider cannot be asked about the payment" },
  webhook_settled: { status: 409, retryable: false, title: "The webhook is not unmatched" },
  secret_unreadable: { status: 409, retryable: false, title: "The endpoint's secret cannot be decrypted; replace it" },
  secret_configured: {
    status: 409,
    retryable: false,
    title: "The endpoint has the secret of ENDPOINT_SECRET; change it there",
  },
  payment_link_closed: { status: 409, retryable: false, title: "The payment link is paid, cancelled or expired" },
  plan_exists: { status: 409, retryable: false, title: "There is a plan with this id" },
  plan_closed: { status: 409, retryable: false, title: "The plan is completed or cancelled" },
  credit_exceeded: { status: 409, retryable: false, title: "The customer would owe more than PLAN_CREDIT_MAX_MINOR" },
  endpoint_limit: { status: 409, retryable: false, title: "There are as many endpoints as are allowed" },
  key_limit: { status: 409, retryable: false, title: "There are as many API keys as are allowed" },
  order_mismatch: {
    status: 409,
    retryable: false,
    title: "The order has another amount, currency or items, or its id belongs to a payment link",
  },
  body_too_large: { status: 413, retryable: false, title: "The request is too large" },
  idempotency_mismatch: { status: 422, retryable: false, title: "The idempotency key was used with another body" },
  upgrade_required: { status: 426, retryable: false, title: "The URL accepts WebSockets only" },
  rate_limited: { status: 429, retryable: true, title: "Too many requests; try again later" },
  headers_too_large: { status: 431, retryable: false, title: "The URL and headers of the request are too large" },
  internal: { status: 500, retryable: true, title: "The node failed; try again later" },
  not_ready: { status: 503, retryable: true, title: "This node is not ready; try again later" },
  provider_unavailable: {
    status: 503,
    retryable: true,
    title: "The payment provider cannot be reached; try again later",
  },
  restarting: { status: 503, retryable: true, title: "This node is shutting down; try again later" },
  store_unavailable: { status: 503, retryable: true, title: "The database cannot be reached; try again later" },
} as const satisfies Record<string, { status: number; retryable: boolean; title: string }>;

export type ErrorCode = keyof typeof errorTable;

/** A wrong field of the request. `path` is dotted, as in `customer.email`. */
export interface FieldError {
  path: string;
  message: string;
}

/** RFC 9457 problem details, sent as `application/problem+json`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  code: ErrorCode;
  retryable: boolean;
  errors?: FieldError[];
  order?: StatusEvent;
}

interface HubErrorDetails {
  cause?: unknown;
  /** Headers that the response must have. */
  headers?: Readonly<Record<string, string>>;
  errors?: FieldError[];
  order?: StatusEvent;
  retryAfterS?: number;
}

/** An operating error: a failure that is expected to happen, with a code that clients can act on. */
export class HubError extends Error {
  readonly code: ErrorCode;
  readonly details: HubErrorDetails;

  constructor(code: ErrorCode, detail: string = errorTable[code].title, details: HubErrorDetails = {}) {
    super(detail, details.cause === undefined ? {} : { cause: details.cause });
    this.name = "HubError";
    this.code = code;
    this.details = details;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

/** The secrets of this node conflict with those of a node that served first, or have not been compared yet. */
export const notReady = (): HubError =>
  new HubError("not_ready", "The secrets of this node may conflict with those of another one; see /readyz", {
    retryAfterS: 1,
  });

/** The problem details of an error. They never contain a stack trace, or a message of a provider or the database. */
export function toProblem(error: HubError): Problem {
  const { status, retryable, title } = errorTable[error.code];
  const { errors, order } = error.details;
  return {
    type: `urn:tukio:problem:${error.code}`,
    title,
    status,
    detail: error.message,
    code: error.code,
    retryable,
    ...(errors && { errors }),
    ...(order && { order }),
  };
}

/** One field of the request is wrong. */
export function fieldError(code: ErrorCode, path: string, message: string): HubError {
  return new HubError(code, `${path}: ${message}`, { errors: [{ path, message }] });
}
