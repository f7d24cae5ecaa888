/**
 * Sends the requests: with a time limit for each attempt, and again if that is safe.
 *
 * A call that may be repeated is sent again after a failed connection, a timeout, 429, 502, 503 and 504. Any other call is sent again after
 * 429 only, because the server refuses these before it does anything.
 */
import { setTimeout as wait } from "node:timers/promises";
import { answerError, TukioError, timedOut, unreachable, unreadable } from "./error.ts";

export interface CallOptions {
  /** Aborts the call, which then throws the signal's reason. */
  signal?: AbortSignal | undefined;
  /** The time limit of each attempt. Default: the client's. */
  timeoutMs?: number | undefined;
}

export interface CreateOptions extends CallOptions {
  /** Names the creation, so that a repeated request creates once. Default: a new UUID for each call. */
  idempotencyKey?: string | undefined;
}

export interface CallerOptions {
  /** The server's address, for messages. */
  url: string;
  timeoutMs: number;
  /** How often a call is sent again at most. */
  retries: number;
}

/** The options that each attempt passes to `fetch`. */
export interface Init {
  signal: AbortSignal;
}

/** One attempt, as openapi-fetch makes it. */
type Attempt<T> = (init: Init) => Promise<{ data?: T | undefined; error?: unknown; response: Response }>;

type Call = <T>(attempt: Attempt<T>, options?: CallOptions) => Promise<T>;

export interface Caller {
  /** Makes a call that may be repeated, because a second one changes nothing. */
  repeat: Call;
  /** Makes any other call. */
  once: Call;
}

/** 20 s, because a payer may wait for the call. A longer `Retry-After` is left to the caller, in the error. */
const retryAfterMsMax = 20_000;

export function createCaller({ url, timeoutMs, retries }: CallerOptions): Caller {
  const createCall =
    (isRepeatable: boolean): Call =>
    (attempt, options) =>
      send(attempt, {
        url,
        retries,
        isRepeatable,
        signal: options?.signal,
        timeoutMs: options?.timeoutMs ?? timeoutMs,
      });
  return { repeat: createCall(true), once: createCall(false) };
}

interface SendOptions extends CallerOptions {
  isRepeatable: boolean;
  signal: AbortSignal | undefined;
}

async function send<T>(attempt: Attempt<T>, options: SendOptions): Promise<T> {
  for (let failures = 0; ; failures += 1) {
    try {
      return await attemptOnce(attempt, options);
    } catch (error) {
      const delayMs = delayMsAfter(error, failures, options);
      if (delayMs === undefined) throw error;
      await pause(delayMs, options.signal);
    }
  }
}

/** The wait before the next attempt. Undefined if there is none. */
function delayMsAfter(error: unknown, failures: number, { retries, isRepeatable }: SendOptions): number | undefined {
  if (failures >= retries || !(error instanceof TukioError) || !mayRepeat(error, isRepeatable)) return undefined;
  const { retryAfterMs = backoffMs(failures, 8_000) } = error;
  return retryAfterMs > retryAfterMsMax ? undefined : retryAfterMs;
}

async function attemptOnce<T>(attempt: Attempt<T>, { url, timeoutMs, signal }: SendOptions): Promise<T> {
  const limit = AbortSignal.timeout(timeoutMs);
  try {
    const { data, error, response } = await attempt({ signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (!response.ok) throw answerError(response, error);
    if (data === undefined && response.status !== 204) throw unreadable(url);
    return data as T;
  } catch (error) {
    if (error instanceof TukioError) throw error;
    signal?.throwIfAborted();
    if (limit.aborted) throw timedOut(url, timeoutMs);
    throw asTukioError(error, url);
  }
}

/** Names a failure of `fetch`. A mistake of the program, such as a header that HTTP does not allow, stays what it is. */
export function asTukioError(error: unknown, url: string): unknown {
  if (error instanceof TukioError) return error;
  if (error instanceof SyntaxError) return unreadable(url, error);
  const isMistake =
    error instanceof TypeError && error.cause === undefined && !/^(fetch failed|terminated)$/.test(error.message);
  return isMistake ? error : unreachable(url, error);
}

function mayRepeat({ code, status }: TukioError, isRepeatable: boolean): boolean {
  if (status === 429) return true;
  if (!isRepeatable) return false;
  return status === undefined ? code !== "answer_invalid" : [502, 503, 504].includes(status);
}

/** Half to all of 0.5 s, 1 s, 2 s and so on, so that clients that failed together do not return together. */
export const backoffMs = (failures: number, maxMs: number): number =>
  Math.min(500 * 2 ** failures, maxMs) * (0.5 + Math.random() / 2);

/** Waits. Throws the signal's reason as soon as it is aborted. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await wait(ms, undefined, signal && { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  }
}
