/** The transport that runs beside a better one, as long as the better one has not opened. */
import { delayMs } from "./backoff.ts";
import { type LinkState, type Run, type RunEnd, startRun } from "./run.ts";
import { ComeBack, Refusal, type Transport } from "./transport/transport.ts";

/** The last transport, which may run beside the current one. It starts again after a wait when it ends. */
export interface Spare {
  startAfter(ms: number): void;
  /** Prevents a start. */
  cancel(): void;
  /** Ends it for good. */
  close(): void;
  /** Whether its newest run has opened. */
  hasOpened(): boolean;
  /** Takes the place of the current transport, which failed with `end`. Resolves with the end that decides what follows. */
  replace(end: RunEnd): Promise<RunEnd | undefined> | RunEnd | undefined;
}

export function createSpare(link: LinkState, onRefused: (end: RunEnd) => void): Spare {
  const { ladder } = link;
  const transport = ladder.spare();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let run: Run | undefined;
  let ended: RunEnd | undefined;
  let failures = 0;
  const hasOpened = (): boolean => run?.hasOpened() === true;
  const cancel = (): void => clearTimeout(timer);
  const startAfter = (ms: number): void => {
    if (transport) timer = setTimeout(start, ms, transport);
  };
  const start = (spare: Transport): void => {
    const started = startRun(link, spare, { onOpen: () => ladder.current() === spare && ladder.climb() });
    run = started;
    ended = undefined;
    void started.end.then((end) => {
      ended = end;
      if (!end || ladder.current() === spare) return;
      if (end.error instanceof Refusal) return onRefused(end);
      // The better transport may still open.
      if (started.hasOpened()) link.onInput("passed");
      failures += 1;
      startAfter(delayMs(failures, retryAfterOf(end)));
    });
  };
  return {
    startAfter,
    cancel,
    close() {
      cancel();
      run?.abort();
    },
    hasOpened,
    replace(end) {
      // The longer wait holds, unless the server serves the spare.
      if (!run || ended || (!hasOpened() && end.error instanceof ComeBack))
        return retryAfterOf(ended) > retryAfterOf(end) ? ended : end;
      ladder.takeSpare();
      if (hasOpened()) ladder.climb();
      return run.end;
    },
  };
}

/** The wait that the server requested. */
const retryAfterOf = (end: RunEnd | undefined): number => (end?.error instanceof ComeBack ? end.error.retryAfterMs : 0);
