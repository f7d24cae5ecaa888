/** Ends the process on SIGTERM and SIGINT. */

/** 28 s, because Kubernetes kills a container after 30 s by default. */
const shutdownMsMax = 28_000;

export interface ShutdownOptions {
  /** Closes everything. */
  release: () => Promise<void>;
  log: Record<"info" | "error", (details: object, message: string) => void>;
}

/**
 * Calls `release` on the first signal, and then exits with 0. Exits with 1 if `release` fails or takes longer than 28 s. Ignores
 * further signals, because a Ctrl-C may reach a process twice: from the terminal and from its parent.
 */
export function shutDownOnSignal(
  process: Pick<NodeJS.Process, "on" | "exit">,
  { release, log }: ShutdownOptions,
): void {
  let isShuttingDown = false;
  const shutDown = (signal: string): void => {
    if (isShuttingDown) return;
    isShuttingDown = true;
    setTimeout(() => process.exit(1), shutdownMsMax).unref();
    log.info({ event: "process.shutdown.started", signal }, "Shutting down");
    release().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ event: "process.shutdown.failed", err: error }, "The shutdown failed");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", shutDown);
  process.on("SIGINT", shutDown);
}
