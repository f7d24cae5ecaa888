/**
 * Keeps one link to the server, for as long as the watch lives. While a transport has not opened, the next one may run beside it.
 *
 * Guarantees: a link that ends is followed by another from the last version seen, at once or after a wait, as
 * `connection.ts` defines. Only a `Refusal` ends the sequence. A wait that the server requested is never cut short.
 *
 * A run of a transport, a page that wakes up and a caller that closes may overlap. Each run has its own signal and is
 * ignored once that signal is aborted, so an old link cannot speak for a new one.
 */
import { delayMs } from "./backoff.ts";
import type { Input } from "./connection.ts";
import { WatchError } from "./error.ts";
import type { Ladder } from "./ladder.ts";
import { nowMs } from "./platform.ts";
import { ComeBack, type LinkListener, Refusal, type Target, type Transport } from "./transport/transport.ts";

export interface LinkOptions {
  ladder: Ladder;
  /** The target of the next link, with the current token and the last version seen. */
  target: () => Target;
  /** Fetches a fresh token for `target`. Resolves with false when the application has none; rejects when it failed. */
  refresh: () => Promise<boolean>;
  onEvent: (event: unknown) => void;
  /** `transport` is the name of the transport that opened. */
  onInput: (input: Input, transport?: string) => void;
  onRefused: (error: WatchError) => void;
}

export interface Link {
  /** Checks now for missed states: ends a wait, and replaces a link that may have died while the page slept. */
  check(): void;
  close(): void;
}

/** The options of one link and its changing state. */
interface LinkState extends LinkOptions {
  isClosed: boolean;
  /** Consecutive failures, which set the length of the next wait. */
  failures: number;
  /** The token is fresh and the server has not accepted it yet. A refusal of such a token is final. */
  isUntried: boolean;
  /** Interrupts the current run or wait, when that is allowed. */
  wake: () => void;
}

/** Why a run ended that was not replaced. `canPass`: the transport failed before it opened. */
interface RunEnd {
  error?: unknown;
  canPass?: boolean;
}

/** Resets the failure count after 5 s, because the end of such a link has nothing to do with the failures before it. */
const steadyMs = 5_000;

/**
 * Half a second, because a working connection opens sooner on most networks, and a proxy that silently drops WebSocket upgrades
 * would otherwise delay the first state until the transport gives up.
 */
const spareAfterMs = 500;

/** Ignores further wake-ups for 1 s, because a browser reports one return of the page with several events. */
const freshMs = 1_000;

/** Opens the first link in a microtask. Errors are reported by `onRefused`. */
export function openLink(options: LinkOptions): Link {
  const link: LinkState = { ...options, isClosed: false, failures: 0, isUntried: false, wake: () => undefined };
  keepLink(link).catch((error: unknown) =>
    options.onRefused(error instanceof WatchError ? error : new WatchError("closed", error)),
  );
  return {
    check: () => link.wake(),
    close() {
      link.isClosed = true;
      link.wake();
    },
  };
}

/** Runs one transport after another until the link is closed. Rejects when the watch must end. */
async function keepLink(link: LinkState): Promise<void> {
  // The caller gets the watch first and may close it before anything is sent.
  await undefined;
  while (!link.isClosed) {
    if (link.target().token === "") {
      await renewToken(new Refusal("token_expired"), link);
      continue;
    }
    const end = await runTransport(link);
    if (!link.isClosed) await prepareNext(end, link);
  }
}

/**
 * Runs the current transport, and beside it the next one if the current one is not open within 500 ms. Resolves with undefined
 * when both were replaced, because `check` or the ladder wants another run at once.
 *
 * Both may deliver states, because a watch drops the older one. The current transport is the better one: when it opens, the
 * spare ends; when it fails, the spare takes its place and is not started again. A refusal is final for both.
 */
