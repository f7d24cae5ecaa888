/** A database with so many orders that PostgreSQL has a choice of how to find some, and what it chose. */
import pg from "pg";
import { type Database, openDatabase } from "../../server/database/pool.ts";
import { createDatabase } from "./database.ts";

/**
 * 10,000 orders of one payment each, one begun every ten minutes until now: 144 a day, 69 days. One in a hundred is
 * processing and due to be asked about, one in five hundred in review.
 */
export async function openManyOrders(): Promise<{ database: Database; close(): Promise<void> }> {
  const { url, drop } = await createDatabase();
  const database = openDatabase(url, () => undefined);
  // A connection without the limits of ordinary statements.
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

/** One step of a plan, as it was carried out. */
export interface PlanStep {
  "Node Type": string;
  "Relation Name"?: string;
  "Index Name"?: string;
  "Actual Rows": number;
  Plans?: PlanStep[];
}

/**
 * The steps by which a statement finds its rows, once a connection has prepared it and run it often. `isGeneric`: by the plan
 * that is made without looking at values.
 */
export async function planStepsOf(
  { pool }: Database,
  {
    statement: { name, text },
    values = [],
    isGeneric = false,
  }: { statement: { name: string; text: string }; values?: (string | null)[]; isGeneric?: boolean },
): Promise<PlanStep[]> {
  const client = await pool.connect();
  try {
    if (isGeneric) await client.query("set plan_cache_mode = force_generic_plan");
    // After five times PostgreSQL may settle for a plan that fits any values.
    for (let times = 0; times < 10; times += 1) await client.query({ name, text, values });
    const literals = values.map((value) => (value === null ? "null" : pg.escapeLiteral(value)));
    const given = literals.length > 0 ? `(${literals.join(", ")})` : "";
    const { rows } = await client.query(`explain (analyze, format json) execute ${pg.escapeIdentifier(name)}${given}`);
    return flat(rows[0]["QUERY PLAN"][0].Plan as PlanStep);
  } finally {
    await client.query("reset plan_cache_mode");
    client.release();
  }
}

const flat = (step: PlanStep): PlanStep[] => [step, ...(step.Plans ?? []).flatMap(flat)];

/** How a table is read: the index of each step that reads it, null for the whole table, with how many rows. */
export function tableReadsOf(steps: readonly PlanStep[], table: string): { index: string | null; rows: number }[] {
  return steps
    .filter((step) => step["Relation Name"] === table)
    .map((step) => ({
      // A bitmap's index is a step below the one that reads the table.
      index: step["Index Name"] ?? step.Plans?.[0]?.["Index Name"] ?? null,
      rows: step["Actual Rows"],
    }));
}
