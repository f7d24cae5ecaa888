/** Preloaded into a node under soak: at SIGUSR2 collects the garbage and tells what is left. */
process.on("SIGUSR2", () => {
  globalThis.gc?.();
  const { heapUsed, rss, external } = process.memoryUsage();
  const handles = Object.fromEntries(
    [...Map.groupBy(process.getActiveResourcesInfo(), (kind) => kind)].map(([kind, all]) => [kind, all.length]),
  );
  process.stdout.write(`PROBE ${JSON.stringify({ heapUsed, rss, external, handles })}\n`);
});