async function runTransport(link: LinkState): Promise<RunEnd | undefined> {
  const { ladder } = link;
  const startedAtMs = nowMs();
  let spare: Run | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const noSpare = (): void => clearTimeout(timer);
  const main = startRun(link, ladder.current(), {
    onReached: noSpare,
    onOpen() {
      noSpare();
      spare?.abort();
      return ladder.climb();
    },
  });
  let refuse: (end: RunEnd) => void = () => undefined;
  const refused = new Promise<RunEnd>((resolve) => {
    refuse = resolve;
  });
  const startSpare = (transport: Transport): void => {
    const run = startRun(link, transport, { onOpen: () => ladder.current() === transport && ladder.climb() });
    spare = run;
    void run.end.then((end) => {
      if (end?.error instanceof Refusal) refuse(end);
      // The better transport may still open.
      else if (end && run.hasOpened() && ladder.current() !== transport) link.onInput("passed");
    });
  };
  const next = ladder.next();
  if (next && !main.hasOpened()) timer = setTimeout(startSpare, spareAfterMs, next);
  link.wake = () => {
    const hasOpened = main.hasOpened() || spare?.hasOpened();
    if (!link.isClosed && !hasOpened && nowMs() - startedAtMs <= freshMs) return;
    main.abort();
    spare?.abort();
  };
  try {
    const end = await Promise.race([main.end, refused]);
    if (!spare || !end?.canPass || end.error instanceof Refusal) return end;
    ladder.pass();
    if (spare.hasOpened()) ladder.climb();
    return await spare.end;
  } finally {
    noSpare();
    main.abort();
    spare?.abort();
  }
}

/** One run of a transport. */
interface Run {
  /** Resolves with undefined when the run was aborted. Never rejects. */
  readonly end: Promise<RunEnd | undefined>;
  hasOpened(): boolean;
  abort(): void;
}

/** `onOpen` returns whether the run must end, so that a better transport is tried. */
function startRun(
  link: LinkState,
  transport: Transport,
  { onOpen, onReached }: { onOpen: () => boolean; onReached?: () => void },
): Run {
  const run = new AbortController();
  const { signal } = run;
  const abort = (): void => run.abort();
  let openedAtMs: number | undefined;
  const listener: LinkListener = {
    onReached,
    onOpen(): void {
      if (signal.aborted) return;
      openedAtMs ??= nowMs();
      link.isUntried = false;
      link.onInput("opened", transport.name);
      if (onOpen()) abort();
    },
    onEvent(event: unknown): void {
      if (!signal.aborted) link.onEvent(event);
    },
  };
  const replaced = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
  const settle = async (): Promise<RunEnd | undefined> => {
    try {
      await Promise.race([transport.run(link.target(), listener, signal), replaced]);
      return signal.aborted ? undefined : {};
    } catch (error) {
      return signal.aborted ? undefined : { error, canPass: openedAtMs === undefined };
    } finally {
      abort();
      if (openedAtMs !== undefined && nowMs() - openedAtMs > steadyMs) link.failures = 0;
    }
  };
  return { end: settle(), hasOpened: () => openedAtMs !== undefined, abort };
}

/** Does what the end of a run requires before the next run. Rejects when the watch must end. */
function prepareNext(end: RunEnd | undefined, link: LinkState): void | Promise<void> {
  if (!end) return link.onInput("woken");
  const { error, canPass } = end;
  if (error instanceof Refusal) return renewToken(error, link);
  if (error instanceof ComeBack) return wait(link, error.retryAfterMs);
  // A transport that never opened may be blocked on this network, so the next one is tried at once.
  return canPass && link.ladder.pass() ? link.onInput("passed") : wait(link);
}

/** Waits before the next run. `check` may end the wait early, unless the server set it. */
async function wait(link: LinkState, retryAfterMs = 0): Promise<void> {
  link.failures += 1;
  link.onInput("dropped");
  let isWoken = false;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, delayMs(link.failures, retryAfterMs));
    link.wake = () => {
      if (!link.isClosed && retryAfterMs > 0) return;
      isWoken = true;
      clearTimeout(timer);
      resolve();
    };
  });
  if (isWoken) link.failures = 0;
  link.onInput(isWoken ? "woken" : "elapsed");
}

/** Fetches a fresh token. Rejects when the refusal is final. */
async function renewToken(refusal: Refusal, link: LinkState): Promise<void> {
  if (refusal.code !== "token_expired" || link.isUntried) throw new WatchError(refusal.code, refusal);
  link.onInput("expired");
  const isFresh = await link.refresh().catch(() => undefined);
  if (isFresh === false) throw new WatchError(refusal.code, refusal);
  // A failed fetch is retried after a wait, because the merchant's server may be unreachable only for a moment.
  if (isFresh === undefined) await wait(link);
  else link.isUntried = true;
}
