/** One run of a transport, for one link. A run is ignored once its signal is aborted, so an old link cannot speak for a new one. */
import type { Input } from "./connection.ts";
import type { WatchError } from "./error.ts";
import type { Ladder } from "./ladder.ts";
import { nowMs } from "./platform.ts";
import type { LinkListener, Target, Transport } from "./transport/transport.ts";

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

/** The options of one link and its changing state. */
export interface LinkState extends LinkOptions {
  isClosed: boolean;
  /** Consecutive failures, which set the length of the next wait. */
  failures: number;
  /** The token is fresh and the server has not accepted it yet. A refusal of such a token is final. */
  isUntried: boolean;
  /** The token was fetched, and no link has held since. */
  isRenewed: boolean;
  /** The transports that have opened. */
  proven: Set<Transport>;
  /** Interrupts the current run or wait, when that is allowed. */
  wake: () => void;
}

/** Why a run ended that was not replaced. `canPass`: the transport failed before it opened. */
export interface RunEnd {
  error?: unknown;
  canPass?: boolean;
}

/** Resets the failure count after 5 s, because the end of such a link has nothing to do with the failures before it. */
const steadyMs = 5_000;

/** One run of a transport. */
export interface Run {
  /** Resolves with undefined when the run was aborted. Never rejects. */
  readonly end: Promise<RunEnd | undefined>;
  hasOpened(): boolean;
  abort(): void;
}

/** `onOpen` returns whether the run must end, so that a better transport is tried. */
export function startRun(
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
      if (openedAtMs !== undefined && nowMs() - openedAtMs > steadyMs) {
        link.failures = 0;
        link.isRenewed = false;
      }
    }
  };
  return { end: settle(), hasOpened: () => openedAtMs !== undefined, abort };
}
