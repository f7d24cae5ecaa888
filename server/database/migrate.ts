import { readFile } from "node:fs/promises";
import type pg from "pg";
import { deadlock, setSilenceTimeout, sqlState } from "./pool.ts";

/** The version of schema.sql. Raise it with every change there. */
export const schemaVersion = 6;

/** Any number, the same in every process: who holds it may change tables. */
const migrationLock = 7_458_001;

/** How often it is tried again when it and the statements of other nodes waited for each other. */
const triesMax = 10;

/**
 * Brings the database to this code's schema. Safe to run from any number of processes at once, among nodes at work.
 * Refuses a database whose schema is newer: older code would not understand its rows.
 */
export async function migrate(pool: pg.Pool): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await migrateOnce(pool);
    } catch (error) {
      if (sqlState(error) !== deadlock || tries === triesMax) throw error;
    }
  }
}

async function migrateOnce(pool: pg.Pool): Promise<void> {
  const schema = await readFile(new URL("../../schema.sql", import.meta.url), "utf8");
  const client = await pool.connect();
  // Neither another process's migration nor our own is bound to the time of an ordinary statement.
  setSilenceTimeout(client, 0);
  try {
    await client.query("begin; set local statement_timeout = 0; set local lock_timeout = 0");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    await client.query("create table if not exists tukio_schema (version int not null)");
    const { rows } = await client.query<{ version: number }>("select version from tukio_schema");
    const found = rows[0]?.version ?? 0;
    if (found > schemaVersion) {
      throw new Error(
        `The database has schema version ${found}, this code knows ${schemaVersion}. Run a newer Tukio, or another database.`,
      );
    }
    if (found < schemaVersion) {
      await client.query(schema);
      await client.query("delete from tukio_schema");
      await client.query("insert into tukio_schema values ($1)", [schemaVersion]);
    }
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}
