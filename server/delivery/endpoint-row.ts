/** Endpoints as PostgreSQL returns them, and as the merchant sees them: without their secrets. */
import { columns } from "../order/row.ts";

const names = [
  "id",
  "url",
  "description",
  "events",
  "enabled",
  "disabled_because",
  "version",
  "failing_since",
  "created_at",
  "changed_at",
  "notification",
] as const;

export interface EndpointRow {
  id: string;
  url: string;
  description: string | null;
  events: string[] | null;
  enabled: boolean;
  disabled_because: DisabledBecause | null;
  version: number;
  failing_since: Date | null;
  created_at: Date;
  changed_at: Date;
  /** The name of a notification. Null: an endpoint of the merchant's backend. */
  notification: string | null;
}

/**
 * `gone`: it answered 410. `failing`: it had no success for five days. `merchant`: by the API. `environment`: `ENDPOINT_URL` is no
 * longer set.
 */
export type DisabledBecause = "merchant" | "gone" | "failing" | "environment";

export const endpointColumns = (table: string): string => columns(table, names);

/** An endpoint of the merchant's backend. */
export interface EndpointView {
  id: string;
  url: string;
  description?: string;
  /** The types that it receives. Null: all but `order.pending` and `order.processing`. */
  events: string[] | null;
  enabled: boolean;
  disabledBecause?: DisabledBecause;
  version: number;
  /** The first failed attempt since the last successful one. */
  failingSince?: string;
  createdAt: string;
  changedAt: string;
}

export const toEndpointView = (row: EndpointRow): EndpointView => ({
  id: row.id,
  url: row.url,
  ...(row.description !== null && { description: row.description }),
  events: row.events,
  enabled: row.enabled,
  ...(row.disabled_because !== null && { disabledBecause: row.disabled_because }),
  version: row.version,
  ...(row.failing_since && { failingSince: row.failing_since.toISOString() }),
  createdAt: row.created_at.toISOString(),
  changedAt: row.changed_at.toISOString(),
});
