/** What waits in the database, read at every scrape. */
import { Gauge, type Registry } from "prom-client";
import type { Backlog } from "./order/statistics.ts";

/** Resolves when the gauges say what waits now. Without a database there is no backlog to tell of. */
export function backlogMetrics(registry: Registry, backlog: () => Promise<Backlog>): () => Promise<void> {
  const registers = [registry];
  const due = new Gauge({
    name: "tukio_reconciler_due",
    help: "Payments whose provider is to be asked now and that no node has taken yet, counted up to 100,000; all nodes tell the same.",
    registers,
  });
  const oldest = new Gauge({
    name: "tukio_reconciler_oldest_seconds",
    help: "How long the oldest of the due payments has been waiting.",
    registers,
  });
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
      due.set(found.due);
      oldest.set(found.oldestS);
      unapplied.set(found.unapplied);
      inReview.set(found.inReview);
      up.set(1);
    } catch {
      // That is what the metric says; the scrape goes on.
      due.remove();
      oldest.remove();
      unapplied.remove();
      inReview.remove();
      up.set(0);
    }
  };
}
