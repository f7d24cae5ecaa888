/** What waits in the database, read at every scrape. */
import { Gauge, type Registry } from "prom-client";
import { queriesPerMinute } from "../order/query-pace.ts";
import type { Backlog, ProviderBacklog } from "../order/statistics.ts";

/**
 * Resolves when the gauges say what waits now. Without a database there is no backlog to tell of. `usualPace`: how many
 * queries a minute a provider is asked at most, if that is limited.
 */
export function backlogMetrics(
  registry: Registry,
  backlog: () => Promise<Backlog>,
  usualPace: ReadonlyMap<string, number | undefined>,
): () => Promise<void> {
  const registers = [registry];
  const due = new Gauge({
    name: "tukio_reconciler_due",
    help: "Payments whose provider is to be asked now and that no node has taken yet, counted up to 200,000 for each provider; all nodes tell the same.",
    registers,
  });
  const oldest = new Gauge({
    name: "tukio_reconciler_oldest_seconds",
    help: "How long the oldest of the due payments has been waiting.",
    registers,
  });
  const queries = queryMetrics(registry, usualPace);
  const unapplied = new Gauge({
    name: "tukio_webhooks_unapplied",
    help: "Proven webhooks that are on disk and not applied yet, counted up to 100,000; all nodes tell the same.",
    registers,
  });
  const inReview = new Gauge({
    name: "tukio_in_review",
    help: "Orders that wait for a person's decision now, counted up to 100,000; all nodes tell the same.",
    registers,
  });
  const up = new Gauge({
    name: "tukio_database_up",
    help: "Whether the database answered this scrape in time.",
    registers,
  });
  return async () => {
    try {
      const found = await backlog();
      due.set(found.queries.reduce((sum, one) => sum + one.due, 0));
      oldest.set(Math.max(0, ...found.queries.map(({ oldestS }) => oldestS)));
      queries(found.queries);
      unapplied.set(found.unapplied);
      inReview.set(found.inReview);
      up.set(1);
    } catch {
      // That is what the metric says; the scrape goes on.
      due.remove();
      oldest.remove();
      queries(undefined);
      unapplied.remove();
      inReview.remove();
      up.set(0);
    }
  };
}

/** By provider, of those in use and those that have payments to check. */
function queryMetrics(
  registry: Registry,
  usualPace: ReadonlyMap<string, number | undefined>,
): (backlog: readonly ProviderBacklog[] | undefined) => void {
  const shared = { labelNames: ["provider"] as const, registers: [registry] };
  const due = new Gauge({
    ...shared,
    name: "tukio_queries_due",
    help: "Payments that a provider is to be asked about now and that wait for its pace or for a node; all nodes tell the same. tukio_reconciler_due is their sum.",
  });
  const oldest = new Gauge({
    ...shared,
    name: "tukio_queries_oldest_seconds",
    help: "How long the oldest of a provider's due payments has been waiting. tukio_reconciler_oldest_seconds is the longest of these.",
  });
  const pace = new Gauge({
    ...shared,
    name: "tukio_queries_per_minute",
    help: "Queries that a provider is asked at most in a minute, by all nodes together, as limited by <PROVIDER>_QUERIES_PER_MINUTE or by its own answers; absent while nothing limits them.",
  });
  return (backlog) => {
    for (const gauge of [due, oldest, pace]) gauge.reset();
    if (!backlog) return;
    const found = new Map(backlog.map((one) => [one.provider, one]));
    for (const provider of new Set([...usualPace.keys(), ...found.keys()])) {
      const { due: waiting, oldestS, halvings } = found.get(provider) ?? { due: 0, oldestS: 0, halvings: 0 };
      due.set({ provider }, waiting);
      oldest.set({ provider }, oldestS);
      const perMinute = queriesPerMinute(usualPace.get(provider), halvings);
      if (perMinute !== undefined) pace.set({ provider }, perMinute);
    }
  };
}
