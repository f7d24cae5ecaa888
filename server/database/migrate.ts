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

/**
 * The oldest schema version whose code works on this schema: nothing that it uses was removed or changed since. A database has it, so
 * that a process of the previous release can start on it. Raise it with a migration that removes what an earlier release used.
 */
const oldestVersion = 18;

/** The key of the advisory lock that allows a process to change tables. An arbitrary number, the same in every process. */
const migrationLock = 7_458_001;

/** Limits the attempts after a deadlock with the statements of other nodes. */
const triesMax = 10;

/**
 * Migrates the database to this code's schema. Any number of processes may run it at once, while other nodes serve requests.
 * Returns the version that the database then has: a newer one than this code's if the newer release supports this code. Throws an
 * Error for any other database with a newer schema.
 */
export async function migrate(pool: pg.Pool): Promise<number> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await migrateOnce(pool);
    } catch (error) {
      if (sqlState(error) !== deadlock || tries === triesMax) throw error;
    }
  }
}

async function migrateOnce(pool: pg.Pool): Promise<number> {
  const client = await pool.connect();
  // A migration, and the wait for another process's migration, may take longer than an ordinary statement.
  setSocketTimeout(client, 0);
  try {
    // Read first, because the node's role may have no right to create tables once another role has migrated the database.
    const version = await readVersion(client);
    if (version >= schemaVersion) return version;
    await client.query("begin; set local statement_timeout = 0; set local lock_timeout = 0");
    await client.query("select pg_advisory_xact_lock($1)", [migrationLock]);
    await client.query("create table if not exists tukio_schema (version int not null)");
    await client.query("alter table tukio_schema add column if not exists oldest int");
    // Read again, because another process may have migrated the database meanwhile.
    const found = await readVersion(client);
    if (found < schemaVersion) {
      for (const name of migrations.slice(Math.max(0, found - versionBefore))) {
        await client.query(await readFile(new URL(name, folder), "utf8"));
      }
      await client.query("delete from tukio_schema");
      await client.query("insert into tukio_schema (version, oldest) values ($1, $2)", [schemaVersion, oldestVersion]);
    }
    await client.query("commit");
    return Math.max(found, schemaVersion);
  } catch (error) {
    await client.query("rollback").catch(() => undefined);
    throw error;
  } finally {
    client.release();
  }
}

/**
 * The version of the database's schema, 0 for an empty database. Throws an Error for the operator if it is newer than this code's and
 * does not support this code.
 */
async function readVersion(client: pg.PoolClient): Promise<number> {
  const { rows } = await client
    // As JSON, because a table that an earlier process created may lack the column.
    .query<{ version: number; oldest: number | null }>(
      "select version, (to_jsonb(s) ->> 'oldest')::int as oldest from tukio_schema s",
    )
    .catch((error: unknown) => {
      if (sqlState(error) === undefinedTable) return { rows: [] };
      throw error;
    });
  const { version = 0, oldest = null } = rows[0] ?? {};
  if (version <= schemaVersion || (oldest !== null && oldest <= schemaVersion)) return version;
  throw new Error(
    `The database has schema version ${version}, this version of Tukio supports up to ${schemaVersion}. Run a newer Tukio, or use another database.`,
  );
}
