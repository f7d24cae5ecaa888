/**
 * Combines the metrics that Prometheus reads. Each app has its own registry, because tests run several apps in one process. Values
 * are in base units (seconds, bytes). A label has few values: never an order, a phone or a path.
 *
 * Modules that are measured do not import the metrics. They take callbacks (`onWebhook`, `onCall`, …), and app.ts passes the metrics.
 */
import { collectDefaultMetrics, Registry } from "prom-client";
import { type BacklogMetricsOptions, backlogMetrics } from "./backlog.ts";
import { type DeliveryMetrics, deliveryMetrics } from "./delivery.ts";
import { type NodeMetrics, type NodeMetricsOptions, nodeMetrics } from "./node.ts";
import { type PaymentMetrics, paymentMetrics } from "./payment.ts";
import { type ProviderMetrics, providerMetrics } from "./provider.ts";
import { type WatchMetrics, watchMetrics } from "./watch.ts";

export interface Metrics extends PaymentMetrics, ProviderMetrics, WatchMetrics, NodeMetrics, DeliveryMetrics {
  /** Returns the text of a scrape. While PostgreSQL is unreachable, `tukio_database_up` is 0 and the scrape still succeeds. */
  scrape(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions extends BacklogMetricsOptions, NodeMetricsOptions {}

export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const names = [...options.providers.keys()];
  const payments = paymentMetrics(registry, names);
  const watching = watchMetrics(registry);
  const deliveries = deliveryMetrics(registry);
  const backlog = async () => {
    const [found] = await Promise.all([options.backlog(), deliveries.scrape()]);
    return found;
  };
  const readBacklog = backlogMetrics(registry, { ...options, backlog });
  const calls = providerMetrics(registry, names);
  const node = nodeMetrics(registry, options);
  // Last, so that a scrape lists Tukio's metrics before those of the process.
  collectDefaultMetrics({ register: registry });

  return {
    ...payments,
    ...watching,
    ...calls,
    ...node,
    ...deliveries.metrics,
    async scrape() {
      await readBacklog();
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}
