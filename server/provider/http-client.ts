/**
 * The HTTP client for payment providers and SMS gateways. One client per process keeps connections alive; any number of calls may run at
 * once.
 *
 * Guarantees: a call ends within its deadline, which covers connecting, sending and the whole reply. The reply's size is
 * bounded. Redirects are not followed. No error contains a header, a body or a URL.
 *
 * Money depends on whether a failed request was sent. A request that never had a ready connection was not sent: connection
 * refused, no DNS, TLS refused, deadline while connecting. The call then throws `Unreachable`. A request that was handed to
 * a connection may have arrived: the call then throws `CallFailed`.
 *
 * The client retries a request once, within the same deadline, if it was not sent. It repeats no other request, because
 * only the caller knows whether a second one is harmless (G10).
 */
import { setTimeout as wait } from "node:timers/promises";
import { Agent, type Dispatcher, request } from "undici";
import { parseJson } from "../json.ts";
import { traceHeaders } from "../trace.ts";
import { secretsOf } from "./provider-text.ts";

/** The request may have arrived; its effect is unknown. */
export class CallFailed extends Error {
  /** A system error code such as `ECONNRESET`, or `deadline`. */
  readonly code: string;

  /** Has no `cause`, because an HTTP parser's error contains the received bytes. */
  constructor(message: string, code: string) {
    super(`${message}: ${code}`);
    this.name = "CallFailed";
    this.code = code;
  }
}

/** The request was not sent. */
export class Unreachable extends CallFailed {
  override readonly name = "Unreachable";
}

export interface Call {
  method: "GET" | "POST" | "PUT";
  url: string;
  headers: Record<string, string>;
  /** Sent as JSON, with its content type. */
  body?: object;
  /** Sent as a form, with its content type. Used without `body`. */
  form?: Readonly<Record<string, string>>;
  /** 10 s by default. */
  deadlineMs?: number;
  signal?: AbortSignal;
}

export interface Answer {
  status: number;
  /** The parsed JSON; undefined for an empty body, HTML, and anything else that is not JSON. */
  body: unknown;
  /** The `Retry-After` header, in seconds. */
  retryAfterS?: number;
  /** What the request sent, any of which may be a secret: the log masks it in the provider's text. */
  sent?: readonly string[];
}

export interface Client {
  /** Throws `Unreachable` when the request was not sent, `CallFailed` when it may have been. */
  call(call: Call): Promise<Answer>;
  /** Waits for the calls in flight. */
  close(): Promise<void>;
}

const defaultDeadlineMs = 10_000;

/** 4 s, because two attempts to connect must fit into the default deadline. */
const connectDeadlineMs = 4_000;

const retryDelayMs = 200;

/** 256 KiB, because providers answer with a few hundred bytes (G12). */
const answerBytesMax = 256 * 1_024;

/**
 * Connections to one provider. A call beyond them waits for one, and was not sent if its deadline comes first. 512, because
 * that is more than the queries in flight (payment/reconcile.ts): a request for money always finds a connection.
 */
const connectionsMax = 512;

export function createClient(): Client {
  const agent = new Agent({
    connections: connectionsMax,
    connect: { timeout: connectDeadlineMs },
    maxResponseSize: answerBytesMax,
    // One request at a time per connection, so that a lost connection leaves one payment unknown and not several.
    allowH2: false,
    pipelining: 1,
  });

  const exchange = async (call: Call, signal: AbortSignal): Promise<Answer> => {
    let isSent = false;
    const dispatcher = agent.compose(
      onRequestStart(() => {
        isSent = true;
      }),
    );
    const receive = async (): Promise<Answer> => {
      const { statusCode, headers, body } = await request(call.url, { ...message(call), dispatcher, signal });
      const retryAfterS = readRetryAfter(headers["retry-after"]);
      return {
        status: statusCode,
        body: readJson(await body.text()),
        sent: secretsOf(call),
        ...(retryAfterS !== undefined && { retryAfterS }),
      };
    };
    try {
      // undici checks the signal only when it has a connection, so the race ends the wait for one.
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
      return withDeadline(call.deadlineMs ?? defaultDeadlineMs, tryTwice, call.signal);
    },
    close: () => agent.close(),
  };
}

/**
 * Makes a call with a signal that aborts after `ms`, or when `outer` aborts. Removes its timer and listener when the call
 * ends: `AbortSignal.timeout` would keep a timer for each call, and `AbortSignal.any` costs as much again.
 */
async function withDeadline<T>(ms: number, call: (signal: AbortSignal) => Promise<T>, outer?: AbortSignal): Promise<T> {
  const controller = new AbortController();
  const timer = setTimeout(
    () => controller.abort(new DOMException("the call exceeded its deadline", "TimeoutError")),
    ms,
  );
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

/** Calls `onStart` when a request is handed to a ready connection: undici starts a request just before it writes it. */
const onRequestStart =
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

function message(call: Call): { method: Call["method"]; headers: Call["headers"]; body?: string } {
  const { method, headers, body, form } = call;
  const traced = { ...traceHeaders(), ...headers };
  if (form) {
    const contentType = "application/x-www-form-urlencoded";
    return { method, headers: { ...traced, "content-type": contentType }, body: new URLSearchParams(form).toString() };
  }
  if (body === undefined) return { method, headers: traced };
  return { method, headers: { ...traced, "content-type": "application/json" }, body: JSON.stringify(body) };
}

/** Reads `Retry-After` as seconds or as a date (RFC 9110, section 10.2.3). Undefined for anything else. */
function readRetryAfter(header: unknown): number | undefined {
  if (typeof header !== "string") return undefined;
  if (/^\d{1,9}$/.test(header)) return Number(header);
  const atMs = /^[A-Z][a-z]{2}, .* GMT$/.test(header) ? Date.parse(header) : Number.NaN;
  return Number.isNaN(atMs) ? undefined : Math.max(0, Math.ceil((atMs - Date.now()) / 1_000));
}

function readJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    // A failing gateway answers with HTML or without a body: its status is then the only information.
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
