/**
 * Brings a database to the schema of this code: applies the numbered files of migration/ that it does not have yet, in
 * their order and in one transaction. A file never changes once it has landed; a change of the schema is a further file.
 */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { deadlock, setSilenceTimeout, sqlState } from "./pool.ts";

const folder = new URL("../../migration/", import.meta.url);

/** Names of the files, in their order: 0001.sql, 0002.sql and so on, without a gap. */
export const migrations: readonly string[] = readdirSync(folder)
  .filter((name) => /^\d{4}\.sql$/.test(name))
  .toSorted();

/** The schema version that the first file starts from, at most: versions 1 to 5 are older than the files. */
const versionBefore = 5;

/** The schema version of this code: the number of its last migration, plus 5. */
export const schemaVersion = versionBefore + migrations.length;

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
      for (const name of migrations.slice(Math.max(0, found - versionBefore))) {
        await client.query(await readFile(new URL(name, folder), "utf8"));
      }
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
