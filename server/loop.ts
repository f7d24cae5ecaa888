/**
 * The one background primitive: runs a task again and again, on an interval or sooner on request, never twice at once.
 * A request during a run makes one more run follow it. The loop goes on after a failing run; of several in a row
 * only the first is reported, so that an outage is one line in the log however long it lasts, and one more when it is over.
 */
export interface Loop {
  /** Run as soon as possible. */
  runNow(): void;
  /** No further run starts; resolves when the one under way has ended. */
  close(): Promise<void>;
}

export interface LoopOptions {
  task: () => Promise<void>;
  /** Milliseconds from the end of a run to the start of the next; asked after every run, given how long that took. */
  delayMs: (tookMs: number) => number;
  /** Hears of a run that failed after one that did not. */
  onError: (error: unknown) => void;
  /** Hears of a run that did not fail after one that did. */
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
