/**
 * The one background primitive: runs a task again and again, on an interval or sooner when nudged, never twice at once.
 * A nudge during a run makes one more run follow it. A failing run is reported and the loop goes on.
 */
export interface Loop {
  /** Run as soon as possible. */
  nudge(): void;
  /** No further run starts; resolves when the one under way has ended. */
  close(): Promise<void>;
}

export interface LoopOptions {
  task: () => Promise<void>;
  /** Milliseconds from the end of a run to the start of the next; asked after every run, given how long that took. */
  delayMs: (tookMs: number) => number;
  onError: (error: unknown) => void;
}

export function startLoop({ task, delayMs, onError }: LoopOptions): Loop {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let isNudged = false;
  let isClosed = false;

  const schedule = (ms: number): void => {
    clearTimeout(timer);
    if (!isClosed) timer = setTimeout(run, ms);
  };

  const run = (): void => {
    isNudged = false;
    const startedMs = performance.now();
    running = task()
      .catch(onError)
      .then(() => {
        running = undefined;
        schedule(isNudged ? 0 : delayMs(performance.now() - startedMs));
      });
  };

  schedule(delayMs(0));

  return {
    nudge() {
      isNudged = true;
      if (!running) schedule(0);
    },
    async close() {
      isClosed = true;
      clearTimeout(timer);
      await running;
    },
  };
}
