/** Preloaded into the node of a soak run. At SIGUSR2 it collects garbage and prints memory and active handles. */
process.on("SIGUSR2", () => {
  globalThis.gc?.();
  const { heapUsed, rss, external } = process.memoryUsage();
  const handles = Object.fromEntries(
    [...Map.groupBy(process.getActiveResourcesInfo(), (kind) => kind)].map(([kind, all]) => [kind, all.length]),
  );
  process.stdout.write(`PROBE ${JSON.stringify({ heapUsed, rss, external, handles })}\n`);
});
