/**
 * The background loop: runs a task again and again, after a delay or sooner on request.
 *
 * Guarantees: two runs never overlap. A request during a run causes one more run after it. The loop continues after a failed
 * run. Of several failures in a row it reports the first only, so that an outage is one log line, and one more at its end.
 */
export interface Loop {
  /** Requests a run as soon as possible. */
  runNow(): void;
  /** Starts no further run; resolves when the current run has ended. */
  close(): Promise<void>;
}

export interface LoopOptions {
  task: () => Promise<void>;
  /** Milliseconds from the end of a run to the start of the next. Called after every run with that run's duration. */
  delayMs: (tookMs: number) => number;
  /** Called when a run fails and the run before it did not. */
  onError: (error: unknown) => void;
  /** Called when a run succeeds and the run before it failed. */
  onRecovered?: () => void;
}

export function startLoop({ task, delayMs, onError, onRecovered }: LoopOptions): Loop {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let isRequested = false;
  let isFailing = false;
  let isClosed = false;

  const schedule = (ms: number): void => {
    clearTimeout(timer);
    if (!isClosed) timer = setTimeout(run, ms);
  };

  const run = (): void => {
    isRequested = false;
    const startedMs = performance.now();
    running = task()
      .then(
        () => {
          if (isFailing) onRecovered?.();
          isFailing = false;
        },
        (error: unknown) => {
          if (!isFailing) onError(error);
          isFailing = true;
        },
      )
      .then(() => {
        running = undefined;
        schedule(isRequested ? 0 : delayMs(performance.now() - startedMs));
      });
  };

  schedule(delayMs(0));

  return {
    runNow() {
      isRequested = true;
      if (!running) schedule(0);
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
