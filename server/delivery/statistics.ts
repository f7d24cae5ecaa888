/** Figures about deliveries, for operators. */
import type pg from "pg";

export interface DeliveryBacklog {
  /** Seconds since the oldest due delivery of an enabled endpoint became due; 0 when there is none. */
  oldestS: number;
  /** Endpoints that are disabled. */
  disabled: number;
}

/** One index probe for each endpoint. */
export const deliveryBacklogStatement = {
  name: "delivery-backlog",
  text: `select coalesce(max(extract(epoch from now() - oldest.attempt_at)) filter (where e.enabled), 0)::float8 as "oldestS",
      count(*) filter (where not e.enabled)::int as disabled
    from endpoint e
      left join lateral (
        select attempt_at from delivery where endpoint_id = e.id and attempt_at <= now() order by attempt_at limit 1
      ) oldest on true
    where not e.is_deleted`,
  query_timeout: 500,
} as const;

/** Returns or throws within 1.5 s. */
export async function readDeliveryBacklog(pool: pg.Pool): Promise<DeliveryBacklog> {
  const { rows } = await pool.query<DeliveryBacklog>(deliveryBacklogStatement);
  return rows[0] ?? { oldestS: 0, disabled: 0 };
}
