/** Ends the process on SIGTERM and SIGINT. */

/** Less than 30 s, because a container's runtime kills the process then. */
const shutdownMsMax = 28_000;

export interface ShutdownOptions {
  /** Closes everything. */
  release: () => Promise<void>;
  log: Record<"info" | "error", (details: object, message: string) => void>;
}

/**
 * Releases everything on the first signal and exits: with 0, or with 1 after an error or after 28 s. Ignores further signals,
 * because a Ctrl-C may reach a process of a group twice.
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
    log.info({ event: "process.shutdown.started", signal }, "the node shuts down");
    release().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ event: "process.shutdown.failed", err: error }, "the shutdown failed");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", shutDown);
  process.on("SIGINT", shutDown);
}
