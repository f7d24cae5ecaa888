/**
 * A transport is one way to reach the server. It delivers what arrives and reports how its link ended. The watch decides
 * when to reconnect, with which transport and which token.
 *
 * A transport may deliver a state twice or late, because versions make that harmless. It must not lose a state between
 * `onOpen` and the end of the link.
 */
import { readRetryAfter } from "../backoff.ts";
import type { Position } from "../protocol.ts";

/** The order to watch, and the version to continue from. */
export interface Target {
  /** The server's address, without a final slash. */
  url: string;
  orderId: string;
  token: string;
  /** The last state seen; 0 for none. */
  after: Position;
}

/** Receives what a transport reports. */
export interface LinkListener {
  /** Optional: the server answered, but has not accepted the token yet. The watch then starts no other transport beside this one. */
  onReached?: (() => void) | undefined;
  /** The server accepted the token. The transport may call this again whenever the link shows life. */
  onOpen(): void;
  /** Data arrived that should be a state. The watch validates it. */
  onEvent(event: unknown): void;
}

export interface Transport {
  /** Shown in `snapshot().transport`. */
  readonly name: string;
  /**
   * Keeps one link and resolves when it drops. Rejects with a `Refusal` if the server refuses the token or the order, with
   * `ComeBack` if the server is busy, and with any other error if no link opened, so that the watch tries the next
   * transport. Ends soon after `signal` is aborted and releases everything.
   */
  run(target: Target, listener: LinkListener, signal: AbortSignal): Promise<void>;
}

/** The reasons for which a server refuses a watcher. `route_unknown`: the address is not the server's, but one below it. */
export type RefusalCode = "token_invalid" | "token_expired" | "order_unknown" | "route_unknown";

/** The server refused this token or this order. Throw it from a transport. */
export class Refusal extends Error {
  declare readonly code: RefusalCode;

  constructor(code: RefusalCode) {
    super(code);
    this.name = "Refusal";
    this.code = code;
  }
}

/** The server is busy. The watch tries again, after at least `retryAfterMs`. Throw it from a transport. */
export class ComeBack extends Error {
  declare readonly retryAfterMs: number;

  constructor(retryAfterMs = 0) {
    super("The server is busy");
    this.name = "ComeBack";
    this.retryAfterMs = retryAfterMs;
  }
}

const refusalCodes: readonly unknown[] = [
  "token_invalid",
  "token_expired",
  "order_unknown",
  "route_unknown",
] satisfies RefusalCode[];

/** Turns a problem code into a `Refusal`. Returns undefined for any other code. */
export const refusalOf = (code: unknown): Refusal | undefined =>
  refusalCodes.includes(code) ? new Refusal(code as RefusalCode) : undefined;

/** The wait after a busy answer without `Retry-After`. */
export const busyMs = 2_000;

/** The URL of an order's channel, without the token. `clock` asks for the server's time. */
export const channelUrl = ({ url, orderId, after }: Target, channel: string, more = ""): string =>
  `${url}/v1/orders/${encodeURIComponent(orderId)}/${channel}?after=${after}&clock=true${more}`;

/** Fetches with the token in the header. Throws `Refusal`, `ComeBack` or `Error` unless the answer is a success. */
export async function fetchChannel(url: string, token: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, cache: "no-store", signal });
  if (response.ok) return response;
  const { status, headers } = response;
  const problem: unknown = await response.json().catch(() => undefined);
  const refusal = refusalOf((problem as { code?: unknown } | undefined)?.code);
  if (refusal) throw refusal;
  const retryAfterMs = readRetryAfter(headers.get("retry-after"));
  if (status === 429 || status === 503) throw new ComeBack(retryAfterMs ?? busyMs);
  if (status >= 500) throw new ComeBack(retryAfterMs);
  throw new Error(`The server answered ${status}`);
}

/** Creates a signal that follows `signal` and can also be aborted alone. Some supported browsers lack `AbortSignal.any`. */
export function linkedAbort(signal: AbortSignal): { signal: AbortSignal; abort(): void; release(): void } {
  const own = new AbortController();
  const abort = (): void => own.abort();
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return { signal: own.signal, abort, release: () => signal.removeEventListener("abort", abort) };
}
