/** Metrics of waiting work in PostgreSQL, read at every scrape. */
import { Gauge, type Registry } from "prom-client";
import { queriesPerMinute } from "../order/query-pace.ts";
import type { Backlog, ProviderBacklog } from "../order/statistics.ts";

export interface BacklogMetricsOptions {
  /** The enabled providers with their limits of queries a minute; undefined: no limit. */
  providers: ReadonlyMap<string, number | undefined>;
  /** Read at every scrape. */
  backlog: () => Promise<Backlog>;
  /** Whether PostgreSQL answers. Asked only after the backlog could not be read. */
  isDatabaseUp: () => Promise<boolean>;
  /** Called when the backlog cannot be read and could be read at the scrape before. */
  onError?: (error: unknown) => void;
  /** Called when the backlog can be read and could not be read at the scrape before. */
  onRecovered?: () => void;
}

/**
 * Returns a function that reads the backlog into the gauges. It never rejects: while the backlog cannot be read, its gauges are
 * absent. `tukio_database_up` is 0 only if PostgreSQL does not answer a statement without any work either.
 */
export function backlogMetrics(registry: Registry, options: BacklogMetricsOptions): () => Promise<void> {
  const { providers, backlog, isDatabaseUp, onError, onRecovered } = options;
  const registers = [registry];
  const due = new Gauge({
    name: "tukio_reconciler_due",
    help: "Payments that are due for a check and that no node has claimed, counted up to 20,000 for each provider; the same on all nodes.",
    registers,
  });
  const oldest = new Gauge({
    name: "tukio_reconciler_oldest_seconds",
    help: "Age of the oldest due payment since it became due.",
    registers,
  });
  const queries = queryMetrics(registry, providers);
  const unapplied = new Gauge({
    name: "tukio_webhooks_unapplied",
    help: "Proven webhooks that are stored and not applied, counted up to 10,000; the same on all nodes.",
    registers,
  });
  const inReview = new Gauge({
    name: "tukio_in_review",
    help: "Orders that wait for a person's decision, counted up to 10,000; the same on all nodes.",
    registers,
  });
  const up = new Gauge({
    name: "tukio_database_up",
    help: "Whether PostgreSQL answers this node. It may be 1 while the metrics of the backlog are absent, because their statement took too long.",
    registers,
  });
  const set = (found: Backlog): void => {
    due.set(found.queries.reduce((sum, one) => sum + one.due, 0));
    oldest.set(Math.max(0, ...found.queries.map(({ oldestS }) => oldestS)));
    queries(found.queries);
    unapplied.set(found.unapplied);
    inReview.set(found.inReview);
  };
  const clear = (): void => {
    for (const gauge of [due, oldest, unapplied, inReview]) gauge.remove();
    queries(undefined);
  };
  let isFailing = false;
  return async () => {
    try {
      set(await backlog());
      up.set(1);
      if (isFailing) onRecovered?.();
      isFailing = false;
    } catch (error) {
      clear();
      if (!isFailing) onError?.(error);
      isFailing = true;
      up.set((await isDatabaseUp()) ? 1 : 0);
    }
  };
}

/** Metrics by provider, of the enabled providers and of those with due payments. */
function queryMetrics(
  registry: Registry,
  usualPace: ReadonlyMap<string, number | undefined>,
): (backlog: readonly ProviderBacklog[] | undefined) => void {
  const shared = { labelNames: ["provider"] as const, registers: [registry] };
  const due = new Gauge({
    ...shared,
    name: "tukio_queries_due",
    help: "Due payments of a provider that wait for its query pace or for a node; the same on all nodes. tukio_reconciler_due is their sum.",
  });
  const oldest = new Gauge({
    ...shared,
    name: "tukio_queries_oldest_seconds",
    help: "Age of a provider's oldest due payment since it became due. tukio_reconciler_oldest_seconds is the longest of these.",
  });
  const pace = new Gauge({
    ...shared,
    name: "tukio_queries_per_minute",
    help: "Limit of queries to a provider in a minute, of all nodes together, set by <PROVIDER>_QUERIES_PER_MINUTE or by the provider's own answers; absent without a limit.",
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
