/**
 * One way to reach the server. A transport carries what it hears and says how its link ended; when to try again, with
 * which transport and which token is the watch's business. It may deliver a state twice, or an old one: versions make
 * that harmless. It must not lose one between `onOpen` and its end.
 */
import { readRetryAfter } from "../backoff.ts";

/** What to watch, and from where on. */
export interface Target {
  /** The server's address, without a slash at its end. */
  url: string;
  orderId: string;
  token: string;
  /** The last version seen; 0 for none. */
  after: number;
}

/** Who wants to hear from a transport. */
export interface LinkListener {
  /** The server has accepted the token. May be called again whenever the link shows that it is alive. */
  onOpen(): void;
  /** Something arrived that should be a state. */
  onEvent(event: unknown): void;
}

export interface Transport {
  /** As in `snapshot().transport`. */
  readonly name: string;
  /**
   * Keeps one link until it drops, and then resolves. Rejects with a `Refusal` when the server will not let this token
   * in, with `ComeBack` when it is busy, and with anything else when no link could be made: the next transport is then
   * tried. Ends soon after `signal` is aborted, with everything released.
   */
  run(target: Target, listener: LinkListener, signal: AbortSignal): Promise<void>;
}

/** Why a server does not let a watcher in. */
export type RefusalCode = "token_invalid" | "token_expired" | "order_unknown";

/** The server knows who we are, and that we may not watch. */
export class Refusal extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode) {
    super(code);
    this.name = "Refusal";
    this.code = code;
  }
}

/** The server is there but cannot serve now: the same transport again, not before `retryAfterMs`. */
export class ComeBack extends Error {
  readonly retryAfterMs: number;

  constructor(retryAfterMs = 0) {
    super("come back later");
    this.name = "ComeBack";
    this.retryAfterMs = retryAfterMs;
  }
}

const refusalCodes: readonly unknown[] = ["token_invalid", "token_expired", "order_unknown"] satisfies RefusalCode[];

/** A `Refusal` for a problem's code, or undefined for any other code. */
export const refusalOf = (code: unknown): Refusal | undefined =>
  refusalCodes.includes(code) ? new Refusal(code as RefusalCode) : undefined;

/** How long to stay away when the server is busy and does not say how long. */
export const busyMs = 2_000;

/** The address of an order's channel, without the token. */
export const channelUrl = ({ url, orderId, after }: Target, channel: string, more = ""): string =>
  `${url}/v1/orders/${encodeURIComponent(orderId)}/${channel}?after=${after}${more}`;

/** Fetches with the token in its header. Throws what the status means, unless it is a success. */
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

/** A signal that follows `signal` and can be aborted alone too. `AbortSignal.any` is not everywhere yet. */
export function linkedAbort(signal: AbortSignal): { signal: AbortSignal; abort(): void; release(): void } {
  const own = new AbortController();
  const abort = (): void => own.abort();
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return { signal: own.signal, abort, release: () => signal.removeEventListener("abort", abort) };
}
