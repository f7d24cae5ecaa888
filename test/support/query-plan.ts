/** The query plans that PostgreSQL chooses in a database with 10,000 orders. */
import pg from "pg";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "./database.ts";

/**
 * Creates 10,000 orders with one payment each, one per ten minutes up to now: 144 a day for 69 days. One in a hundred is
 * processing and due for a check, one in five hundred is in review.
 */
export async function openManyOrders(): Promise<{ database: Database; close(): Promise<void> }> {
  const { url, drop } = await createDatabase();
  const database = openDatabase(url, () => undefined);
  // A connection without the pool's statement timeout.
  const client = new pg.Client(url);
  await client.connect();
  await client.query(`
    create temporary table made as
      select n, ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid as id, now() - n * interval '10 minutes' as at,
             case when n % 500 = 0 then 'review' when n % 100 = 1 then 'processing' when n % 10 = 0 then 'failed'
                  else 'succeeded' end as status
      from generate_series(1, 10000) n;
    insert into "order" (id, order_id, amount_minor, currency, version, status, attempt, payment, opened_at, changed_at)
      select id, 'MANY-' || n, 15000, 'KES', 3, status, 1, '{"provider": "daraja"}', at, at from made;
    insert into payment (id, order_uuid, attempt, provider, live, amount_minor, currency, status, started_at, expires_at, check_at)
      select id, id, 1, 'daraja', true, 15000, 'KES', status, at, at, case when status = 'processing' then at end from made;
    analyze "order", payment`);
  await client.end();
  return {
    database,
    async close() {
      await database.close();
      await drop();
    },
  };
}

/** One node of `explain (analyze, format json)`. */
export interface PlanStep {
  "Node Type": string;
  "Index Name"?: string;
  "Actual Rows": number;
  Plans?: PlanStep[];
}

/** Returns the nodes of the plan of a statement without parameters, that a connection has prepared. */
export async function planStepsOf(
  { pool }: Database,
  { statement: { name, text } }: { statement: { name: string; text: string } },
): Promise<PlanStep[]> {
  const client = await pool.connect();
  try {
    const prepared = pg.escapeIdentifier(name);
    await client.query(`prepare ${prepared} as ${text}`);
    const { rows } = await client.query(`explain (analyze, format json) execute ${prepared}`);
    await client.query(`deallocate ${prepared}`);
    return flat(rows[0]["QUERY PLAN"][0].Plan as PlanStep);
  } finally {
    client.release();
  }
}

const flat = (step: PlanStep): PlanStep[] => [step, ...(step.Plans ?? []).flatMap(flat)];
