/** Metrics of deliveries to the merchant's backend, and of notifications. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { DeliveryResult } from "../delivery/engine.ts";
import type { DeliveryBacklog } from "../delivery/statistics.ts";
import { notificationNames } from "../notification/notification.ts";
import { help, meanings } from "./help.ts";

export interface DeliveryMetrics {
  /** An attempt has ended and its result is stored. */
  onDelivery(result: DeliveryResult): void;
  /** The same for an attempt of a notification. */
  onNotification(notification: string, result: DeliveryResult): void;
  /** Makes every scrape read the backlog of deliveries. */
  readDeliveries(read: () => Promise<DeliveryBacklog>): void;
}

/** `scrape` reads the backlog into the gauges. It rejects when the backlog cannot be read; its gauges are then absent. */
export function deliveryMetrics(registry: Registry): { metrics: DeliveryMetrics; scrape: () => Promise<void> } {
  let readBacklog: (() => Promise<DeliveryBacklog>) | undefined;
  const registers = [registry];
  const deliveries = new Counter({
    name: "tukio_deliveries_total",
    help: help("Attempts of this node to deliver an event to an endpoint.", "delivery"),
    labelNames: ["delivery"],
    registers,
  });
  const notifications = new Counter({
    name: "tukio_notifications_total",
    help: help("Attempts of this node to send a notification: a mail or an SMS.", "delivery"),
    labelNames: ["notification", "delivery"],
    registers,
  });
  const oldest = new Gauge({
    name: "tukio_deliveries_oldest_seconds",
    help: "Age of the oldest due delivery of an enabled endpoint or a notification; the same on all nodes.",
    registers,
  });
  const disabled = new Gauge({
    name: "tukio_endpoints_disabled",
    help: "Endpoints that receive nothing, because they answered 410, had no success for five days or were disabled by hand.",
    registers,
  });
  for (const delivery of Object.keys(meanings.delivery)) {
    deliveries.inc({ delivery }, 0);
    for (const notification of notificationNames) notifications.inc({ notification, delivery }, 0);
  }
  return {
    metrics: {
      onDelivery: (delivery) => deliveries.inc({ delivery }),
      onNotification: (notification, delivery) => notifications.inc({ notification, delivery }),
      readDeliveries(read) {
        readBacklog = read;
      },
    },
    async scrape() {
      if (!readBacklog) return;
      try {
        const found = await readBacklog();
        oldest.set(Math.max(0, found.oldestS));
        disabled.set(found.disabled);
      } catch (error) {
        oldest.remove();
        disabled.remove();
        throw error;
      }
    },
  };
}
