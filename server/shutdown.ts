/** How a process ends that is told to. */

/** Whatever hangs, the process ends: before 30 s, after which whoever stops it (a container's runtime, say) kills it. */
const stopMsMax = 28_000;

export interface StopOptions {
  /** Closes everything. */
  release: () => Promise<void>;
  log: { info(message: string): void; error(details: object, message: string): void };
}

/** SIGTERM and Ctrl-C close once, in order; a Ctrl-C reaches a process group twice, so a second one means nothing. */
export function stopOnSignal(process: Pick<NodeJS.Process, "on" | "exit">, { release, log }: StopOptions): void {
  let isStopping = false;
  const stop = (signal: string): void => {
    if (isStopping) return;
    isStopping = true;
    setTimeout(() => process.exit(1), stopMsMax).unref();
    log.info(`${signal}: stopping`);
    release().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, "stopped with an error");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
}
