/**
 * Reads the HTTP status of a provider's answer before its fields. It decides by class, because providers add
 * codes without notice; adapters list exceptions only.
 */
import { z } from "zod";
import { HubError } from "../errors.ts";
import { type Answer, Unreachable } from "./http-client.ts";
import { Declined } from "./provider.ts";

/** A time-out, and clashes with an earlier copy of the request: the payer may be asked all the same. */
const ambiguous: ReadonlySet<number> = new Set([408, 409, 425, 499]);

const isClientError = (status: number): boolean => status >= 400 && status < 500 && !ambiguous.has(status);

/** Not let in, no such route, method, length, size, type, or too many: answered in front of the API, often as HTML. */
const turnedAway: ReadonlySet<number> = new Set([401, 403, 404, 405, 411, 413, 414, 415, 429, 431]);

/** Words of an error that leave open whether the payer is asked: a time-out, or an earlier copy of the request. */
const openWords = /time[ds]?[ _-]?out|in time|duplicate|already/i;

/**
 * Whether an answer to a request for money surely refuses it, so that nobody was prompted: a 4xx in the provider's own form
 * of an error (`isOwnError`), or an answer of a firewall, gateway or router in front of the API, in whatever form. Not a
 * status or an error that leaves open whether the payer is asked, and nothing from 500.
 */
export const isRefused = ({ status, body }: Answer, isOwnError: boolean): boolean =>
  (turnedAway.has(status) || (isOwnError && isClientError(status))) && !openWords.test(JSON.stringify(body) ?? "");

const errorTexts = z.record(z.string(), z.unknown());

/** Whether a body is an object with an error's text in it, under any of the names in use. */
export function hasErrorText(body: unknown): boolean {
  const fields = errorTexts.safeParse(body).data ?? {};
  return Object.entries(fields).some(
    ([name, value]) => /error|message|detail|code|reason/i.test(name) && /\S/.test(JSON.stringify(value) ?? ""),
  );
}

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

/** Whether it is Apigee's error for a spike arrest or a used-up quota, which come before the API whatever the status. */
export const isApigeeLimit = (body: unknown): boolean => apigeeCodeOf(body)?.startsWith("policies.ratelimit.") === true;

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
  status === 429 || (retryAfterS !== undefined && status >= 400) || isApigeeLimit(body);

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

/** Handles a rejected request for money: throws `Declined` if it was not sent, so that the payer may try again; else rethrows. */
export function declineUnreachable(error: unknown): never {
  if (error instanceof Unreachable) throw new Declined("provider_error", error.message, error);
  throw error;
}
