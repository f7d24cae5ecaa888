/**
 * Migrates a database to the schema of this code: applies the missing files of migration/ in their order, in one transaction.
 * A released file never changes. Each change of the schema is a new file.
 */
import { readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type pg from "pg";
import { deadlock, setSocketTimeout, sqlState, undefinedTable } from "./pool.ts";

const folder = new URL("../../migration/", import.meta.url);

/** The names of the files in their order: 0001.sql, 0002.sql and so on, without a gap. */
export const migrations: readonly string[] = readdirSync(folder)
  .filter((name) => /^\d{4}\.sql$/.test(name))
  .toSorted();

/** Versions 1 to 5 are older than the files. The first file migrates each of them to version 6. */
const versionBefore = 5;

/** The schema version of this code: the number of its last migration, plus 5. */
export const schemaVersion = versionBefore + migrations.length;

/** The key of the advisory lock that allows a process to change tables. An arbitrary number, the same in every process. */
const migrationLock = 7_458_001;

/** Limits the attempts after a deadlock with the statements of other nodes. */
const triesMax = 10;

/**
 * Migrates the database to this code's schema. Any number of processes may run it at once, while other nodes serve requests.
 * Throws an Error for a database with a newer schema, because this code cannot read its rows.
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
  // A migration, and the wait for another process's migration, may take longer than an ordinary statement.
  setSocketTimeout(client, 0);
  try {
    // Read first, because the node's role may have no right to create tables once another role has migrated the database.
    if ((await readVersion(client)) === schemaVersion) return;
    await client.query("begin; set local statement_timeout = 0; set local lock_timeout = 0");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    await client.query("create table if not exists tukio_schema (version int not null)");
    // Read again, because another process may have migrated the database meanwhile.
    const found = await readVersion(client);
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

/** The version of the database's schema, 0 for an empty database. Throws an Error for the operator if it is newer than this code's. */
async function readVersion(client: pg.PoolClient): Promise<number> {
  const { rows } = await client
    .query<{ version: number }>("select version from tukio_schema")
    .catch((error: unknown) => {
      if (sqlState(error) === undefinedTable) return { rows: [] };
      throw error;
    });
  const found = rows[0]?.version ?? 0;
  if (found <= schemaVersion) return found;
  throw new Error(
    `The database has schema version ${found}, this version of Tukio supports up to ${schemaVersion}. Run a newer Tukio, or use another database.`,
  );
}
