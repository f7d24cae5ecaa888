/**
 * What the HTTP status of a provider's answer says, before its fields are read. Decided by class, because providers add
 * codes without notice; adapters list exceptions only.
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import type { Answer } from "./client.ts";

/** A time-out, and clashes with an earlier copy of the request: the payer may be asked all the same. */
const ambiguous: ReadonlySet<number> = new Set([408, 409, 425, 499]);

/**
 * Whether the status refuses the request, where the body is the provider's own form of an error. Not for a status that
 * leaves open whether the payer is asked: time-outs, clashes with an earlier request, and anything from 500.
 */
export const isRefusalStatus = (status: number): boolean => status >= 400 && status < 500 && !ambiguous.has(status);

/** Words of an error that leave open whether the payer is asked, whatever its status: a time-out, or an earlier copy of the request. */
export const leavesOpen = (text: string): boolean => /time[ds]?[ _-]?out|in time|duplicate|already/i.test(text);

/** Not let in, no such route, method, length, size, type, or too many: answered in front of the API, often as HTML. */
const turnedAway: ReadonlySet<number> = new Set([401, 403, 404, 405, 411, 413, 414, 415, 429, 431]);

/** Whether a firewall, a gateway or a router answered instead of the API, so that nothing was asked for. Any body will do. */
export const isTurnedAway = ({ status }: Answer): boolean => turnedAway.has(status);

/** Apigee's own form of an error (docs.apigee.com, "Fault handling"), such as Safaricom's gateway answers with. */
const apigeeFault = z.object({
  fault: z.object({
    faultstring: z.string().catch(""),
    detail: z.object({ errorcode: z.string().catch("") }).catch({ errorcode: "" }),
  }),
});

/** The error code of such an answer, for example `policies.ratelimit.SpikeArrestViolation`; "" where it has none. */
export const apigeeCodeOf = (body: unknown): string | undefined =>
  apigeeFault.safeParse(body).data?.fault.detail.errorcode;

/** The provider does not answer now because it was asked too often. The request had no effect. */
export class Throttled extends Error {
  /** How long the provider wants to be left alone, in seconds, if it says so. */
  readonly retryAfterS?: number;

  constructor(provider: string, { status, retryAfterS }: Answer) {
    super(`${provider} was asked too often (HTTP ${status})`);
    this.name = "Throttled";
    if (retryAfterS !== undefined) this.retryAfterS = retryAfterS;
  }
}

/** By status 429, by `Retry-After` beside an error, or by the gateway's own word for a spike arrest or a quota. */
export const isThrottled = ({ status, body, retryAfterS }: Answer): boolean =>
  status === 429 ||
  (retryAfterS !== undefined && status >= 400) ||
  apigeeCodeOf(body)?.startsWith("policies.ratelimit.") === true;

/**
 * The body of an answer to a query. Throws `Throttled` when the provider was asked too often, and `HubError`
 * `provider_unavailable` when it did not answer the question: not let in, no JSON, or an error of its own.
 */
export function requireAnswer(provider: string, answer: Answer): unknown {
  if (isThrottled(answer)) throw new Throttled(provider, answer);
  const { status, body } = answer;
  if (body === undefined || status >= 500 || status === 401 || status === 403) {
    throw new HubError("provider_unavailable", `${provider} could not be asked (HTTP ${status})`);
  }
  return body;
}
