/**
 * Keeps one link to the server at a time, for as long as the watch lives. What may happen at once: a run of a transport,
 * a page that wakes up, and a caller who closes. Each run has a signal of its own and is not heard once that is aborted,
 * so an old link can never speak for a new one.
 *
 * Guarantees: a link that ends is made again from the last version seen, at once or after a wait as `connection.ts`
 * says; nothing but a `Refusal` ends it all; a wait that the server asked for is never cut short.
 */
import { delayMs } from "./backoff.ts";
import type { Input } from "./connection.ts";
import { WatchError } from "./error.ts";
import type { Ladder } from "./ladder.ts";
import { nowMs } from "./platform.ts";
import { ComeBack, Refusal, type Target } from "./transport/transport.ts";

export interface LinkOptions {
  ladder: Ladder;
  /** Where to go on, with the token of the moment. */
  target: () => Target;
  /** Fetches a fresh token for `target`. Resolves with false where nobody can. */
  refresh: () => Promise<boolean>;
  onEvent: (event: unknown) => void;
  onInput: (input: Input) => void;
  onRefused: (error: WatchError) => void;
}

export interface Link {
  /** Makes sure at once that nothing is missed: ends a wait, and replaces a link that may have died in its sleep. */
  check(): void;
  close(): void;
}

/** What follows from how a run ended. */
type Next = () => void | Promise<void>;

/** A link that held this long ended for reasons of its own, not those of the failures before it. */
const steadyMs = 5_000;

/** A page that wakes up says so in several ways at once. */
const freshMs = 1_000;

export function openLink(options: LinkOptions): Link {
  const { ladder, target, onInput } = options;
  let isClosed = false;
  let failures = 0;
  /** The token was fetched for this link and has not been accepted yet: a refusal of it is the last word. */
  let isUntried = false;
  let wake: () => void = () => undefined;

  const run = async (): Promise<Next> => {
    const own = new AbortController();
    const startedAtMs = nowMs();
    let openedAtMs: number | undefined;
    const replaced = new Promise<void>((resolve) => own.signal.addEventListener("abort", () => resolve()));
    wake = () => {
      if (isClosed || openedAtMs !== undefined || nowMs() - startedAtMs > freshMs) own.abort();
    };
    const transport = ladder.current();
    const listener = {
      onOpen(): void {
        if (own.signal.aborted) return;
        openedAtMs ??= nowMs();
        isUntried = false;
        onInput("opened");
        if (ladder.climb()) own.abort();
      },
      onEvent(event: unknown): void {
        if (!own.signal.aborted) options.onEvent(event);
      },
    };
    try {
      await Promise.race([transport.run(target(), listener, own.signal), replaced]);
      return own.signal.aborted ? goOn : () => pause();
    } catch (error) {
      if (own.signal.aborted) return goOn;
      if (error instanceof Refusal) return () => refresh(error);
      if (error instanceof ComeBack) return () => pause(error.retryAfterMs);
      return openedAtMs === undefined ? pass : () => pause();
    } finally {
      own.abort();
      if (openedAtMs !== undefined && nowMs() - openedAtMs > steadyMs) failures = 0;
    }
  };

  /** Waits before the next try. The page may cut a wait short, but not one that the server asked for. */
  const pause = async (retryAfterMs = 0): Promise<void> => {
    failures += 1;
    onInput("dropped");
    let isWoken = false;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, delayMs(failures, retryAfterMs));
      wake = () => {
        if (!isClosed && retryAfterMs > 0) return;
        isWoken = true;
        clearTimeout(timer);
        resolve();
      };
    });
    if (isWoken) failures = 0;
    onInput(isWoken ? "woken" : "elapsed");
  };

  /** Rejects when there is no reason to go on. */
  const refresh = async (refusal: Refusal): Promise<void> => {
    if (refusal.code !== "token_expired" || isUntried) throw new WatchError(refusal.code, refusal);
    onInput("expired");
    const isFresh = await options.refresh().catch(() => undefined);
    if (isFresh === false) throw new WatchError(refusal.code, refusal);
    // No fresh token now is no reason to give up: the merchant's server may be as unreachable as ours.
    if (isFresh === undefined) await pause();
    else isUntried = true;
  };

  const goOn = (): void => onInput("woken");

  const pass = (): void | Promise<void> => (ladder.pass() ? onInput("passed") : pause());

  const keep = async (): Promise<void> => {
    // Not before the caller has the watch, who may be closing it already.
    await undefined;
    while (!isClosed) {
      const next = await run();
      if (!isClosed) await next();
    }
  };
  keep().catch((error: unknown) =>
    options.onRefused(error instanceof WatchError ? error : new WatchError("closed", error)),
  );

  return {
    check: () => wake(),
    close() {
      isClosed = true;
      wake();
    },
  };
}
