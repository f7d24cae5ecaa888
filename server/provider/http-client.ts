/**
 * HTTP to payment providers. One client per process keeps connections alive; any number of calls may run at once.
 *
 * Guarantees: a call ends within its deadline, which covers connecting, sending and the whole reply; the reply is
 * bounded; redirects are never followed; no error carries a header, a body or a URL.
 *
 * What happened to a failed call is the one thing callers must know, as money hangs on it. A request whose connection was
 * never ready has surely not been sent (refused, no DNS, TLS refused, out of time while connecting): `Unreachable`. From
 * the moment it is handed to a connection it may have arrived: `CallFailed`.
 *
 * The retry rule: a request that was surely never sent is tried once more, within the same deadline. Nothing else
 * is ever repeated here, for only the caller knows whether asking twice is harmless.
 */
import { setTimeout as wait } from "node:timers/promises";
import { Agent, type Dispatcher, request } from "undici";
import { traceHeaders } from "../trace.ts";

/** The request may have arrived, and what became of it is unknown. */
export class CallFailed extends Error {
  /** What went wrong, such as `ECONNRESET` or `deadline`. */
  readonly code: string;

  /** Has no `cause`: an HTTP parser's error carries the bytes that it stumbled over. */
  constructor(message: string, code: string) {
    super(`${message}: ${code}`);
    this.name = "CallFailed";
    this.code = code;
  }
}

/** The request was surely never sent. */
export class Unreachable extends CallFailed {
  override readonly name = "Unreachable";
}

export interface Call {
  method: "GET" | "POST" | "PUT";
  url: string;
  headers: Record<string, string>;
  /** Sent as JSON, with its content type. */
  body?: object;
  /** 10 s by default: what a request for money may take. */
  deadlineMs?: number;
  signal?: AbortSignal;
}

export interface Answer {
  status: number;
  /** The parsed JSON; undefined when the body is empty, HTML or otherwise not JSON. */
  body: unknown;
  /** The `Retry-After` header, in seconds. */
  retryAfterS?: number;
}

export interface Client {
  /** Throws `Unreachable` when the request was surely never sent, `CallFailed` when that is unknown. */
  call(call: Call): Promise<Answer>;
  /** Waits for the calls under way. */
  close(): Promise<void>;
}

const defaultDeadlineMs = 10_000;

/** Leaves room within the default deadline to try again. */
const connectDeadlineMs = 4_000;

const retryDelayMs = 200;

/** Providers answer with a few hundred bytes. */
const answerBytesMax = 256 * 1_024;

/**
 * Connections to one provider. Calls beyond this wait for one, and count as never sent if their deadline comes first. More
 * than queries in flight (payment/reconcile.ts), so that requests for money find one.
 */
const connectionsMax = 512;

export function createClient(): Client {
  const agent = new Agent({
    connections: connectionsMax,
    connect: { timeout: connectDeadlineMs },
    maxResponseSize: answerBytesMax,
    // One exchange per connection: a lost connection leaves one payment unknown, not all of those that shared it.
    allowH2: false,
    pipelining: 1,
  });

  const exchange = async (call: Call, signal: AbortSignal): Promise<Answer> => {
    let isSent = false;
    const dispatcher = agent.compose(
      noticeStart(() => {
        isSent = true;
      }),
    );
    const receive = async (): Promise<Answer> => {
      const { statusCode, headers, body } = await request(call.url, { ...message(call), dispatcher, signal });
      const retryAfterS = readRetryAfter(headers["retry-after"]);
      return {
        status: statusCode,
        body: parseJson(await body.text()),
        ...(retryAfterS !== undefined && { retryAfterS }),
      };
    };
    try {
      // undici heeds the signal only once it has a connection, and then sends nothing.
      return await Promise.race([receive(), aborted(signal)]);
    } catch (error) {
      const what = `${call.method} ${hostOf(call.url)}`;
      throw isSent ? new CallFailed(what, codeOf(error)) : new Unreachable(what, codeOf(error));
    }
  };

  return {
    call(call) {
      const tryTwice = async (signal: AbortSignal): Promise<Answer> => {
        try {
          return await exchange(call, signal);
        } catch (error) {
          if (!(error instanceof Unreachable)) throw error;
          await wait(retryDelayMs, undefined, { signal }).catch(() => {
            throw error;
          });
          return exchange(call, signal);
        }
      };
      return within(call.deadlineMs ?? defaultDeadlineMs, tryTwice, call.signal);
    },
    close: () => agent.close(),
  };
}

/**
 * Makes a call with a signal that aborts after so long, or with `outer`. Nothing stays behind when it has ended: the timer of
 * `AbortSignal.timeout` would go off later, for every call, and `AbortSignal.any` costs as much again.
 */
async function within<T>(ms: number, call: (signal: AbortSignal) => Promise<T>, outer?: AbortSignal): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DOMException("It took too long", "TimeoutError")), ms);
  const abort = (): void => controller.abort(outer?.reason);
  outer?.addEventListener("abort", abort);
  if (outer?.aborted) abort();
  try {
    return await call(controller.signal);
  } finally {
    clearTimeout(timer);
    outer?.removeEventListener("abort", abort);
  }
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

/** Tells when a request is handed to a connection that is ready: undici starts a request just before writing it. */
const noticeStart =
  (onStart: () => void): Dispatcher.DispatcherComposeInterceptor =>
  (dispatch) =>
  (options, handler) => {
    const start = handler.onRequestStart?.bind(handler);
    handler.onRequestStart = (controller, context) => {
      onStart();
      start?.(controller, context);
    };
    return dispatch(options, handler);
  };

function message({ method, headers, body }: Call): { method: Call["method"]; headers: Call["headers"]; body?: string } {
  const traced = { ...traceHeaders(), ...headers };
  if (body === undefined) return { method, headers: traced };
  return { method, headers: { ...traced, "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** Seconds, or a date (RFC 9110). Undefined for anything else. */
function readRetryAfter(header: unknown): number | undefined {
  if (typeof header !== "string") return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header);
  const atMs = /^[A-Z][a-z]{2}, .* GMT$/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, Math.ceil((atMs - Date.now()) / 1_000));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // Gateways answer with HTML or nothing when they fail: the status then says all there is.
    return undefined;
  }
}

const hostOf = (url: string): string => (URL.canParse(url) ? new URL(url).host : "invalid URL");

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown";
  if (error.name === "TimeoutError") return "deadline";
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === "string" ? code : error.name;
}
