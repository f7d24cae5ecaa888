import type pg from "pg";
import { vi } from "vitest";

/** The time of PostgreSQL's clock. */
export const databaseNow = async (pool: pg.Pool): Promise<Date> =>
  (await pool.query<{ at: Date }>("select clock_timestamp() as at")).rows[0]?.at ?? new Date(Number.NaN);

/** Waits until PostgreSQL's clock shows another millisecond, because times are stored in milliseconds. */
export async function untilLater(pool: pg.Pool): Promise<void> {
  const start = await databaseNow(pool);
  await vi.waitUntil(async () => (await databaseNow(pool)) > start, { interval: 1 });
}
