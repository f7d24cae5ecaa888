/**
 * Keeps one link to the server, for as long as the watch lives. While a transport has not opened, the last one may run beside it.
 *
 * Guarantees: a link that ends is followed by another from the last version seen, at once or after a wait, as
 * `connection.ts` defines. Only a `Refusal` ends the sequence. A wait that the server requested is never cut short.
 *
 * A run of a transport, a page that wakes up and a caller that closes may overlap. Each run has its own signal and is
 * ignored once that signal is aborted, so an old link cannot speak for a new one.
 */
import { delayMs } from "./backoff.ts";
import { WatchError } from "./error.ts";
import { nowMs } from "./platform.ts";
import { type LinkOptions, type LinkState, type RunEnd, startRun } from "./run.ts";
import { createSpare } from "./spare.ts";
import { ComeBack, Refusal } from "./transport/transport.ts";

export interface Link {
  /** Checks now for missed states: ends a wait, and replaces a link that may have died while the page slept. */
  check(): void;
  close(): void;
}

/**
 * Half a second, because a working connection opens sooner on most networks, and a proxy that silently drops WebSocket upgrades
 * would otherwise delay the first state until the transport gives up. 2 to 4 s once the transport has opened, because it then
 * works on this network, and a slow server must not get twice the connections.
 */
const spareAfterMs = 500;

/** Ignores further wake-ups for 1 s, because a browser reports one return of the page with several events. */
const freshMs = 1_000;

/** Opens the first link in a microtask. Errors are reported by `onRefused`. */
export function openLink(options: LinkOptions): Link {
  const link: LinkState = {
    ...options,
    isClosed: false,
    failures: 0,
    isUntried: false,
    isRenewed: false,
    proven: new Set(),
    wake: () => undefined,
  };
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
 * Runs the current transport, and beside it the spare if the current one does not open soon. Resolves with undefined when both
 * were replaced, because `check` or the ladder wants another run at once.
 *
 * Both may deliver states, because a watch drops the older one. The current transport is the better one: when it opens, the
 * spare ends; when it fails, the spare takes its place. A refusal is final for both.
 */
async function runTransport(link: LinkState): Promise<RunEnd | undefined> {
  const { ladder } = link;
  const current = ladder.current();
  const startedAtMs = nowMs();
  let refusal: RunEnd | undefined;
  const spare = createSpare(link, (end) => {
    refusal = end;
    main.abort();
  });
  const main = startRun(link, current, {
    onReached: spare.cancel,
    onOpen() {
      link.proven.add(current);
      spare.close();
      return ladder.climb();
    },
  });
  if (!main.hasOpened()) spare.startAfter(link.proven.has(current) ? 2_000 * (1 + Math.random()) : spareAfterMs);
  link.wake = () => {
    const hasOpened = main.hasOpened() || spare.hasOpened();
    if (!link.isClosed && !hasOpened && nowMs() - startedAtMs <= freshMs) return;
    main.abort();
    spare.close();
  };
  try {
    const end = await main.end;
    if (!end) return refusal;
    return end.canPass && !(end.error instanceof Refusal) ? await spare.replace(end) : end;
  } finally {
    spare.close();
  }
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

/**
 * Fetches a fresh token. Rejects when the refusal is final. Waits first if the last fresh token was refused before a link
 * held, for example by one of two transports.
 */
async function renewToken(refusal: Refusal, link: LinkState): Promise<void> {
  if (refusal.code !== "token_expired" || link.isUntried) throw new WatchError(refusal.code, refusal);
  link.onInput("expired");
  if (link.isRenewed) await wait(link);
  if (link.isClosed) return;
  const isFresh = await link.refresh().catch(() => undefined);
  if (isFresh === false) throw new WatchError(refusal.code, refusal);
  // A failed fetch is retried after a wait, because the merchant's server may be unreachable only for a moment.
  if (isFresh === undefined) await wait(link);
  else {
    link.isUntried = true;
    link.isRenewed = true;
  }
}
