/**
 * Classifies a provider's answer by its HTTP status. It decides by class, because providers add error codes without notice;
 * an adapter lists exceptions only.
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import { type Answer, Unreachable } from "./http-client.ts";
import { Declined } from "./provider.ts";

/** Timeouts, and conflicts with an earlier copy of the request: the payer may have a prompt nevertheless. */
const ambiguous: ReadonlySet<number> = new Set([408, 409, 425, 499]);

const isClientError = (status: number): boolean => status >= 400 && status < 500 && !ambiguous.has(status);

/**
 * Statuses that a gateway or router answers with before the API sees the request, often as HTML: unauthorized, wrong route,
 * method, length, size or type, too many requests.
 */
const gatewayStatuses: ReadonlySet<number> = new Set([401, 403, 404, 405, 411, 413, 414, 415, 429, 431]);

/** Words in an error that mean a timeout or an earlier copy of the request: the payer may have a prompt nevertheless. */
const ambiguousWords = /time[ds]?[ _-]?out|in time|duplicate|already/i;

/**
 * Whether an answer to a request for money certainly refuses it, so that no payer has a prompt. It does if it is a 4xx in the
 * provider's own error format (`isOwnError`), or an answer of a firewall, gateway or router in front of the API in any
 * format. A status from 500, a timeout and a duplicate do not.
 */
export const isRefused = ({ status, body }: Answer, isOwnError: boolean): boolean =>
  (gatewayStatuses.has(status) || (isOwnError && isClientError(status))) &&
  !ambiguousWords.test(JSON.stringify(body) ?? "");

const errorTexts = z.record(z.string(), z.unknown());

/** Whether a body is an object with an error text under any common name. */
export function hasErrorText(body: unknown): boolean {
  const fields = errorTexts.safeParse(body).data ?? {};
  return Object.entries(fields).some(
    ([name, value]) => /error|message|detail|code|reason/i.test(name) && /\S/.test(JSON.stringify(value) ?? ""),
  );
}

/** Apigee's error format (docs.apigee.com, "Fault handling"), which Safaricom's gateway uses. */
const apigeeFault = z.object({
  fault: z.object({
    faultstring: z.string().catch(""),
    detail: z.object({ errorcode: z.string().catch("") }).catch({ errorcode: "" }),
  }),
});

/** Apigee's error code, for example `policies.ratelimit.SpikeArrestViolation`; "" for a fault without one. */
export const apigeeCodeOf = (body: unknown): string | undefined =>
  apigeeFault.safeParse(body).data?.fault.detail.errorcode;

/** Whether it is Apigee's error for a spike arrest or an exhausted quota. Both come before the API, with any status. */
export const isApigeeLimit = (body: unknown): boolean => apigeeCodeOf(body)?.startsWith("policies.ratelimit.") === true;

/** The provider refused to answer because of too many requests. The request had no effect. */
export class Throttled extends Error {
  /** The pause that the provider asks for, in seconds, if it states one. */
  readonly retryAfterS?: number;

  constructor(provider: string, { status, retryAfterS }: Answer) {
    super(`${provider} received too many requests (HTTP ${status})`);
    this.name = "Throttled";
    if (retryAfterS !== undefined) this.retryAfterS = retryAfterS;
  }
}

/** Status 429, an error with `Retry-After`, or the gateway's error for a spike arrest or an exhausted quota. */
export const isThrottled = ({ status, body, retryAfterS }: Answer): boolean =>
  status === 429 || (retryAfterS !== undefined && status >= 400) || isApigeeLimit(body);

/**
 * Returns the body of an answer to a query. Throws `Throttled` after too many requests, and `HubError`
 * `provider_unavailable` if the provider did not answer the query: unauthorized, no JSON, or a status from 500.
 */
export function requireAnswer(provider: string, answer: Answer): unknown {
  if (isThrottled(answer)) throw new Throttled(provider, answer);
  const { status, body } = answer;
  if (body === undefined || status >= 500 || status === 401 || status === 403) {
    throw new HubError("provider_unavailable", `${provider} did not answer the query (HTTP ${status})`);
  }
  return body;
}

/** For a failed request for money: throws `Declined` if it was not sent, so that the payer may try again; else rethrows. */
export function declineUnreachable(error: unknown): never {
  if (error instanceof Unreachable) throw new Declined("provider_error", error.message, error);
  throw error;
}
